"""D33, D35: jobs that rig meshes, and the formats they take and make."""

# ruff: noqa: N802 — methods carry the names of their RPCs
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import orjson
from google.api import httpbody_pb2
from google.protobuf import any_pb2, struct_pb2

from maquette.api.capability.v1 import capability_pb2
from maquette.api.dialects.aigc.v1 import generation_pb2, rigging_pb2, rigging_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.rigging.v1 import rigging_pb2 as parameters_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import InvalidArgument, NotFound, error_for
from services.gateway import auth
from services.gateway.backends import Backends
from services.gateway.capabilities import Capabilities, NodeDirectory
from services.gateway.dialects.aigc import mapping, words
from services.gateway.dialects.aigc.answers import answer
from services.gateway.dialects.aigc.requests import check_model, one_of
from services.gateway.feed import Feed
from services.gateway.idempotency import idempotency_key
from services.gateway.issued import find_issued
from services.gateway.job_maker import JobMaker
from services.gateway.uploads import Uploads

_USUAL_MODE, _USUAL_FORMAT, _USUAL_TYPE = "skeleton", "fbx", "auto"


@dataclass(frozen=True, slots=True)
class RigRequest:
    """A request to rig a mesh, checked."""

    feature: words.Feature
    mesh_path: str
    mesh_file_id: str
    rig_mode: str
    output_format: str
    character_type: str
    bone_count: int
    model_preference: str
    deny_fallback: bool
    given: dict[str, Any]
    """The fields the client gave."""


def read_rig_request(message: rigging_pb2.GenerateRigRequest) -> RigRequest:
    """Check a request. Raises InvalidArgument with the one thing that is wrong."""
    given = {field.name: value for field, value in message.ListFields() if value != ""}
    sources = [name for name in ("mesh_path", "mesh_file_id") if name in given]
    if len(sources) != 1:
        raise InvalidArgument(f"Exactly one of mesh_path, mesh_file_id is needed; {len(sources)} were given.")
    return RigRequest(
        feature=words.AUTO_RIG,
        mesh_path=given.get("mesh_path", ""),
        mesh_file_id=given.get("mesh_file_id", ""),
        rig_mode=one_of("rig_mode", given.get("rig_mode", _USUAL_MODE), words.RIG_MODES),
        output_format=one_of("output_format", given.get("output_format", _USUAL_FORMAT), words.RIG_OUTPUTS),
        character_type=one_of(
            "character_type", given.get("character_type", _USUAL_TYPE), words.CHARACTER_TYPES
        ),
        bone_count=given.get("bone_count", 0),
        model_preference=given.get("model_preference", ""),
        deny_fallback=one_of("fallback", given.get("fallback", "allow"), ("allow", "deny")) == "deny",
        given=given,
    )


def check_formats(request: RigRequest, mesh: capability_pb2.TaskInput, known: Capabilities) -> None:
    """Refuse a format that no live node can take or make (MODEL_NOT_AVAILABLE), and say what it needs."""
    features = (request.feature.name,)
    if not known.serving(features):
        # Nobody knows: the job waits for a node.
        return
    extension = format_of(mesh)
    if extension == "bvh":
        raise InvalidArgument("A BVH file holds a motion and no mesh.")
    needs = [("output_format", request.output_format, known.output_formats(features))]
    if extension in words.RIG_INPUTS:
        needs.append(("input format", extension, known.input_formats(features)))
    for what, name, formats in needs:
        if name not in formats:
            why = known.missing_formats(features).get(name, "no engine on any node does")
            raise error_for("MODEL_NOT_AVAILABLE", f"The {what} {name} is not available here: {why}.")


def format_of(mesh: capability_pb2.TaskInput) -> str:
    """Return a file's format by its media type, else by its name."""
    by_type = {media_type: name for name, media_type in words.MESH_TYPES.items()}
    suffix = PurePosixPath(mesh.filename).suffix.lower().removeprefix(".")
    return by_type.get(mesh.media_type, suffix)


class RigSubmitter:
    """Makes jobs that rig meshes."""

    def __init__(
        self, backends: Backends, feed: Feed, nodes: NodeDirectory, uploads: Uploads, jobs: JobMaker
    ) -> None:
        self._backends = backends
        self._feed = feed
        self._nodes = nodes
        self._uploads = uploads
        self._jobs = jobs

    async def submit(self, request: RigRequest, account_id: str, key: str) -> jobs_pb2.Job:
        """Return the job, durable. Raises the catalogue's errors."""
        known = await self._nodes.capabilities()
        check_model(request, known.models(request.feature.name))
        mesh = await self._mesh(request, account_id)
        check_formats(request, mesh, known)
        job = jobs_pb2.CreateJobRequest(
            account_id=account_id,
            dialect=words.NAME,
            feature=request.feature.name,
            request=_words(request, mesh),
            idempotency_key=key,
            request_digest=_digest(request) if key else "",
            tasks=[_task(request, mesh)],
        )
        response = await self._jobs.create(job)
        return self._feed.note(response.job).job

    async def _mesh(self, request: RigRequest, account_id: str) -> capability_pb2.TaskInput:
        """Return the mesh that an id or an issued path stands for."""
        if request.mesh_file_id:
            return _input(await self._upload(account_id, file_id=request.mesh_file_id))
        try:
            return _input(await self._upload(account_id, path=request.mesh_path))
        except NotFound:
            pass  # then it may be a result's
        try:
            artifact = await find_issued(self._backends, account_id, request.mesh_path)
        except NotFound as error:
            raise InvalidArgument("mesh_path takes only paths that this API issued.") from error
        if artifact.role != "mesh":
            raise InvalidArgument("The file given as the mesh is no mesh.")
        return _input(artifact)

    async def _upload(self, account_id: str, *, file_id: str = "", path: str = "") -> storage_pb2.Upload:
        upload = await self._uploads.find(account_id, file_id=file_id, path=path)
        if upload.kind != storage_pb2.UPLOAD_KIND_MESH:
            raise InvalidArgument("The file given as the mesh is no mesh.")
        return upload


def _input(file: storage_pb2.Upload | jobs_pb2.Artifact) -> capability_pb2.TaskInput:
    return capability_pb2.TaskInput(
        role="mesh",
        digest=file.digest,
        size=file.size,
        media_type=file.media_type,
        filename=file.filename,
    )


def _digest(request: RigRequest) -> str:
    fields = orjson.dumps(request.given, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(request.feature.name.encode() + b"\x00" + fields).hexdigest()


def _task(request: RigRequest, mesh: capability_pb2.TaskInput) -> jobs_pb2.TaskSpec:
    parameters = any_pb2.Any()
    parameters.Pack(
        parameters_pb2.AutoRig(
            rig_mode=request.rig_mode,
            character_type=request.character_type,
            output_format=request.output_format,
            bone_count=request.bone_count,
            include_weights=request.rig_mode != "skeleton",
        )
    )
    return jobs_pb2.TaskSpec(
        name="rig",
        feature=request.feature.name,
        parameters=parameters,
        inputs=[jobs_pb2.InputRef(role="mesh", file=mesh)],
        model_preference=request.model_preference,
        fallback=jobs_pb2.FALLBACK_DENY if request.deny_fallback else jobs_pb2.FALLBACK_ALLOW,
        weight=1.0,
        phase="rig",
    )


def _words(request: RigRequest, mesh: capability_pb2.TaskInput) -> struct_pb2.Struct:
    """Write the request in the dialect's own words, and which mesh it was about."""
    told = struct_pb2.Struct()
    facts: dict[str, Any] = {
        "filename": mesh.filename,
        "size": mesh.size,
        "media_type": mesh.media_type,
        "digest": mesh.digest,
    }
    told.update({"inputs": request.given, "mesh": facts})
    return told


class AutoRiggingServicer(rigging_pb2_grpc.AutoRiggingServiceServicer):
    """Jobs that rig meshes."""

    def __init__(self, submitter: RigSubmitter, nodes: NodeDirectory) -> None:
        self._submitter = submitter
        self._nodes = nodes

    async def GenerateRig(
        self, request: rigging_pb2.GenerateRigRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D33."""
        key = idempotency_key(context.invocation_metadata())
        job = await self._submitter.submit(read_rig_request(request), auth.account(), key)
        return answer(
            generation_pb2.QueuedJob(
                job_id=job.public_id,
                status=words.STATUS[job.state],
                message=words.AUTO_RIG.queued_message,
            )
        )

    async def GetRiggingFormats(
        self, request: rigging_pb2.GetRiggingFormatsRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D35: what live nodes can do now."""
        known = await self._nodes.capabilities()
        features = (words.AUTO_RIG.name,)
        return answer(
            rigging_pb2.RiggingFormats(
                input_formats=mapping.in_order(words.RIG_INPUTS, known.input_formats(features)),
                output_formats=mapping.in_order(words.RIG_OUTPUTS, known.output_formats(features)),
                missing_formats=known.missing_formats(features),
                pending_formats=known.pending_formats(features),
            )
        )
