"""The gRPC face of storage: protos in, domain calls, protos out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.timestamp_pb2 import Timestamp

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.api.storage.v1 import storage_pb2_grpc
from maquette.runtime.clock import Clock
from maquette.runtime.errors import InvalidArgument, MaquetteError
from maquette.runtime.grants import Grant
from maquette.runtime.rpc.bounds import validate
from maquette.runtime.telemetry import get_logger
from services.storage.access import Doors
from services.storage.backends.base import Source
from services.storage.blobs import Blobs, Uploads
from services.storage.filenames import safe_filename
from services.storage.model import Retention, Upload, UploadKind
from services.storage.signing import MAX_LIFETIME, Download, UrlSigner
from services.storage.streams import PartStream
from services.storage.sweep import Remover

if TYPE_CHECKING:  # generic in their stubs only
    import grpc

    _Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the servicer hands its calls to."""

    blobs: Blobs
    uploads: Uploads
    remover: Remover
    signer: UrlSigner
    doors: Doors
    clock: Clock
    url_lifetime: timedelta
    stream_idle: float


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """Serves `maquette.api.storage.v1.StorageService`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def WriteBlob(  # noqa: N802
        self, requests: AsyncIterator[pb.WriteBlobRequest], context: _Context
    ) -> pb.WriteBlobResponse:
        """Write one blob; what a grant lets in counts towards its limit."""
        grant = self._caller(context)
        stream = PartStream[pb.WriteBlobRequest.Header, pb.WriteBlobRequest.Commit](
            requests, self._parts.stream_idle
        )
        header = await stream.header()
        validate(header)
        blob = await self._parts.blobs.write(
            stream.chunks(),
            _retention(header.retention),
            expected_digest=header.expected_digest,
            max_bytes=header.max_bytes,
            grant=grant,
        )
        return pb.WriteBlobResponse(digest=blob.digest, size=blob.size)

    async def ReadBlob(  # noqa: N802
        self, request: pb.ReadBlobRequest, context: _Context
    ) -> AsyncIterator[pb.ReadBlobResponse]:
        """Stream a blob or a range of it."""
        grant = self._caller(context)
        chunks = self._parts.blobs.read(request.digest, request.offset, request.length or None, grant)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield pb.ReadBlobResponse(chunk=chunk)

    async def open_blob(self, request: pb.ReadBlobRequest, context: Any) -> Source:
        """Open what ReadBlob streams, behind the same doors, for threads to read."""
        grant = self._caller(context)
        return await self._parts.blobs.open(request.digest, request.offset, request.length or None, grant)

    async def StatBlob(self, request: pb.StatBlobRequest, context: _Context) -> pb.StatBlobResponse:  # noqa: N802
        """Tell size and age."""
        self._privileged(context)
        stat = await self._parts.blobs.stat(request.digest)
        response = pb.StatBlobResponse(size=stat.size)
        response.created_at.FromDatetime(stat.written_at)
        return response

    async def HoldBlob(self, request: pb.HoldBlobRequest, context: _Context) -> pb.HoldBlobResponse:  # noqa: N802
        """Start a blob's grace again."""
        self._privileged(context)
        await self._parts.blobs.hold(request.digest)
        return pb.HoldBlobResponse()

    async def ReleaseBlobs(  # noqa: N802
        self, request: pb.ReleaseBlobsRequest, context: _Context
    ) -> pb.ReleaseBlobsResponse:
        """Remove right away what nothing refers to."""
        self._privileged(context)
        removal = await self._parts.remover.release(request.digests)
        return pb.ReleaseBlobsResponse(freed_bytes=removal.freed_bytes, removed=removal.digests)

    async def CreateUpload(  # noqa: N802
        self, requests: AsyncIterator[pb.CreateUploadRequest], context: _Context
    ) -> pb.CreateUploadResponse:
        """Write one upload of a person."""
        self._privileged(context)
        stream = PartStream[pb.CreateUploadRequest.Header, pb.CreateUploadRequest.Commit](
            requests, self._parts.stream_idle
        )
        header = await stream.header()
        validate(header)
        kind = _kind(header.kind)
        async with self._parts.uploads.receive(stream.chunks(), header.max_bytes) as spool:
            validate(stream.commit)
            upload = await self._parts.uploads.create(
                spool,
                header.account_id,
                kind,
                header.filename,
                stream.commit.media_type,
                stream.commit.format,
            )
        return pb.CreateUploadResponse(upload=_upload(upload))

    async def GetUpload(self, request: pb.GetUploadRequest, context: _Context) -> pb.GetUploadResponse:  # noqa: N802
        """Find an upload by id or by issued path."""
        self._privileged(context)
        if not (request.id or request.path):
            raise InvalidArgument("id or path is required")
        upload = await self._parts.uploads.find(request.account_id, upload_id=request.id, path=request.path)
        return pb.GetUploadResponse(upload=_upload(upload))

    async def DeleteUpload(  # noqa: N802
        self, request: pb.DeleteUploadRequest, context: _Context
    ) -> pb.DeleteUploadResponse:
        """Forget an upload. Its bytes go now, or with the sweep when `jobs` cannot be asked now."""
        self._privileged(context)
        digest = await self._parts.uploads.delete(request.account_id, request.id)
        try:
            await self._parts.remover.release([digest])
        except MaquetteError as error:
            get_logger().warning("bytes of a deleted upload stay until the sweep", why=error.message)
        return pb.DeleteUploadResponse()

    async def SignBlobUrl(self, request: pb.SignBlobUrlRequest, context: _Context) -> pb.SignBlobUrlResponse:  # noqa: N802
        """Make a link that opens one blob for some time."""
        self._privileged(context)
        lifetime = self._parts.url_lifetime
        if request.HasField("lifetime"):
            lifetime = request.lifetime.ToTimedelta()
            if not timedelta(0) < lifetime <= MAX_LIFETIME:
                raise InvalidArgument("lifetime must be above 0 and at most 7 days")
        download = Download(
            request.digest,
            safe_filename(request.filename),
            request.media_type,
            self._parts.clock.now() + lifetime,
        )
        return pb.SignBlobUrlResponse(
            path=self._parts.signer.sign(download), expire_time=_timestamp(download.expires_at)
        )

    async def VerifyBlobUrl(  # noqa: N802
        self, request: pb.VerifyBlobUrlRequest, context: _Context
    ) -> pb.VerifyBlobUrlResponse:
        """Open a link. NOT_FOUND when it is good but its blob is gone."""
        self._privileged(context)
        download = self._parts.signer.verify(request.filename, request.token, self._parts.clock.now())
        stat = await self._parts.blobs.stat(download.digest)
        return pb.VerifyBlobUrlResponse(
            digest=download.digest, size=stat.size, media_type=download.media_type
        )

    def _caller(self, context: _Context) -> Grant | None:
        return self._parts.doors.caller(_metadata(context), self._parts.clock.now())

    def _privileged(self, context: _Context) -> None:
        self._parts.doors.require_privileged(_metadata(context), self._parts.clock.now())


def _metadata(context: _Context) -> Iterable[tuple[str, str | bytes]]:
    return cast("Iterable[tuple[str, str | bytes]]", context.invocation_metadata() or ())


def _retention(number: int) -> Retention:
    try:
        return Retention(number or Retention.RESULT)
    except ValueError as error:
        raise InvalidArgument(f"unknown retention {number}") from error


def _kind(number: int) -> UploadKind:
    try:
        return UploadKind(number)
    except ValueError as error:
        raise InvalidArgument(f"unknown kind of upload {number}") from error


def _upload(upload: Upload) -> pb.Upload:
    return pb.Upload(
        id=upload.id,
        account_id=upload.account_id,
        kind=cast("pb.UploadKind.ValueType", int(upload.kind)),
        filename=upload.filename,
        media_type=upload.media_type,
        digest=upload.digest,
        size=upload.size,
        create_time=_timestamp(upload.created_at),
        expire_time=_timestamp(upload.expires_at),
        path=upload.path,
    )


def _timestamp(moment: Any) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
