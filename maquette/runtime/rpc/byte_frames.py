"""Frames of a byte stream: a kind, a length, and what they carry. Pure.

One connection carries one call: OPEN, then messages and chunks in any order, then from the other side
one RESPONSE or ERROR. Where the other side streams, its chunks come before that. Messages are the protos
of the method; a chunk is bytes as they are. A connection that ends without RESPONSE or ERROR broke.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum

import orjson

MAX_CHUNK_BYTES = 4 << 20
MAX_MESSAGE_BYTES = 64 << 10
_HEAD = struct.Struct("!BI")
HEAD_BYTES = _HEAD.size


class Kind(IntEnum):
    """What a frame carries."""

    OPEN = 1
    """Method and metadata, as JSON."""
    MESSAGE = 2
    CHUNK = 3
    RESPONSE = 4
    ERROR = 5
    """google.rpc.Status."""


_KINDS = frozenset(Kind)


class BadFrame(ValueError):
    """The other side does not speak this protocol."""


def frame_head(kind: Kind, length: int) -> bytes:
    """Return what goes before ``length`` bytes."""
    return _HEAD.pack(kind, length)


def frame(kind: Kind, payload: bytes) -> bytes:
    """Return a whole frame. Raises ValueError for one that the other side would refuse."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    return frame_head(kind, len(payload)) + payload


def read_head(head: bytes | bytearray) -> tuple[Kind, int]:
    """Return the kind of a frame and the length of what follows its head. Raises BadFrame."""
    number, length = _HEAD.unpack_from(head)
    if number not in _KINDS:
        raise BadFrame("not a frame")
    if length > (MAX_CHUNK_BYTES if number == Kind.CHUNK else MAX_MESSAGE_BYTES):
        raise BadFrame("a frame that is too long")
    return Kind(number), length


def write_open(method: str, metadata: Mapping[str, str]) -> bytes:
    """Return the frame that begins a call."""
    return frame(Kind.OPEN, orjson.dumps([method, metadata]))


def read_open(payload: bytes) -> tuple[str, dict[str, str]]:
    """Return method and metadata. Raises BadFrame."""
    try:
        method, metadata = orjson.loads(payload)
        return str(method), {str(name): str(value) for name, value in metadata.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadFrame("not the beginning of a call") from error


class Unpacker:
    """Takes frames apart as they come in. Messages are gathered; the bytes of a chunk pass as they are."""

    def __init__(self) -> None:
        self._gathered = bytearray()
        self._kind: Kind | None = None
        """What comes after a head that is whole."""
        self._missing = HEAD_BYTES

    def feed(self, data: bytes) -> Iterator[tuple[Kind, memoryview | bytes]]:
        """Yield what is whole with ``data``: messages, and views of chunks. Raises BadFrame."""
        view = memoryview(data)
        while view:
            part, view = view[: self._missing], view[self._missing :]
            self._missing -= len(part)
            if self._kind is Kind.CHUNK:
                yield self._kind, part
            else:
                self._gathered += part
            if not self._missing:
                yield from self._whole(self._kind)

    def _whole(self, kind: Kind | None) -> Iterator[tuple[Kind, bytes]]:
        """Yield the message that is whole, if it is one, and expect what comes next."""
        gathered = bytes(self._gathered)
        self._gathered.clear()
        if kind is None:
            self._kind, self._missing = read_head(gathered)
            if self._missing:
                return
        if self._kind is not Kind.CHUNK and self._kind is not None:
            yield self._kind, gathered if kind is not None else b""
        self._kind, self._missing = None, HEAD_BYTES
