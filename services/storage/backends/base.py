"""What a back end does, and how its blocking reads become a stream.

Every back end takes a finished :class:`~services.storage.spool.Spool` (bytes on disk, digest known)
and makes it visible under its digest in one step: no reader ever sees half a blob.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from maquette.runtime.errors import Internal
from services.storage.spool import Spool

CHUNK_BYTES = 256 * 1024
"""Size of the pieces a read yields."""
BATCH_CHUNKS = 4
"""Pieces read in one turn of a thread; a stream holds two such batches at most."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What a back end knows of one blob."""

    size: int
    written_at: datetime


class Backend(Protocol):
    """Content-addressed bytes. Digests are lower-case hex SHA-256.

    Methods raise Unavailable when the medium is away, ResourceExhausted (STORAGE_FULL) when it
    is full, and Internal for any other failure of it; never OSError or a library's own errors.
    """

    async def open_spool(self) -> Spool:
        """Open a temporary file for a blob to come."""

    async def publish(self, spool: Spool) -> bool:
        """Make a finished spool readable under its digest, durably; False if it was there before."""

    async def stat(self, digest: str) -> BlobStat | None:
        """Return size and age; None when there is no such blob."""

    def read(self, digest: str, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield a blob or a range of it.

        A range is cut at the end of the blob. A whole blob is checked against its digest.
        Raises NotFound when absent, InvalidArgument when `offset` lies behind the end, and Internal
        at the end of a whole blob that is not what its digest says.
        """

    async def open(self, digest: str, offset: int = 0, length: int | None = None) -> Source:
        """Open a blob or a range of it, for threads to read; what `read` promises holds."""

    async def remove(self, digest: str) -> int:
        """Remove a blob and return its size; 0 when there was none."""

    async def free_bytes(self) -> int | None:
        """Return the room left on the disk that fills up first; None when it is without end."""

    async def clean(self) -> int:
        """Remove what processes that died left half-written; return how many files."""

    async def close(self) -> None:
        """Give back connections and threads."""


class Source(Protocol):
    """An open blob that is read from a thread."""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; empty at the end."""

    def close(self) -> None:
        """Close what was opened."""


class Verified:
    """A source that checks the digest of everything read through it."""

    def __init__(self, source: Source, digest: str) -> None:
        self._source = source
        self._digest = digest
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises Internal at the end of a damaged blob."""
        data = self._source.read(size)
        self._hash.update(data)
        if not data and self._hash.hexdigest() != self._digest:
            raise Internal(f"blob {self._digest} is damaged")
        return data

    def close(self) -> None:
        """Close the source."""
        self._source.close()


async def in_thread(executor: Executor, call: Callable[..., T], *args: object) -> T:
    """Run a blocking call in one of the back end's own threads."""
    return await asyncio.get_running_loop().run_in_executor(executor, call, *args)


async def opened(executor: Executor, opening: Callable[[], Source]) -> Source:
    """Open a source in a thread; a caller that is cancelled meanwhile leaves none open."""
    source = executor.submit(opening)
    try:
        return await asyncio.shield(asyncio.wrap_future(source))
    except asyncio.CancelledError:
        source.add_done_callback(_close_unused)
        raise


def _close_unused(opening: Future[Source]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def stream(executor: Executor, opening: Callable[[], Source]) -> AsyncGenerator[bytes, None]:
    """Open a source in a thread and yield its pieces, one batch read ahead."""
    source = await opened(executor, opening)
    ahead: Future[list[bytes]] = executor.submit(_read_batch, source)
    try:
        # Shielded: a cancelled reader must leave the thread's result to `_close_after`.
        while batch := await asyncio.shield(asyncio.wrap_future(ahead)):
            ahead = executor.submit(_read_batch, source)
            for chunk in batch:
                yield chunk
    finally:
        executor.submit(_close_after, ahead, source)


def _close_after(reading: Future[list[bytes]], source: Source) -> None:
    """Close a source once nobody reads it: a file descriptor closed too early is reused at once.

    The read was submitted before, so waiting for it here cannot starve it of threads.
    """
    wait((reading,))
    source.close()


def _read_batch(source: Source) -> list[bytes]:
    batch = []
    for _ in range(BATCH_CHUNKS):
        chunk = source.read(CHUNK_BYTES)
        if not chunk:
            break
        batch.append(chunk)
    return batch
