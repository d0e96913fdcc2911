"""The motion library, and jobs that play it on rigged characters."""

# ruff: noqa: N802 — methods carry the names of their RPCs
from __future__ import annotations

import hashlib
from typing import Any

import orjson
from google.api import httpbody_pb2
from google.protobuf import any_pb2, struct_pb2

from maquette.api.capability.v1 import capability_pb2
from maquette.api.dialects.core.v1 import animations_pb2, animations_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import InvalidArgument
from services.gateway import auth
from services.gateway.capabilities import Capabilities, NodeDirectory
from services.gateway.dialects.aigc import mapping, words
from services.gateway.dialects.aigc.answers import answer
from services.gateway.dialects.aigc.requests import check_model
from services.gateway.dialects.core.animation_requests import (
    AnimationRequest,
    animation_view,
    check_motions,
    number_of,
    page_view,
    read_animation_request,
    read_query,
)
from services.gateway.dialects.core.model_files import ModelFiles, check_taken, format_of
from services.gateway.feed import Feed
from services.gateway.idempotency import idempotency_key
from services.gateway.job_maker import JobMaker
from services.gateway.motions import MotionDirectory

_WEBP = "image/webp"
_KEEP = (("cache-control", "public, max-age=3600"),)
_CHARACTER_FORMATS = ("glb", "gltf", "fbx")
_CLIP_FORMATS = ("bvh", "glb", "gltf", "fbx")


class AnimationSubmitter:
    """Makes jobs that play motions."""

    def __init__(
        self, feed: Feed, nodes: NodeDirectory, motions: MotionDirectory, files: ModelFiles, jobs: JobMaker
    ) -> None:
        self._feed = feed
        self._nodes = nodes
        self._motions = motions
        self._files = files
        self._jobs = jobs

    async def submit(self, request: AnimationRequest, account_id: str, key: str) -> jobs_pb2.Job:
        """Return the job, durable. Raises the catalogue's errors."""
        known = await self._nodes.capabilities()
        check_model(request, known.models(request.feature.name))
        library = await self._motions.library_if_known()
        if library is not None:
            # While nobody can be asked the job waits for a node, which checks again.
            check_motions(request, library)
        character = await self._character(request, account_id)
        clip = await self._clip(request, account_id)
        _check_formats(request, known, character, clip)
        job = jobs_pb2.CreateJobRequest(
            account_id=account_id,
            dialect=words.NAME,
            feature=request.feature.name,
            request=_words(request, character, clip),
            idempotency_key=key,
            request_digest=_digest(request) if key else "",
            tasks=[_task(request, character, clip)],
        )
        response = await self._jobs.create(job)
        return self._feed.note(response.job).job

    async def _character(self, request: AnimationRequest, account_id: str) -> capability_pb2.TaskInput:
        if job_id := request.text("character_job_id"):
            found = await self._files.of_job(account_id, job_id, "mesh")
        elif file_id := request.text("character_file_id"):
            found = await self._files.upload(account_id, file_id, "mesh")
        else:
            found = await self._files.issued(account_id, request.text("character_path"), "mesh")
        if format_of(found) not in _CHARACTER_FORMATS:
            raise InvalidArgument(
                f"The character must be a rigged GLB, glTF or FBX; {format_of(found).upper() or 'this file'} "
                "holds no rig. POST /api/v1/auto-rigging/generate-rig makes one."
            )
        return found

    async def _clip(self, request: AnimationRequest, account_id: str) -> capability_pb2.TaskInput | None:
        if file_id := request.text("clip_file_id"):
            found = await self._files.upload(account_id, file_id, "clip")
        elif path := request.text("clip_path"):
            found = await self._files.issued(account_id, path, "clip")
        else:
            return None
        if format_of(found) not in _CLIP_FORMATS:
            raise InvalidArgument("A clip of your own must be a BVH, GLB, glTF or FBX file.")
        return found


def _check_formats(
    request: AnimationRequest,
    known: Capabilities,
    character: capability_pb2.TaskInput,
    clip: capability_pb2.TaskInput | None,
) -> None:
    features = (request.feature.name,)
    inputs = [format_of(character), *([format_of(clip)] if clip is not None else [])]
    check_taken(known, features, inputs=inputs, output=request.parameters.output_format)


def _digest(request: AnimationRequest) -> str:
    fields = orjson.dumps(request.given, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(request.feature.name.encode() + b"\x00" + fields).hexdigest()


def _task(
    request: AnimationRequest, character: capability_pb2.TaskInput, clip: capability_pb2.TaskInput | None
) -> jobs_pb2.TaskSpec:
    parameters = any_pb2.Any()
    parameters.Pack(request.parameters)
    files = [character, *([clip] if clip is not None else [])]
    return jobs_pb2.TaskSpec(
        name="animate",
        feature=request.feature.name,
        parameters=parameters,
        inputs=[jobs_pb2.InputRef(role=file.role, file=file) for file in files],
        model_preference=request.model_preference,
        fallback=jobs_pb2.FALLBACK_DENY if request.deny_fallback else jobs_pb2.FALLBACK_ALLOW,
        weight=1.0,
        phase="animate",
    )


def _words(
    request: AnimationRequest, character: capability_pb2.TaskInput, clip: capability_pb2.TaskInput | None
) -> struct_pb2.Struct:
    """Write the request as it was given, and which files it was about."""
    told = struct_pb2.Struct()
    facts: dict[str, Any] = {"inputs": request.given, "mesh": _facts(character)}
    if clip is not None:
        facts["clip"] = _facts(clip)
    told.update(facts)
    return told


def _facts(file: capability_pb2.TaskInput) -> dict[str, Any]:
    return {
        "filename": file.filename,
        "size": file.size,
        "media_type": file.media_type,
        "digest": file.digest,
    }


class AnimationServicer(animations_pb2_grpc.AnimationServiceServicer):
    """Our own routes of animation."""

    def __init__(self, submitter: AnimationSubmitter, motions: MotionDirectory, base_url: str) -> None:
        self._submitter = submitter
        self._motions = motions
        self._base_url = base_url

    async def ListAnimations(
        self, request: animations_pb2.ListAnimationsRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve a page of the library."""
        query = read_query(request)
        return answer(page_view(query, await self._motions.library(), self._base_url))

    async def GetAnimation(
        self, request: animations_pb2.GetAnimationRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve one motion."""
        library = await self._motions.library()
        return answer(animation_view(library.motion(number_of(request.animation_id)), self._base_url))

    async def GetAnimationPreview(
        self, request: animations_pb2.GetAnimationPreviewRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve a motion's preview, drawn by an animation node when it is first asked for."""
        library = await self._motions.library()
        data = await self._motions.preview(library.motion(number_of(request.animation_id)).id)
        await context.send_initial_metadata(_KEEP)
        return httpbody_pb2.HttpBody(content_type=_WEBP, data=data)

    async def CreateAnimation(
        self, request: animations_pb2.CreateAnimationRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve a request for a job."""
        key = idempotency_key(context.invocation_metadata())
        checked = read_animation_request(request)
        job = await self._submitter.submit(checked, auth.account(), key)
        return answer(
            animations_pb2.QueuedAnimation(
                job_id=job.public_id,
                status=words.STATUS[job.state],
                message=checked.feature.queued_message,
                job_url=mapping.job_url(self._base_url, job.public_id, "").rstrip("/"),
                events_url=f"{self._base_url}/v1/events/{job.public_id}",
            )
        )
