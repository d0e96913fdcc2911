"""An in-memory `storage` that keeps its contract."""

from __future__ import annotations

import asyncio
import hashlib
import io
import uuid
from datetime import UTC, datetime, timedelta

from google.protobuf import timestamp_pb2

from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.errors import (
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
    error_for,
)
from maquette.runtime.rpc.byte_server import Incoming
from tests.contract.gateway.moments import now


class Reading(io.BytesIO):
    """A blob that is being read; ``among`` those as long as it is open. It may break in the middle."""

    def __init__(self, data: bytes, among: set[Reading], most: int | None) -> None:
        super().__init__(data)
        self._among = among
        self._most = most
        among.add(self)

    def read(self, size: int | None = -1) -> bytes:
        if self._most is not None and self.tell() >= self._most:
            raise Internal("the disk failed")
        return super().read(size)

    def close(self) -> None:
        self._among.discard(self)
        super().close()


class MemoryStorage(storage_pb2_grpc.StorageServiceServicer):
    """Blobs and uploads in dicts."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, storage_pb2.Upload] = {}
        self.full = False
        self.away = False
        """Blobs are not released, as if storage did not answer."""
        self.held: set[str] = set()
        self.receiving = 0
        self.begun = 0
        """Uploads that began to arrive, however they ended."""
        self.keep_bytes = True
        self.reading: set[Reading] = set()
        self.breaks_after: int | None = None
        """Bytes after which the reading of any blob fails."""

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    async def CreateUpload(self, requests, context):
        self.receiving += 1
        self.begun += 1
        try:
            return await self._receive(requests)
        finally:
            self.receiving -= 1

    async def _receive(self, requests):
        header, commit, sha, size, kept = None, None, hashlib.sha256(), 0, []
        async for request in requests:
            part = request.WhichOneof("part")
            if part == "header":
                header = request.header
            elif part == "chunk":
                chunk = await asyncio.to_thread(_received, request.chunk)
                sha.update(chunk)
                size += len(chunk)
                if self.keep_bytes:
                    kept.append(chunk)
                if self.full:
                    raise error_for("STORAGE_FULL", "the disk has less than its floor of free space")
            else:
                commit = request.commit
                break
        if commit is None or header is None:
            raise InvalidArgument("the stream ended without commit")
        digest = sha.hexdigest()
        self.blobs[digest] = b"".join(kept)
        upload_id = uuid.uuid4().hex
        expire = timestamp_pb2.Timestamp()
        expire.FromDatetime(datetime.now(UTC) + timedelta(hours=24))
        folder = "images" if header.kind == storage_pb2.UPLOAD_KIND_IMAGE else "meshes"
        upload = storage_pb2.Upload(
            id=upload_id,
            account_id=header.account_id,
            kind=header.kind,
            filename=header.filename.rpartition("/")[2],
            media_type=commit.media_type,
            digest=digest,
            size=size,
            create_time=now(),
            expire_time=expire,
            path=f"/uploads/{folder}/{upload_id}.{commit.format}",
        )
        self.uploads[upload_id] = upload
        return storage_pb2.CreateUploadResponse(upload=upload)

    async def GetUpload(self, request, context):
        for upload in self.uploads.values():
            if request.id == upload.id or (request.path and request.path == upload.path):
                return storage_pb2.GetUploadResponse(upload=upload)
        raise NotFound("no such upload")

    async def DeleteUpload(self, request, context):
        upload = self.uploads.pop(request.id, None)
        if upload is None or upload.account_id != request.account_id:
            raise NotFound("no such upload")
        if all(other.digest != upload.digest for other in self.uploads.values()):
            del self.blobs[upload.digest]
        return storage_pb2.DeleteUploadResponse()

    async def open_blob(self, request, context):
        if request.digest not in self.blobs:
            raise NotFound("no such blob")
        end = request.offset + request.length if request.length else None
        data = self.blobs[request.digest][request.offset : end]
        return Reading(data, self.reading, self.breaks_after)

    async def HoldBlob(self, request, context):
        if request.digest not in self.blobs:
            raise NotFound("no such blob")
        self.held.add(request.digest)
        return storage_pb2.HoldBlobResponse()

    async def ReleaseBlobs(self, request, context):
        if self.away:
            raise Unavailable("storage is away")
        gone = [d for d in request.digests if d in self.blobs and d not in self.held]
        freed = sum(len(self.blobs.pop(d)) for d in gone)
        return storage_pb2.ReleaseBlobsResponse(freed_bytes=freed, removed=gone)

    async def VerifyBlobUrl(self, request, context):
        digest = request.token.removeprefix("good-")
        if digest not in self.blobs:
            raise PermissionDenied("the link is forged or has expired", reason="BAD_SIGNATURE")
        return storage_pb2.VerifyBlobUrlResponse(
            digest=digest, size=len(self.blobs[digest]), media_type="model/gltf-binary"
        )


def _received(chunk: Incoming) -> bytes:
    """Receive a chunk (blocking)."""
    return bytes(chunk.read_into(memoryview(bytearray(len(chunk)))))
