"""`POST /animate/image`: a form with a picture to one durable job. What is refused leaves nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from google.protobuf import struct_pb2
from starlette.requests import Request
from starlette.responses import Response

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MaquetteError,
    NotFound,
    Unavailable,
)
from maquette.runtime.settings import PipelineSettings
from maquette.runtime.structs import to_struct
from maquette.runtime.telemetry import get_logger
from services.gateway import auth
from services.gateway.backends import call
from services.gateway.capabilities import Capabilities, NodeDirectory
from services.gateway.dialects.animate import words
from services.gateway.dialects.animate.errors import wrong_field
from services.gateway.dialects.animate.graph import ANIMATE, RETEXTURE, RIG, Plan, pipeline
from services.gateway.dialects.animate.requests import AnimateRequest, read_request
from services.gateway.edge.attachments import safe_name
from services.gateway.edge.downloads import File, send_file
from services.gateway.edge.parts import EdgeParts
from services.gateway.edge.uploads import receive_form
from services.gateway.feed import Feed
from services.gateway.idempotency import idempotency_key
from services.gateway.ingest import FileFacts, FileKind, Ingestion
from services.gateway.job_maker import JobMaker

_FILE = "file"
_PROVIDER = capability_pb2.ENGINE_KIND_PROVIDER


@dataclass(frozen=True, slots=True)
class _Found:
    """What of a request depends on what the server can do."""

    plan: Plan
    warnings: tuple[str, ...]
    remote_mesh: bool


class AnimateRoutes:
    """Handlers of this dialect's routes at the edge."""

    def __init__(
        self, parts: EdgeParts, nodes: NodeDirectory, jobs: JobMaker, settings: PipelineSettings
    ) -> None:
        self._parts = parts
        self._nodes = nodes
        self._jobs = jobs
        self._settings = settings

    async def animate(self, request: Request) -> Response:
        """Serve F1."""
        key = idempotency_key(list(request.headers.items()))
        fields: dict[str, str] = {}
        async with AsyncExitStack() as stack:
            ingestion = await receive_form(request, self._parts, FileKind.IMAGE, _FILE, stack, fields)
            if ingestion is None:
                raise wrong_field(_FILE, "missing", "Field required")
            wanted = read_request(fields, self._settings.max_animations)
            facts = await _inspect(ingestion)
            found = _find(wanted, self._settings, await self._nodes.capabilities())
            upload: storage_pb2.Upload = await ingestion.commit(facts)
        job = await self._create(wanted, found, upload, key)
        view = {
            "forge_id": job.public_id,
            "job_id": job.public_id,
            "status": words.STATUS[jobs_pb2.STATE_QUEUED],
            "message": words.STARTED,
            "note": _note(wanted, found),
        }
        return Response(orjson.dumps(view), media_type="application/json")

    async def download(self, request: Request) -> Response:
        """Send a file of a step, as long as the job is kept."""
        parameters = request.path_params
        job = await find_job(self._parts.feed, parameters["job_id"])
        for task in job.tasks:
            for file in task.artifacts if task.name == parameters["step"] else ():
                if file.filename == parameters["filename"]:
                    name = safe_name(file.filename, "file")
                    found = File(file.digest, file.size, file.media_type, name, {"x-job-id": job.public_id})
                    return send_file(request, self._parts.storage, found)
        raise NotFound("There is no such file.")

    async def _create(
        self, wanted: AnimateRequest, found: _Found, upload: storage_pb2.Upload, key: str
    ) -> jobs_pb2.Job:
        image = capability_pb2.TaskInput(
            role="image",
            digest=upload.digest,
            size=upload.size,
            media_type=upload.media_type,
            filename=upload.filename,
        )
        asked = orjson.dumps(asdict(wanted), option=orjson.OPT_SORT_KEYS)
        job = jobs_pb2.CreateJobRequest(
            account_id=auth.account(),
            dialect=words.NAME,
            feature=words.FEATURE,
            request=_words(wanted, found, image),
            idempotency_key=key,
            request_digest=hashlib.sha256(asked + upload.digest.encode()).hexdigest() if key else "",
            tasks=pipeline(wanted, image, found.plan),
        )
        try:
            response = await self._jobs.create(job)
        except (Unavailable, DeadlineExceeded, Internal):
            # The job may have been stored after all: its picture lives as long as any upload.
            raise
        except MaquetteError:
            await self._discard(upload)
            raise
        if not response.created:
            await self._discard(upload)
        return self._parts.feed.note(response.job).job

    async def _discard(self, upload: storage_pb2.Upload) -> None:
        """Remove the picture of a request that made no job."""
        backends = self._parts.backends
        request = storage_pb2.DeleteUploadRequest(account_id=upload.account_id, id=upload.id)
        try:
            await call(backends.storage.DeleteUpload, request, backends.storage_channel)
        except MaquetteError as error:
            get_logger().warning("a picture stays until it expires", upload=upload.id, why=error.message)


async def find_job(feed: Feed, job_id: str) -> jobs_pb2.Job:
    """Return a job of this dialect and of the caller's account. Raises NotFound."""
    try:
        entry = await feed.find(auth.account(), job_id)
    except NotFound as error:
        raise NotFound(words.NOT_FOUND.format(job_id=job_id)) from error
    if entry.job.dialect != words.NAME:
        raise NotFound(words.NOT_FOUND.format(job_id=job_id))
    return entry.job


async def _inspect(ingestion: Ingestion) -> FileFacts:
    """Look at the picture. Raises InvalidArgument (INVALID_INPUT_FILE) in the document's words."""
    try:
        facts = await ingestion.inspect()
    except InvalidArgument as error:
        if "not a picture" in error.message or not ingestion.size:
            raise InvalidArgument(words.NOT_AN_IMAGE, reason="INVALID_INPUT_FILE") from error
        raise
    if min(facts.width, facts.height) < words.MIN_SIDE:
        raise InvalidArgument(
            f"The picture is {facts.width} × {facts.height} pixels; "
            f"at least {words.MIN_SIDE} on a side are needed.",
            reason="INVALID_INPUT_FILE",
        )
    return facts


def _find(wanted: AnimateRequest, settings: PipelineSettings, known: Capabilities) -> _Found:
    # Remote engines run only where they are named.
    remote = {engine.id for engine in known.engines if engine.kind == _PROVIDER}
    retexture = wanted.use_retexture and bool(settings.retexture_engine or known.serving((RETEXTURE,)))
    warnings = [words.NO_RETEXTURE] if wanted.use_retexture and not retexture else []
    fbx: dict[str, bool] = {}
    if wanted.animation_ids:
        for feature, chosen in ((RIG, settings.rig_engine), (ANIMATE, settings.animation_engine)):
            if chosen in remote:
                continue
            ready = known.output_formats((feature,)) - set(known.pending_formats((feature,)))
            fbx[feature] = "fbx" in ready
        if not all(fbx.values()):
            lacking = known.missing_formats((RIG, ANIMATE)) | known.pending_formats((RIG, ANIMATE))
            why = lacking.get("fbx")
            warnings.append(words.NO_FBX.format(why=why or "no engine that writes them was there."))
    plan = Plan(settings, retexture, fbx.get(RIG, False), fbx.get(ANIMATE, False))
    return _Found(plan, tuple(warnings), settings.mesh_engine in remote)


def _note(wanted: AnimateRequest, found: _Found) -> str:
    told = () if found.remote_mesh else (words.OWN_ENGINES,)
    return " ".join((*told, *(() if wanted.skip_confirmation else (words.NO_CONFIRMATION,))))


def _words(wanted: AnimateRequest, found: _Found, image: capability_pb2.TaskInput) -> struct_pb2.Struct:
    """Write the request in the dialect's own words, and which picture it was about."""
    inputs: Mapping[str, Any] = {**asdict(wanted), "animation_ids": list(wanted.animation_ids)}
    picture = {
        "filename": image.filename,
        "size": image.size,
        "media_type": image.media_type,
        "digest": image.digest,
    }
    return to_struct({"inputs": inputs, "image": picture, "warnings": list(found.warnings)})
