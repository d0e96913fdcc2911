"""A task's files: in from storage before the run, out to storage after it, under the task's grant."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import grpc

from maquette.runtime.blobs import CHUNK_BYTES, BlobClient, Written
from maquette.runtime.errors import Internal


class Blobs(Protocol):
    """What a run needs of storage."""

    async def fetch(self, grant: str, digest: str, size: int, target: Path) -> None:
        """Write a blob to a new file that every uid may read. Raises Internal for other bytes."""

    async def store(self, grant: str, fd: int, media_type: str) -> Written:
        """Store what a descriptor reads; the blob is durable on return."""


class StorageBlobs:
    """Blobs of the storage service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def fetch(self, grant: str, digest: str, size: int, target: Path) -> None:
        """Write a blob to a new file that every uid may read. Raises Internal for other bytes."""
        client = BlobClient(self._channel, grant=grant)
        await client.read_to_file(digest, target, max_bytes=size)
        target.chmod(0o644)

    async def store(self, grant: str, fd: int, media_type: str) -> Written:
        """Store what a descriptor reads; the blob is durable on return.

        Raises Internal when storage has other bytes than were read here.
        """
        hasher = hashlib.sha256()

        async def chunks() -> AsyncIterator[bytes]:
            # Read here and not in a thread: the bytes were written a moment ago, and a thread
            # could still read when a cancelled run has closed the descriptor.
            while chunk := os.read(fd, CHUNK_BYTES):
                hasher.update(chunk)
                yield chunk

        written = await BlobClient(self._channel, grant=grant).write(chunks(), media_type=media_type)
        if written.digest != hasher.hexdigest():
            raise Internal("storage has other bytes than it was sent")
        return written
