"""The ledger's jobs in the dialect's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from google.protobuf import struct_pb2, timestamp_pb2

from maquette.api.dialects.aigc.v1 import files_pb2, rigging_pb2, system_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import FailedPrecondition, NotFound
from services.gateway.dialects.aigc.words import CANCELLED_TEXT, MESH_TYPES, STATUS
from services.gateway.json_writer import plain_struct, seconds_of

_MIB = 1 << 20
_FILE_FIELDS = frozenset(
    (
        "image_path",
        "image_base64",
        "image_file_id",
        "image_file_ids",
        "mesh_path",
        "mesh_file_id",
        "character_file_id",
        "character_path",
        "character_job_id",
        "clip_file_id",
        "clip_path",
    )
)


def job_url(base_url: str, job_id: str, what: str) -> str:
    """Return the URL of a part of a job."""
    return f"{base_url}/api/v1/system/jobs/{job_id}/{what}"


def job_view(job: jobs_pb2.Job, base_url: str) -> system_pb2.Job:
    """Return D5's answer."""
    words = plain_struct(job.request)
    view = system_pb2.Job(
        job_id=job.public_id,
        status=STATUS[job.state],
        feature=job.feature,
        created_at=job.create_time,
        progress=1.0 if job.state == jobs_pb2.STATE_SUCCEEDED else job.progress.fraction,
        inputs=_struct(words.get("inputs") or {}),
        priority=job.priority,
        metadata=_struct(_metadata(job)),
        retry_count=max(job.attempt, 1) - 1,
    )
    if job.requested_model:
        view.model_preference = job.requested_model
    if job.HasField("start_time"):
        view.started_at.CopyFrom(job.start_time)
    if job.HasField("end_time"):
        view.completed_at.CopyFrom(job.end_time)
    seconds = processing_seconds(job)
    if seconds is not None:
        view.processing_time = seconds
    text = error_text(job)
    if text:
        view.error = text
    image = words.get("image")
    if image:
        view.input_image_file_info.CopyFrom(file_info(image["filename"], image["size"], image["media_type"]))
    if find_artifact(job, "mesh") is not None:
        view.result.CopyFrom(_result_view(job, words, base_url))
    return view


def processing_seconds(job: jobs_pb2.Job) -> float | None:
    """Return the seconds from the first start to the end, None before the end."""
    if not job.HasField("start_time") or not job.HasField("end_time"):
        return None
    spent = job.end_time.ToNanoseconds() - job.start_time.ToNanoseconds()
    return round(max(spent, 0) / 1e9, 3)


def error_text(job: jobs_pb2.Job) -> str:
    """Return why the job ended without a result; empty for others."""
    if job.state == jobs_pb2.STATE_CANCELLED:
        return CANCELLED_TEXT
    if job.state == jobs_pb2.STATE_FAILED:
        return job.error.message or job.error.reason or "Job processing failed"
    return ""


def find_artifact(job: jobs_pb2.Job, role: str, ordinal: int = 0) -> jobs_pb2.Artifact | None:
    """Return a file of the result."""
    for artifact in job.result.artifacts:
        if artifact.role == role and artifact.ordinal == ordinal:
            return artifact
    return None


def need_artifact(job: jobs_pb2.Job, role: str, ordinal: int = 0) -> jobs_pb2.Artifact:
    """Return a file of a completed job. Raises NotFound, or NOT_READY where there is none yet."""
    found = find_artifact(job, role, ordinal)
    if found is not None:
        return found
    if job.result_deleted:
        raise NotFound(f"The result of job {job.public_id} was deleted.")
    if job.state == jobs_pb2.STATE_SUCCEEDED:
        raise NotFound(f"Job {job.public_id} has no {role}.")
    text = error_text(job)
    why = f"{STATUS[job.state]}: {text}" if text else STATUS[job.state]
    raise FailedPrecondition(f"Job {job.public_id} is {why}.")


def public_name(artifact: jobs_pb2.Artifact) -> str:
    """Return the file's name: that of its issued path, unique where the job's own name is not.

    Files that name each other, as an OBJ names its material, have a folder of their own.
    """
    return PurePosixPath(artifact.path).name or artifact.filename


def public_type(artifact: jobs_pb2.Artifact) -> str:
    """Return the media type in the document's words."""
    extension = PurePosixPath(artifact.filename).suffix.removeprefix(".")
    return MESH_TYPES.get(extension, artifact.media_type)


def artifact_info(artifact: jobs_pb2.Artifact) -> system_pb2.FileInfo:
    """Describe a file of a result."""
    return file_info(public_name(artifact), artifact.size, public_type(artifact))


def file_info(filename: str, size: int, media_type: str) -> system_pb2.FileInfo:
    """Describe a file."""
    return system_pb2.FileInfo(
        filename=filename,
        file_size_bytes=int(size),
        file_size_mb=mib(size),
        content_type=media_type,
        file_extension=PurePosixPath(filename).suffix,
    )


def mib(size: float) -> float:
    """Return bytes as the dialect's MB (MiB), never 0 for a file that has bytes."""
    return max(round(size / _MIB, 2), 0.01) if size else 0.0


def generation_info(job: jobs_pb2.Job) -> dict[str, Any]:
    """Return what ran, with what, and what was measured on the result."""
    inputs = plain_struct(job.request).get("inputs") or {}
    return {
        **plain_struct(job.result.info),
        "model_used": job.result.model_used,
        "requested_model": job.requested_model or None,
        "parameters": {name: value for name, value in inputs.items() if name not in _FILE_FIELDS},
        "thumbnail_generated": find_artifact(job, "thumbnail") is not None,
        "warnings": list(job.result.warnings),
    }


def summary_view(job: jobs_pb2.Job) -> system_pb2.JobSummary:
    """Return one row of D7's answer."""
    view = system_pb2.JobSummary(
        job_id=job.public_id, status=STATUS[job.state], feature=job.feature, created_at=job.create_time
    )
    if job.HasField("end_time"):
        view.completed_at.CopyFrom(job.end_time)
    if job.requested_model:
        view.model_preference = job.requested_model
    seconds = processing_seconds(job)
    if seconds is not None:
        view.processing_time = seconds
    mesh, thumbnail = find_artifact(job, "mesh"), find_artifact(job, "thumbnail")
    if mesh is not None:
        view.output_mesh_path = mesh.path
    if thumbnail is not None:
        view.thumbnail_path = thumbnail.path
    return view


def info_view(job: jobs_pb2.Job) -> system_pb2.JobInfo:
    """Return D9's answer."""
    view = system_pb2.JobInfo(job_id=job.public_id, status=STATUS[job.state], created_at=job.create_time)
    if job.HasField("end_time"):
        view.completed_at.CopyFrom(job.end_time)
    seconds = processing_seconds(job)
    if seconds is not None:
        view.processing_time = seconds
    mesh = find_artifact(job, "mesh")
    if mesh is None:
        return view
    extension = PurePosixPath(mesh.filename).suffix.removeprefix(".")
    view.has_result = True
    view.file_info.CopyFrom(
        system_pb2.ResultFileInfo(
            file_exists=True,
            filename=public_name(mesh),
            file_size_bytes=mesh.size,
            file_size_mb=mib(mesh.size),
            file_format=extension,
            content_type=public_type(mesh),
            file_extension=extension,
            created_time=job.end_time,
            modified_time=job.end_time,
        )
    )
    view.generation_info.CopyFrom(_struct({**generation_info(job), "processing_time": seconds}))
    view.result_metadata.CopyFrom(_struct(plain_struct(mesh.meta)))
    for urls, what in ((view.download_urls, "download"), (view.mesh_download_urls, "download")):
        urls.CopyFrom(_download_urls(job.public_id, what))
    if find_artifact(job, "thumbnail") is not None:
        view.thumbnail_download_urls.CopyFrom(_download_urls(job.public_id, "thumbnail"))
    return view


def uploaded_view(upload: storage_pb2.Upload) -> files_pb2.UploadedFile:
    """Return the answer to an upload."""
    return files_pb2.UploadedFile(
        file_id=upload.id,
        filename=upload.filename,
        file_type=kind_word(upload),
        file_size_mb=mib(upload.size),
        upload_time=upload.create_time,
        expires_at=upload.expire_time,
        path=upload.path,
    )


def rigging_upload_view(upload: storage_pb2.Upload) -> rigging_pb2.UploadedRiggingMesh:
    """Return D34's answer."""
    return rigging_pb2.UploadedRiggingMesh(
        filename=upload.filename,
        file_path=upload.path,
        size=upload.size,
        content_type=upload.media_type,
        file_id=upload.id,
    )


def metadata_view(upload: storage_pb2.Upload) -> files_pb2.FileMetadata:
    """Return D21's answer; an upload that has expired is not found at all."""
    return files_pb2.FileMetadata(
        file_id=upload.id,
        filename=upload.filename,
        file_type=kind_word(upload),
        file_size_mb=mib(upload.size),
        upload_time=upload.create_time,
        expires_at=upload.expire_time,
        is_available=True,
        path=upload.path,
    )


def kind_word(upload: storage_pb2.Upload) -> str:
    """Return "image" or "mesh"."""
    return "mesh" if upload.kind == storage_pb2.UPLOAD_KIND_MESH else "image"


def _result_view(job: jobs_pb2.Job, words: Mapping[str, Any], base_url: str) -> system_pb2.JobResult:
    mesh, thumbnail = find_artifact(job, "mesh"), find_artifact(job, "thumbnail")
    view = system_pb2.JobResult(
        files=[_file_view(job, artifact, base_url) for artifact in job.result.artifacts],
        generation_info=_struct(generation_info(job)),
    )
    if mesh is not None:
        view.output_mesh_path = mesh.path
        view.mesh_url = job_url(base_url, job.public_id, "download")
        view.mesh_file_info.CopyFrom(artifact_info(mesh))
    info = plain_struct(job.result.info)
    if "rig_info" in info:
        view.bone_count = int(info["bone_count"])
        view.rig_info.CopyFrom(_struct(info["rig_info"]))
        view.format = str(info["format"])
    if thumbnail is not None:
        view.thumbnail_path = thumbnail.path
        view.thumbnail_url = job_url(base_url, job.public_id, "thumbnail")
        view.thumbnail_file_info.CopyFrom(artifact_info(thumbnail))
    return view


def _file_view(job: jobs_pb2.Job, artifact: jobs_pb2.Artifact, base_url: str) -> system_pb2.ResultFile:
    query = f"?role={artifact.role}" + (f"&ordinal={artifact.ordinal}" if artifact.ordinal else "")
    return system_pb2.ResultFile(
        role=artifact.role,
        path=artifact.path,
        url=job_url(base_url, job.public_id, "download") + query,
        file_info=artifact_info(artifact),
    )


def _metadata(job: jobs_pb2.Job) -> dict[str, Any]:
    progress = job.progress
    running = job.state == jobs_pb2.STATE_RUNNING
    return {
        "stage": progress.stage or None,
        "message": progress.message or None,
        "eta_seconds": seconds_of(progress.eta) if running and progress.HasField("eta") else None,
        "upstream_status": progress.upstream_status or None,
        "attempt": job.attempt,
        "error_reason": job.error.reason or None,
        "result_deleted": job.result_deleted,
    }


def _download_urls(job_id: str, what: str) -> system_pb2.DownloadUrls:
    direct = f"/api/v1/system/jobs/{job_id}/{what}"
    return system_pb2.DownloadUrls(direct_download=direct, base64_download=f"{direct}?format=base64")


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    """Return seconds since 1970 as a Timestamp."""
    stamp = timestamp_pb2.Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp


def in_order(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return the names that are wanted, in the order given."""
    allowed = frozenset(wanted)
    return [name for name in names if name in allowed]
