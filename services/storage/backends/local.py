"""A local folder: ``<root>/ab/cd/<digest>``, published by an atomic rename.

What `publish` returned for is on the disk: the file, its name, and the folders that lead to it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from datetime import UTC, datetime
from pathlib import Path

from maquette.runtime.errors import InvalidArgument, NotFound
from services.storage.backends.base import BlobStat, Source, Verified, in_thread, opened, stream
from services.storage.spool import Spool, clean_spools, disk_errors, open_spool

_SPOOL_FOLDER = "incoming"


class LocalBackend:
    """Blobs in a folder that this service alone writes to."""

    def __init__(self, root: Path, executor: Executor) -> None:
        self._root = root
        self._spools = root / _SPOOL_FOLDER
        self._executor = executor
        with disk_errors():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._spools.mkdir(mode=0o700, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where a blob lies, whether it is there or not."""
        return self._root / digest[:2] / digest[2:4] / digest

    async def open_spool(self) -> Spool:
        """Open a temporary file on the same file system."""
        return await open_spool(self._executor, self._spools, durable=True)

    async def publish(self, spool: Spool) -> bool:
        """Rename a finished spool into place; False if the blob was there before."""
        return await in_thread(self._executor, self._publish, spool)

    async def stat(self, digest: str) -> BlobStat | None:
        """Return size and age; None when there is no such blob."""
        return await in_thread(self._executor, self._stat, digest)

    def read(self, digest: str, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield a blob or a range of it; a whole blob is checked against its digest."""
        return stream(self._executor, lambda: self._open(digest, offset, length))

    async def open(self, digest: str, offset: int = 0, length: int | None = None) -> Source:
        """Open a blob or a range of it; a whole blob is checked against its digest."""
        return await opened(self._executor, lambda: self._open(digest, offset, length))

    async def remove(self, digest: str) -> int:
        """Remove a blob and return its size; 0 when there was none."""
        return await in_thread(self._executor, self._remove, digest)

    async def free_bytes(self) -> int | None:
        """Return the free space of the file system."""
        with disk_errors():
            return await in_thread(self._executor, lambda: shutil.disk_usage(self._root).free)

    async def clean(self) -> int:
        """Remove the spool files of processes that died."""
        return await in_thread(self._executor, clean_spools, self._spools)

    async def close(self) -> None:
        """Nothing to give back."""

    def _publish(self, spool: Spool) -> bool:
        target = self.path(spool.digest)
        with disk_errors():
            new = not target.exists()
            self._make_folders(target.parent)
            # Also when the blob is there: the same content, and one that was damaged is whole again.
            spool.path.rename(target)
            _sync_folder(target.parent)
            return new

    def _make_folders(self, folder: Path) -> None:
        for path in (folder.parent, folder):
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            _sync_folder(path.parent)

    def _stat(self, digest: str) -> BlobStat | None:
        with disk_errors():
            try:
                status = self.path(digest).stat()
            except FileNotFoundError:
                return None
            return BlobStat(status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _open(self, digest: str, offset: int, length: int | None) -> Source:
        with disk_errors():
            try:
                descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise NotFound(f"there is no blob {digest}") from error
            size = os.fstat(descriptor).st_size
        if offset > size:
            os.close(descriptor)
            raise InvalidArgument(f"offset {offset} lies behind the end at {size}")
        end = size if length is None else min(size, offset + length)
        file = _FileRange(descriptor, offset, end)
        return Verified(file, digest) if (offset, end) == (0, size) else file

    def _remove(self, digest: str) -> int:
        path = self.path(digest)
        with disk_errors():
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return 0
            _sync_folder(path.parent)
            return size


class _FileRange:
    """Bytes `position` to `end` of an open file."""

    def __init__(self, descriptor: int, position: int, end: int) -> None:
        self._descriptor = descriptor
        self._position = position
        self._end = end

    def read(self, size: int) -> bytes:
        with disk_errors():
            data = os.pread(self._descriptor, min(size, self._end - self._position), self._position)
        self._position += len(data)
        return data

    def close(self) -> None:
        os.close(self._descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
