"""Read a JSON object piece by piece, letting the files in it through as bytes.

A request may carry a 50 MB picture as a base64 string. Members named as files are decoded while
they arrive and handed on; everything else is kept, up to a limit, and parsed at the end. Memory
stays flat whatever the size of the file.

Pure: bytes in, events out. Raises `InvalidArgument` (INVALID_VALUE) for anything that is not a
JSON object in UTF-8 without duplicate names, nested at most `MAX_DEPTH` deep, and for base64 that
is none (RFC 4648, sections 4 and 5 mixed in no way: the standard alphabet, padding at the end only;
line breaks are let through).
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NoReturn

from maquette.runtime.errors import InvalidArgument

MAX_DEPTH = 16
_MAX_NAME = 256
_MAX_PREFIX = 256
_SPACE = b" \t\r\n"
_STRUCTURE = re.compile(rb'["{}\[\],:]')
_STRING_END = re.compile(rb'["\\]')


@dataclass(frozen=True, slots=True)
class FileBegins:
    """The value of a file member begins."""

    name: str


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Decoded bytes of the file that began last."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnds:
    """The value of a file member ended."""


Event = FileBegins | FileBytes | FileEnds


class _Mode(Enum):
    STRUCTURE = auto()
    STRING = auto()
    ESCAPE = auto()
    VALUE = auto()
    """A file member's colon was read; its value comes next."""
    FILE = auto()


class BodyReader:
    """One body. Feed it, then call `finish` for what is not a file."""

    def __init__(self, files: Collection[str], *, max_rest: int, max_body: int) -> None:
        """Take members of the top object named in ``files`` as base64 strings.

        ``max_rest`` bytes are kept of everything else, ``max_body`` bytes are read at all.
        """
        self._files = frozenset(files)
        self._max_rest = max_rest
        self._max_body = max_body
        self._read = 0
        self._rest = bytearray()
        self._mode = _Mode.STRUCTURE
        self._depth = 0
        self._string_at = 0
        self._name: str | None = None
        self._awaits_name = False
        self._file = _Base64()

    def feed(self, data: bytes) -> Iterator[Event]:
        """Read on. The events of one call must be consumed before the next."""
        self._read += len(data)
        if self._read > self._max_body:
            raise InvalidArgument(
                f"The body is larger than {self._max_body >> 20} MiB.", reason="FILE_TOO_LARGE"
            )
        at = 0
        while at < len(data):
            if self._mode is _Mode.FILE:
                at = yield from self._read_file(data, at)
            elif self._mode is _Mode.STRUCTURE:
                at = self._read_structure(data, at)
            elif self._mode is _Mode.VALUE:
                at = yield from self._read_value(data, at)
            else:
                at = self._read_string(data, at)

    def finish(self) -> dict[str, Any]:
        """Return the object without its file members, which hold None.

        Raises InvalidArgument when the body is not one whole JSON object.
        """
        if self._mode is _Mode.FILE:
            _refuse("The body ends in the middle of a file.")
        try:
            value = json.loads(self._rest.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        except UnicodeDecodeError:
            _refuse("The body is not UTF-8.")
        except ValueError as error:
            _refuse(f"The body is not valid JSON: {error}.")
        if not isinstance(value, dict):
            _refuse("The body must be a JSON object.")
        return value

    def _keep(self, data: bytes) -> None:
        if len(self._rest) + len(data) > self._max_rest:
            raise InvalidArgument(
                f"The body without its files is larger than {self._max_rest >> 10} KiB.",
                reason="FILE_TOO_LARGE",
            )
        self._rest += data

    def _read_structure(self, data: bytes, at: int) -> int:
        found = _STRUCTURE.search(data, at)
        if found is None:
            self._keep(data[at:])
            return len(data)
        end = found.end()
        self._keep(data[at:end])
        mark = data[end - 1 : end]
        if mark == b'"':
            self._string_at = len(self._rest) - 1
            self._mode = _Mode.STRING
        elif mark in b"{[":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                _refuse(f"The body is nested deeper than {MAX_DEPTH}.")
            self._awaits_name = self._depth == 1 and mark == b"{"
        elif mark in b"}]":
            self._depth -= 1
        elif mark == b",":
            self._awaits_name = self._depth == 1
        elif self._depth == 1 and self._name in self._files:
            self._mode = _Mode.VALUE
        return end

    def _read_string(self, data: bytes, at: int) -> int:
        if self._mode is _Mode.ESCAPE:
            self._keep(data[at : at + 1])
            self._mode = _Mode.STRING
            return at + 1
        found = _STRING_END.search(data, at)
        if found is None:
            self._keep(data[at:])
            return len(data)
        end = found.end()
        self._keep(data[at:end])
        if data[end - 1 : end] == b"\\":
            self._mode = _Mode.ESCAPE
            return end
        self._mode = _Mode.STRUCTURE
        if self._awaits_name:
            self._awaits_name = False
            self._name = self._read_name()
        return end

    def _read_name(self) -> str | None:
        raw = bytes(self._rest[self._string_at :])
        if len(raw) > _MAX_NAME:
            return None
        try:
            name = json.loads(raw)
        except ValueError:
            # `finish` tells what is wrong with it.
            return None
        return name if isinstance(name, str) else None

    def _read_value(self, data: bytes, at: int) -> Generator[Event, None, int]:
        stripped = data[at:].lstrip(_SPACE)
        if not stripped:
            return len(data)
        at = len(data) - len(stripped)
        name, self._name = self._name, None
        if stripped[:1] != b'"':
            self._mode = _Mode.STRUCTURE
            return at
        self._keep(b"null")
        self._mode = _Mode.FILE
        self._file = _Base64()
        yield FileBegins(name or "")
        return at + 1

    def _read_file(self, data: bytes, at: int) -> Generator[Event, None, int]:
        end = data.find(b'"', at)
        if end < 0:
            decoded = self._file.decode(data[at:])
            if decoded:
                yield FileBytes(decoded)
            return len(data)
        decoded = self._file.decode(data[at:end]) + self._file.finish()
        if decoded:
            yield FileBytes(decoded)
        yield FileEnds()
        self._mode = _Mode.STRUCTURE
        return end + 1


class _Base64:
    """Decodes one base64 string, with or without a ``data:…;base64,`` prefix, in pieces."""

    def __init__(self) -> None:
        self._carry = b""
        self._escape = b""
        self._in_prefix: bytes | None = b""
        self._padded = False

    def decode(self, piece: bytes) -> bytes:
        """Return the bytes that are complete so far."""
        piece = self._unescape(piece)
        if self._in_prefix is not None:
            piece = self._skip_prefix(piece)
        if not piece:
            return b""
        piece = self._carry + piece
        whole = len(piece) & ~3
        self._carry = piece[whole:]
        return self._decode(piece[:whole])

    def finish(self) -> bytes:
        """Return the last bytes. Raises InvalidArgument when the string ends too early."""
        if self._escape:
            _refuse("A file in the body has an escape that base64 does not need.")
        if self._in_prefix:
            # Too short to tell from a prefix until now.
            piece, self._in_prefix = self._in_prefix, None
            if piece.startswith(b"data:"):
                _refuse("A file in the body has a data: prefix without data.")
            return self.decode(piece) + self.finish()
        if self._carry:
            # Some writers leave the padding away.
            if len(self._carry) == 1:
                _refuse("A file in the body is not valid base64: it ends too early.")
            last, self._carry = self._carry, b""
            return self._decode(last + b"=" * (4 - len(last)))
        return b""

    def _decode(self, quads: bytes) -> bytes:
        if not quads:
            return b""
        if self._padded:
            _refuse("A file in the body is not valid base64: there is data after the padding.")
        try:
            decoded = binascii.a2b_base64(quads, strict_mode=True)
        except binascii.Error as error:
            _refuse(f"A file in the body is not valid base64: {error}.")
        self._padded = quads.endswith(b"=")
        return decoded

    def _unescape(self, piece: bytes) -> bytes:
        piece = self._escape + piece
        self._escape = b""
        if b"\\" in piece:
            if piece.endswith(b"\\"):
                piece, self._escape = piece[:-1], b"\\"
            for written, meant in ((b"\\/", b"/"), (b"\\r", b""), (b"\\n", b"")):
                piece = piece.replace(written, meant)
            if b"\\" in piece:
                _refuse("A file in the body has an escape that base64 does not need.")
        return piece

    def _skip_prefix(self, piece: bytes) -> bytes:
        head = (self._in_prefix or b"") + piece
        start = b"data:"
        if not head.startswith(start):
            if start.startswith(head):
                self._in_prefix = head
                return b""
            self._in_prefix = None
            return head
        comma = head.find(b",")
        if comma < 0:
            if len(head) > _MAX_PREFIX:
                _refuse("A file in the body has a data: prefix without data.")
            self._in_prefix = head
            return b""
        if not head[:comma].lower().endswith(b";base64"):
            _refuse("A file in the body has a data: prefix that is not base64.")
        self._in_prefix = None
        return head[comma + 1 :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(f"The body names {twice[:64]!r} twice.")
    return found


def _no_constant(word: str) -> NoReturn:
    _refuse(f"The body is not valid JSON: {word} is no JSON value.")


def _refuse(message: str) -> NoReturn:
    raise InvalidArgument(message)
