"""Messages on the pipes between a worker and its parent: a big-endian u32 length, then JSON."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Any

import orjson

MAX_FRAME = 4 << 20
_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """The other side sent what is no frame."""


def encode(message: dict[str, Any]) -> bytes:
    """Return the bytes of one message. Raises FrameError above 4 MiB or for what JSON cannot hold."""
    try:
        body = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError) as error:
        raise FrameError(f"not plain JSON: {error}") from error
    if len(body) > MAX_FRAME:
        raise FrameError(f"a message of {len(body)} bytes is too long")
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """Read the body of one message. Raises FrameError."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("not an object")
    return message


async def read_frame(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream. Raises FrameError."""
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if size > MAX_FRAME:
            raise FrameError(f"a message of {size} bytes is too long")
        return decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive(fd: int) -> dict[str, Any] | None:
    """Read one message from a blocking pipe; None at its end. Raises FrameError."""
    head = _read_exactly(fd, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > MAX_FRAME:
        raise FrameError(f"a message of {size} bytes is too long")
    body = _read_exactly(fd, size)
    return None if body is None else decode(body)


def send(fd: int, message: dict[str, Any]) -> None:
    """Write one message to a blocking pipe, whole. Raises FrameError, or OSError when nobody reads."""
    rest = memoryview(encode(message))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _read_exactly(fd: int, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(fd, size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
