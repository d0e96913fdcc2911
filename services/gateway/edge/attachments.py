"""Headers of a file that goes out: name, range, validators. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote

_MAX_NAME = 150
_UNSAFE = frozenset('<>:"|?*\\/%')
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,100})\s*-\s*(\d{0,100})\s*$", re.ASCII)


class Unsatisfiable(ValueError):
    """The range asked for lies outside the file."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file."""

    start: int
    length: int


def safe_name(name: str, fallback: str) -> str:
    """Return a file name without folders, control characters and what file systems refuse.

    The extension of ``fallback`` is added where ``name`` has another one: the name may not
    claim that the file is something else.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    shown = "".join(c for c in last if c not in _UNSAFE and not unicodedata.category(c).startswith("C"))
    clean = shown.strip(" .")[:_MAX_NAME].strip(" .")
    if not clean:
        return fallback
    extension = fallback[fallback.rfind(".") :] if "." in fallback else ""
    return clean if clean.lower().endswith(extension.lower()) else clean + extension


def disposition(name: str) -> str:
    """Return Content-Disposition (RFC 6266): an ASCII name, and the real one where they differ."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip() or "file"
    plain = re.sub(r'["\\\r\n]', "_", plain)
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"


def wanted_span(range_header: str, if_range: str, etag: str, size: int) -> Span | None:
    """Return the one range asked for (RFC 9110, section 14), None for the whole file.

    Several ranges, another unit, or an `If-Range` that names another version: the whole file.
    Raises `Unsatisfiable`.
    """
    if not range_header or (if_range and if_range.strip() != etag):
        return None
    match = _RANGE.match(range_header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return Span(size - length, length)
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return Span(start, end - start + 1)


def not_modified(if_none_match: str, etag: str) -> bool:
    """Tell whether the client has this version already."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
