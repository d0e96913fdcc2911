"""D6, D8 and signed links: files out, whole, in ranges, or as base64."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import orjson
from starlette.requests import Request
from starlette.responses import Response

from maquette.api.dialects.aigc.v1 import system_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import InvalidArgument, NotFound
from maquette.runtime.rpc.byte_client import ByteClient, Piece
from services.gateway import auth
from services.gateway.backends import call
from services.gateway.dialects.aigc import mapping, words
from services.gateway.edge.attachments import (
    Unsatisfiable,
    disposition,
    not_modified,
    safe_name,
    wanted_span,
)
from services.gateway.edge.blob_response import BlobResponse
from services.gateway.edge.parts import EdgeParts
from services.gateway.json_writer import to_plain

_MOST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class File:
    """A file to send."""

    digest: str
    size: int
    media_type: str
    filename: str
    headers: dict[str, str] = field(default_factory=dict)


class Downloads:
    """Handlers of the routes that send files."""

    def __init__(self, parts: EdgeParts) -> None:
        self._parts = parts

    async def result(self, request: Request) -> Response:
        """Serve D8: the mesh, or another file of the result named by ``role`` and ``ordinal``."""
        role = request.query_params.get("role") or "mesh"
        job = await self._job(request)
        artifact = mapping.need_artifact(job, role, _ordinal(request.query_params.get("ordinal", "")))
        seconds = mapping.processing_seconds(job)
        headers = {"x-generation-time": "" if seconds is None else f"{seconds:.3f}"}
        return self._send(request, job, artifact, headers)

    async def thumbnail(self, request: Request) -> Response:
        """Serve D6."""
        job = await self._job(request)
        artifact = mapping.need_artifact(job, "thumbnail")
        return self._send(request, job, artifact, {"x-thumbnail-generated": "true"})

    async def signed(self, request: Request) -> Response:
        """Serve a signed link: the token alone opens the file."""
        filename = request.path_params["filename"]
        verify = storage_pb2.VerifyBlobUrlRequest(
            filename=filename, token=request.query_params.get("token", "")
        )
        backends = self._parts.backends
        found = await call(backends.storage.VerifyBlobUrl, verify, backends.storage_channel, safe=True)
        media_type = found.media_type or "application/octet-stream"
        file = File(found.digest, found.size, media_type, safe_name(filename, "file"))
        return send_file(request, self._parts.storage, file)

    async def _job(self, request: Request) -> jobs_pb2.Job:
        job_id = request.path_params["job_id"]
        entry = await self._parts.feed.find(auth.account(), job_id)
        if entry.job.dialect != words.NAME:
            raise NotFound(f"There is no job {job_id}.")
        return entry.job

    def _send(
        self, request: Request, job: jobs_pb2.Job, artifact: jobs_pb2.Artifact, headers: dict[str, str]
    ) -> Response:
        form = request.query_params.get("format") or "file"
        name = safe_name(request.query_params.get("filename", ""), mapping.public_name(artifact))
        own = {"x-job-id": job.public_id, "x-file-size": str(artifact.size), **headers}
        file = File(artifact.digest, artifact.size, mapping.public_type(artifact), name, own)
        if form == "base64":
            return self._encoded(job, file)
        if form != "file":
            raise InvalidArgument("format must be one of file, base64.")
        return send_file(request, self._parts.storage, file)

    def _encoded(self, job: jobs_pb2.Job, file: File) -> Response:
        """Return the base64 form, written while it is read."""
        info = mapping.generation_info(job)
        view = system_pb2.EncodedFile(
            job_id=job.public_id,
            filename=file.filename,
            content_type=file.media_type,
            file_size_mb=mapping.mib(file.size),
            download_time=mapping.timestamp(self._parts.clock.now().timestamp()),
        )
        view.generation_info.update(info)
        before, after = orjson.dumps(to_plain(view)).split(b'"base64_data":""')

        async def encode(pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece, None]:
            yield before + b'"base64_data":"'
            carry = b""
            async for piece in pieces:
                joined = carry + piece
                whole = len(joined) // 3 * 3
                carry = joined[whole:]
                yield base64.b64encode(memoryview(joined)[:whole])
            yield base64.b64encode(carry) + b'"' + after

        length = len(before) + len(after) + len(b'"base64_data":""') + (file.size + 2) // 3 * 4
        return BlobResponse(
            self._parts.storage,
            file.digest,
            0,
            file.size,
            headers={**file.headers, "content-length": str(length)},
            media_type="application/json",
            encode=encode,
        )


def send_file(request: Request, storage: ByteClient, file: File) -> Response:
    """Answer with a file, or the range of it that was asked for."""
    etag = f'"{file.digest}"'
    headers = {
        **file.headers,
        "etag": etag,
        "accept-ranges": "bytes",
        "content-disposition": disposition(file.filename),
        "x-content-type-options": "nosniff",
        # Only the one who asked may keep it.
        "cache-control": "private, no-cache",
        "content-security-policy": "default-src 'none'; sandbox",
    }
    if not_modified(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    try:
        span = wanted_span(
            request.headers.get("range", ""), request.headers.get("if-range", ""), etag, file.size
        )
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{file.size}"})
    start, length, status = 0, file.size, 200
    if span is not None:
        start, length, status = span.start, span.length, 206
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{file.size}"
    headers["content-length"] = str(length)
    return BlobResponse(
        storage, file.digest, start, length, headers=headers, media_type=file.media_type, status_code=status
    )


def _ordinal(text: str) -> int:
    if text and (not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS):
        raise InvalidArgument("ordinal must be a number.")
    return int(text or 0)
