"""What the socket says of a job: a pure step from what was said to what is to be said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.message import Message

from maquette.api.dialects.pocket3d.v1 import sockets_pb2
from maquette.api.jobs.v1 import jobs_pb2
from services.gateway.dialects.aigc.mapping import error_text, find_artifact
from services.gateway.json_writer import plain_struct, seconds_of, write_json


@dataclass(frozen=True, slots=True)
class Said:
    """What a socket was told so far."""

    started: bool = False
    fraction: float = -1.0
    stage: str = ""


def sayings(job: jobs_pb2.Job, said: Said, base_url: str, now: float) -> tuple[list[bytes], Said]:
    """Return what to send for a job's state, after ``said``, and what is said then.

    ``now`` is in seconds since 1970. A job that was just queued has nothing to tell yet.
    """
    frames: list[Message] = []
    if not said.started and job.HasField("start_time"):
        frames.append(
            sockets_pb2.JobStarted(event="job_started", job_id=job.public_id, timestamp=job.start_time)
        )
        said = Said(True, said.fraction, said.stage)
    if job.state == jobs_pb2.STATE_SUCCEEDED:
        result = struct_pb2.Struct()
        result.update(result_words(job, base_url))
        frames.append(sockets_pb2.JobCompleted(event="job_completed", job_id=job.public_id, result=result))
    elif job.state in (jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED):
        frames.append(sockets_pb2.JobFailed(event="job_failed", job_id=job.public_id, error=error_text(job)))
    elif said.started and (job.progress.fraction, job.progress.stage) != (said.fraction, said.stage):
        frames.append(_progress(job, now))
        said = Said(True, job.progress.fraction, job.progress.stage)
    return [write_json(frame) for frame in frames], said


def result_words(job: jobs_pb2.Job, base_url: str) -> dict[str, Any]:
    """Return a result in this dialect's words."""
    mesh, preview = find_artifact(job, "mesh"), find_artifact(job, "thumbnail")
    info = plain_struct(job.result.info)
    url = f"{base_url}/api/v1/system/jobs/{job.public_id}"
    return {
        "file_path": mesh.path if mesh else None,
        "format": mesh.filename.rpartition(".")[2] if mesh else None,
        "file_size": mesh.size if mesh else None,
        "vertices": info.get("vertex_count"),
        "faces": info.get("face_count"),
        "has_texture": job.feature.endswith("textured_mesh"),
        "preview_image": preview.path if preview else None,
        "download_url": f"{url}/download" if mesh else None,
        "preview_url": f"{url}/thumbnail" if preview else None,
        "model_used": job.result.model_used,
    }


def _progress(job: jobs_pb2.Job, now: float) -> sockets_pb2.ProgressUpdate:
    update = sockets_pb2.ProgressUpdate(
        event="progress_update",
        job_id=job.public_id,
        progress=job.progress.fraction,
        stage=job.progress.stage,
    )
    if job.progress.HasField("eta"):
        eta = timestamp_pb2.Timestamp()
        eta.FromNanoseconds(int((now + seconds_of(job.progress.eta)) * 1e9))
        update.eta.CopyFrom(eta)
    return update
