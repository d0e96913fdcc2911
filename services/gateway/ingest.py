"""Take in a file of a person: checked while it streams, published only when it passed.

Bytes go to storage as they come. A picture is also spooled to a file of its own, which a sandboxed
process decodes; a mesh is known by its head and its length. Storage publishes at `commit`; an
ingestion that ends otherwise leaves no file, no row and no process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import grpc

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.clock import IdSource
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.rpc.status import from_rpc_error
from maquette.runtime.settings import GatewaySettings
from services.gateway.backends import Backends
from services.gateway.sniff import HEAD_BYTES, MESH_MEDIA_TYPES, sniff_mesh

# Pieces arrive in up to 256 KiB: with one more it stays within the 1 MiB that storage takes at once.
_CHUNK = 768 * 1024
_MIB = 1 << 20


class FileKind(Enum):
    """What an upload is meant to be."""

    IMAGE = "image"
    MESH = "mesh"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found in a file."""

    format: str
    """File name extension without dot, by content."""
    media_type: str


class ImageInspector(Protocol):
    """Looks at a picture where it can do no harm."""

    async def inspect(self, path: Path) -> FileFacts:
        """Return its facts. Raises `InvalidArgument` (INVALID_INPUT_FILE) with what is wrong."""


class Ingestion:
    """One file on its way in."""

    def __init__(
        self, call: Any, kind: FileKind, most: int, spool: Path | None, inspector: ImageInspector
    ) -> None:
        self._call = call
        self._kind = kind
        self._most = most
        self._spool = spool
        self._inspector = inspector
        self._file = (
            os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600) if spool else -1
        )
        self._head = bytearray()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises `InvalidArgument` (FILE_TOO_LARGE) past the limit."""
        self.size += len(data)
        if self.size > self._most:
            raise InvalidArgument(
                f"The {self._kind.value} is larger than {self._most // _MIB} MB.", reason="FILE_TOO_LARGE"
            )
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size >= _CHUNK:
            await self._flush()

    async def inspect(self) -> FileFacts:
        """Look at the whole file. Raises `InvalidArgument` (INVALID_INPUT_FILE) if it is refused."""
        if self.size == 0:
            raise InvalidArgument("The file is empty.", reason="INVALID_INPUT_FILE")
        await self._flush()
        if self._kind is FileKind.IMAGE:
            assert self._spool is not None  # noqa: S101 — pictures are spooled, see open()
            return await self._inspector.inspect(self._spool)
        found = sniff_mesh(bytes(self._head), self.size)
        if found is None:
            raise InvalidArgument(
                "The file is not a whole mesh; GLB, OBJ, FBX, PLY, STL and glTF can be read.",
                reason="INVALID_INPUT_FILE",
            )
        return FileFacts(found, MESH_MEDIA_TYPES[found])

    async def commit(self, facts: FileFacts) -> storage_pb2.Upload:
        """Publish the file."""
        commit = storage_pb2.CreateUploadRequest.Commit(media_type=facts.media_type, format=facts.format)
        await self._send(storage_pb2.CreateUploadRequest(commit=commit))
        try:
            await self._call.done_writing()
            response = await self._call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        upload: storage_pb2.Upload = response.upload
        return upload

    def close(self) -> None:
        """Undo what was not committed."""
        self._call.cancel()
        if self._spool is not None:
            os.close(self._file)
            self._spool.unlink(missing_ok=True)

    async def _flush(self) -> None:
        if not self._pending:
            return
        chunk = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        if self._spool is not None:
            await asyncio.to_thread(_write_all, self._file, chunk)
        for at in range(0, len(chunk), _MIB):
            await self._send(storage_pb2.CreateUploadRequest(chunk=chunk[at : at + _MIB]))

    async def _send(self, request: storage_pb2.CreateUploadRequest) -> None:
        try:
            await self._call.write(request)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            # Storage ended the call: its status tells why.
            try:
                await self._call
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error
            raise


class Ingestor:
    """Opens ingestions."""

    def __init__(
        self,
        backends: Backends,
        inspector: ImageInspector,
        spool_folder: Path,
        limits: GatewaySettings,
        ids: IdSource,
    ) -> None:
        self._backends = backends
        self._inspector = inspector
        self._folder = spool_folder
        self._limits = limits
        self._ids = ids

    def most_bytes(self, kind: FileKind) -> int:
        """Return the largest file of a kind."""
        limits = self._limits
        return (limits.max_image_mib if kind is FileKind.IMAGE else limits.max_mesh_mib) * _MIB

    @asynccontextmanager
    async def open(self, kind: FileKind, filename: str, account_id: str) -> AsyncIterator[Ingestion]:
        """Begin to take in a file; what is not committed inside the block leaves nothing."""
        most = self.most_bytes(kind)
        header = storage_pb2.CreateUploadRequest.Header(
            account_id=account_id,
            kind=storage_pb2.UPLOAD_KIND_IMAGE if kind is FileKind.IMAGE else storage_pb2.UPLOAD_KIND_MESH,
            filename=filename,
            max_bytes=most,
        )
        call = self._backends.storage.CreateUpload(timeout=self._limits.body_seconds)
        spool = self._folder / f"picture-{self._ids.token()}" if kind is FileKind.IMAGE else None
        ingestion = Ingestion(call, kind, most, spool, self._inspector)
        try:
            await ingestion._send(storage_pb2.CreateUploadRequest(header=header))
            yield ingestion
        finally:
            ingestion.close()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def sweep_spool(folder: Path) -> None:
    """Remove what a gateway that was killed left behind."""
    # As root, workers of other uids pass through it to their own folders.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    for left in folder.glob("picture-*"):
        left.unlink(missing_ok=True)
