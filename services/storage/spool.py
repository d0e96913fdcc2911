"""A blob on its way in: a temporary file that is hashed while it is written.

The event loop only collects chunks; a thread hashes and writes them in batches while the next batch
arrives. Of chunks that are still in their socket the thread receives them too, in one small buffer that
stays in the processor's cache. A locked file belongs to a living process: :func:`clean_spools` leaves it
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Protocol

from maquette.runtime.errors import Internal, MaquetteError, ResourceExhausted
from services.storage.writeback import begin_writeback

_BATCH_BYTES = 1 << 20
# Written pages are handed to the disk this often. An fsync in between made everybody wait for it instead:
# 200 MB took .30 s, and take .21 s.
_FLUSH_BYTES = 8 << 20
_BUFFER_BYTES = 256 << 10
_SUFFIX = ".part"


def disk_error(error: OSError) -> MaquetteError:
    """Turn a failure of the disk into the catalogue's error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted("the disk is full", reason="STORAGE_FULL")
    return Internal(f"the disk failed: {error.strerror or error}")


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raise the catalogue's errors for failures of the disk inside the block."""
    try:
        yield
    except OSError as error:
        raise disk_error(error) from error


class Incoming(Protocol):
    """A chunk that is still to be received."""

    @property
    def left(self) -> int:
        """How many bytes of it are."""

    def __len__(self) -> int:
        """Return the size of the whole chunk."""

    def read_into(self, buffer: memoryview) -> memoryview:
        """Receive the next bytes (blocking) and return the part of the buffer that holds them."""


class Spool:
    """One temporary file. `write` many times, `finish` once, `discard` always.

    At most two batches of about 1 MiB are in memory, whatever the blob's size.
    """

    def __init__(self, executor: Executor, path: Path, descriptor: int, *, durable: bool) -> None:
        self._executor = executor
        self._descriptor = descriptor
        self._durable = durable
        self._hash = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._written = 0
        self._flushed = 0
        self._buffer: memoryview | None = None
        self._writing: asyncio.Future[None] | None = None
        # Held by whichever thread touches the descriptor: nobody closes it under a writer.
        self._lock = threading.Lock()
        self._closed = False
        self.path = path
        self.size = 0

    @property
    def digest(self) -> str:
        """Lower-case hex SHA-256 of what was written; final after `finish`."""
        return self._hash.hexdigest()

    async def write(self, chunk: bytes | Incoming) -> None:
        """Take a chunk. Waits while the disk is behind; raises what the disk raised."""
        self.size += len(chunk)
        if not isinstance(chunk, bytes):
            await self._hand_over()
            await self._settle()
            await self._run(self._receive, chunk)
            return
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if self._pending_bytes >= _BATCH_BYTES:
            await self._hand_over()

    async def finish(self) -> None:
        """Write what is left; when the back end keeps this very file, bring it to the disk."""
        await self._hand_over()
        await self._settle()
        if self._durable:
            await self._run(self._sync)

    async def discard(self) -> None:
        """Close the file and remove it if it was not published; harmless when repeated."""
        self._pending.clear()
        if self._writing is not None:
            self._writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Not awaited by a task that may be cancelled again: the thread does it in any case.
        removal = self._executor.submit(self.remove)
        await asyncio.shield(asyncio.wrap_future(removal))

    async def _hand_over(self) -> None:
        await self._settle()
        batch, self._pending, self._pending_bytes = self._pending, [], 0
        if batch:
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(self._executor, self._write_batch, batch)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            with disk_errors():
                await writing

    async def _run(self, call: Callable[..., None], *args: object) -> None:
        with disk_errors():
            await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def _write_batch(self, batch: list[bytes]) -> None:
        with self._lock:
            if self._closed:
                return
            for chunk in batch:
                self._keep(memoryview(chunk))

    def _receive(self, chunk: Incoming) -> None:
        with self._lock:
            if self._closed:
                return
            if self._buffer is None:
                self._buffer = memoryview(bytearray(_BUFFER_BYTES))
            while chunk.left:
                self._keep(chunk.read_into(self._buffer))

    def _keep(self, view: memoryview) -> None:
        self._hash.update(view)
        self._written += len(view)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if self._durable and self._written - self._flushed >= _FLUSH_BYTES:
            begin_writeback(self._descriptor, self._flushed, self._written - self._flushed)
            self._flushed = self._written

    def _sync(self) -> None:
        with self._lock:
            os.fsync(self._descriptor)

    def remove(self) -> None:
        """Close the file and remove it if it was not published (blocking)."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # Unlinked before the lock on the file goes: no cleaner sees it in between.
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)


async def open_spool(executor: Executor, folder: Path, *, durable: bool) -> Spool:
    """Create a spool file in a thread; a caller that is cancelled meanwhile leaves none behind."""
    creating = executor.submit(create_spool, executor, folder, durable=durable)
    try:
        return await asyncio.shield(asyncio.wrap_future(creating))
    except asyncio.CancelledError:
        creating.add_done_callback(_drop)
        raise


def _drop(creating: Future[Spool]) -> None:
    """Remove a spool that nobody waits for any more."""
    if not creating.cancelled() and creating.exception() is None:
        creating.result().remove()


def create_spool(executor: Executor, folder: Path, *, durable: bool) -> Spool:
    """Create a spool file in a folder that exists (blocking)."""
    with disk_errors():
        while True:
            path = folder / f"{secrets.token_hex(16)}{_SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if _lock_file(descriptor) and os.fstat(descriptor).st_nlink:
                return Spool(executor, path, descriptor, durable=durable)
            # A cleaner took the file between its creation and its lock: make another.
            os.close(descriptor)


def clean_spools(folder: Path) -> int:
    """Remove the spool files whose process has died, and return how many (blocking)."""
    removed = 0
    with disk_errors():
        for path in folder.glob(f"*{_SUFFIX}"):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if _lock_file(descriptor):
                    path.unlink(missing_ok=True)
                    removed += 1
            finally:
                os.close(descriptor)
    return removed


def _lock_file(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
