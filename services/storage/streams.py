"""Client streams of the form header, chunks, commit, taken apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Literal, Protocol, TypeVar

from maquette.runtime.errors import DeadlineExceeded, InvalidArgument
from services.storage.spool import Incoming

MAX_CHUNK_BYTES = 1 << 20

Header_co = TypeVar("Header_co", covariant=True)
Commit_co = TypeVar("Commit_co", covariant=True)


class Part(Protocol[Header_co, Commit_co]):
    """One message of such a stream: WriteBlobRequest, CreateUploadRequest."""

    @property
    def header(self) -> Header_co:
        """What begins the stream."""

    @property
    def chunk(self) -> bytes | Incoming:
        """Some of the bytes."""

    @property
    def commit(self) -> Commit_co:
        """What ends the stream."""

    def WhichOneof(self, oneof_group: Literal["part"], /) -> str | None:  # noqa: N802 — protobuf's name
        """Name the part that is set."""


H = TypeVar("H")
C = TypeVar("C")


class PartStream(Generic[H, C]):
    """Reads one stream in order. A stream that pauses longer than ``idle`` seconds is cut off."""

    def __init__(self, parts: AsyncIterator[Part[H, C]], idle: float) -> None:
        self._parts = parts
        self._idle = idle
        self._commit: C | None = None

    async def header(self) -> H:
        """Return the first message. Raises InvalidArgument when it is not a header."""
        part = await self._next()
        if part is None or part.WhichOneof("part") != "header":
            raise InvalidArgument("the stream must begin with its header")
        return part.header

    async def chunks(self) -> AsyncIterator[bytes | Incoming]:
        """Yield the bytes up to the commit. Raises InvalidArgument when the commit never comes."""
        while True:
            part = await self._next()
            if part is None:
                raise InvalidArgument("the stream ended without its commit")
            kind = part.WhichOneof("part")
            if kind == "commit":
                self._commit = part.commit
                return
            if kind != "chunk":
                raise InvalidArgument("the stream has one header, then chunks, then its commit")
            chunk = part.chunk
            if isinstance(chunk, bytes) and len(chunk) > MAX_CHUNK_BYTES:
                raise InvalidArgument(f"a chunk has at most {MAX_CHUNK_BYTES} bytes")
            if len(chunk):
                yield chunk

    @property
    def commit(self) -> C:
        """The commit that `chunks` ended with."""
        if self._commit is None:
            raise RuntimeError("the stream has not been read to its commit")
        return self._commit

    async def _next(self) -> Part[H, C] | None:
        try:
            async with asyncio.timeout(self._idle):
                return await anext(self._parts, None)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the stream paused for more than {self._idle:g} s") from error
