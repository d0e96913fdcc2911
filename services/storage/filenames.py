"""File names that people gave, made safe to store and to offer for download. Pure."""

from __future__ import annotations

import re
import unicodedata

MAX_BYTES = 255
"""Longest name, in bytes of UTF-8: what common file systems take."""

_FALLBACK = "file"
# Taken by Windows as devices, whatever the extension.
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789¹²³"]
)
_FORBIDDEN = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
# Control, format (bidirectional overrides hide extensions), surrogate and unassigned characters,
# and separators of lines and paragraphs.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_FORMAT = re.compile(r"[a-z0-9]{1,8}")


def safe_filename(name: str) -> str:
    """Return a name without folders, hidden characters or reserved words, of at most 255 bytes.

    Letters of every script are kept, and the extension survives shortening.
    """
    visible = "".join(c for c in name if unicodedata.category(c) not in _HIDDEN)
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", visible))[-1]
    clean = last.translate(_FORBIDDEN).strip().strip(". ")
    if not clean:
        return _FALLBACK
    if clean.split(".", 1)[0].strip().casefold() in _RESERVED:
        clean = f"_{clean}"
    return _shorten(clean)


def safe_format(name: str) -> str:
    """Return an extension in lower case without dot. Raises ValueError for anything else."""
    lower = name.lower()
    if not _FORMAT.fullmatch(lower):
        raise ValueError(f"not a file name extension: {name!r}")
    return lower


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = f"{dot}{extension}".encode()
    if not stem or len(tail) > MAX_BYTES // 4:
        stem, tail = name, b""
    head = stem.encode()[: MAX_BYTES - len(tail)].decode(errors="ignore")
    return (head.rstrip(". ") or _FALLBACK) + tail.decode()
