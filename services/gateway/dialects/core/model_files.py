"""Models and clips that a request names: an upload, an issued path, or what a job made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import InvalidArgument, NotFound, error_for
from services.gateway.backends import Backends
from services.gateway.capabilities import Capabilities
from services.gateway.dialects.aigc import mapping
from services.gateway.dialects.aigc.words import MESH_TYPES
from services.gateway.feed import Feed
from services.gateway.issued import find_issued
from services.gateway.sniff import BVH_TYPE
from services.gateway.uploads import Uploads

_FORMATS = {**{media_type: name for name, media_type in MESH_TYPES.items()}, BVH_TYPE: "bvh"}


class ModelFiles:
    """Finds files, as inputs of a task."""

    def __init__(self, backends: Backends, feed: Feed, uploads: Uploads) -> None:
        self._backends = backends
        self._feed = feed
        self._uploads = uploads

    async def upload(self, account_id: str, file_id: str, role: str) -> capability_pb2.TaskInput:
        """Return an upload by its id. Raises NotFound, or InvalidArgument for a picture."""
        try:
            return _of_upload(await self._uploads.find(account_id, file_id=file_id), role)
        except NotFound as error:
            raise NotFound(f"There is no file {file_id}, or it has expired.") from error

    async def issued(self, account_id: str, path: str, role: str) -> capability_pb2.TaskInput:
        """Return what a path was issued for: an upload's or a result's. Raises InvalidArgument."""
        try:
            return _of_upload(await self._uploads.find(account_id, path=path), role)
        except NotFound:
            pass  # then it may be a result's
        try:
            return _of_artifact(await find_issued(self._backends, account_id, path), role)
        except NotFound as error:
            raise InvalidArgument(f"{role} takes only paths that this API issued.") from error

    async def of_job(self, account_id: str, job_id: str, role: str) -> capability_pb2.TaskInput:
        """Return the mesh that a job made. Raises NotFound, and NOT_READY before its end."""
        entry = await self._feed.find(account_id, job_id)
        made = mapping.need_artifact(entry.job, "mesh")
        # By its path: so its bytes are held until the new job refers to them.
        return _of_artifact(await find_issued(self._backends, account_id, made.path), role)


def format_of(file: capability_pb2.TaskInput) -> str:
    """Return a file's format by its media type, else by its name."""
    return _FORMATS.get(file.media_type, PurePosixPath(file.filename).suffix.lower().removeprefix("."))


def check_taken(
    known: Capabilities, features: tuple[str, ...], *, inputs: Iterable[str], output: str
) -> None:
    """Refuse a format that no live node can take or make (MODEL_NOT_AVAILABLE), and say what it needs."""
    if not known.serving(features):
        # Nobody knows: the job waits for a node.
        return
    needs = [("output_format", output, known.output_formats(features))]
    needs += [("input format", name, known.input_formats(features)) for name in inputs]
    for what, name, formats in needs:
        if name not in formats:
            why = known.missing_formats(features).get(name, "no engine on any node does")
            raise error_for("MODEL_NOT_AVAILABLE", f"The {what} {name} is not available here: {why}.")


def _of_upload(upload: storage_pb2.Upload, role: str) -> capability_pb2.TaskInput:
    if upload.kind != storage_pb2.UPLOAD_KIND_MESH:
        raise InvalidArgument(f"The file given as the {role} is a picture.")
    return _input(upload, role)


def _of_artifact(artifact: jobs_pb2.Artifact, role: str) -> capability_pb2.TaskInput:
    if artifact.role != "mesh":
        raise InvalidArgument(f"The file given as the {role} is no model.")
    return _input(artifact, role)


def _input(file: storage_pb2.Upload | jobs_pb2.Artifact, role: str) -> capability_pb2.TaskInput:
    return capability_pb2.TaskInput(
        role=role,
        digest=file.digest,
        size=file.size,
        media_type=file.media_type,
        filename=file.filename,
    )
