"""Take in a file of a person: checked while it streams, published only when it passed.

Bytes go to storage as they come. A picture is also spooled to a file of its own, which a sandboxed
process decodes; a mesh is known by its head and its length. Storage publishes at `commit`; an
ingestion that ends otherwise leaves no file, no row and no process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.clock import IdSource
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.rpc.byte_client import ByteCall, ByteClient
from maquette.runtime.settings import GatewaySettings
from services.gateway.sniff import HEAD_BYTES, MESH_MEDIA_TYPES, sniff_mesh

_CREATE_UPLOAD = "/maquette.api.storage.v1.StorageService/CreateUpload"
# So much goes to storage in one frame: storage asks its threads, its disk and its quota once for each.
_CHUNK = 4 << 20
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
    width: int = 0
    """Pixels; 0 for what is no picture."""
    height: int = 0


class ImageInspector(Protocol):
    """Looks at a picture where it can do no harm."""

    async def inspect(self, path: Path) -> FileFacts:
        """Return its facts. Raises `InvalidArgument` (INVALID_INPUT_FILE) with what is wrong."""


class Ingestion:
    """One file on its way in."""

    def __init__(
        self, call: ByteCall, kind: FileKind, most: int, spool: Path | None, inspector: ImageInspector
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
        self._pending: list[bytes | memoryview] = []
        self._pending_size = 0
        self.size = 0

    async def write(self, data: bytes | memoryview) -> None:
        """Take bytes, which must not change. Raises `InvalidArgument` (FILE_TOO_LARGE) past the limit."""
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
                "The file is not a whole mesh; GLB, OBJ, FBX, PLY, STL, glTF and BVH can be read.",
                reason="INVALID_INPUT_FILE",
            )
        return FileFacts(found, MESH_MEDIA_TYPES[found])

    async def commit(self, facts: FileFacts) -> storage_pb2.Upload:
        """Publish the file."""
        commit = storage_pb2.CreateUploadRequest.Commit(media_type=facts.media_type, format=facts.format)
        await self._call.send(storage_pb2.CreateUploadRequest(commit=commit))
        return (await self._call.finish(storage_pb2.CreateUploadResponse)).upload

    def close(self) -> None:
        """Remove the spooled picture."""
        if self._spool is not None:
            os.close(self._file)
            self._spool.unlink(missing_ok=True)

    async def _flush(self) -> None:
        if not self._pending:
            return
        pieces, self._pending, self._pending_size = self._pending, [], 0
        if self._spool is not None:
            await asyncio.to_thread(_write_all, self._file, pieces)
        await self._call.send_bytes(pieces)


class Ingestor:
    """Opens ingestions."""

    def __init__(
        self,
        storage: ByteClient,
        inspector: ImageInspector,
        spool_folder: Path,
        limits: GatewaySettings,
        ids: IdSource,
    ) -> None:
        self._storage = storage
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
        # Left before its answer, the call is cancelled, and storage drops what it has.
        async with self._storage.call(_CREATE_UPLOAD, timeout=self._limits.body_seconds) as call:
            await call.send(storage_pb2.CreateUploadRequest(header=header))
            spool = self._folder / f"picture-{self._ids.token()}" if kind is FileKind.IMAGE else None
            ingestion = Ingestion(call, kind, most, spool, self._inspector)
            try:
                yield ingestion
            finally:
                ingestion.close()


def _write_all(file: int, pieces: Iterable[bytes | memoryview]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(file, view) :]


def sweep_spool(folder: Path) -> None:
    """Remove what a gateway that was killed left behind."""
    # As root, workers of other uids pass through it to their own folders.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    for left in folder.glob("picture-*"):
        left.unlink(missing_ok=True)
