"""Read rows into values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import orjson
from google.protobuf.struct_pb2 import Struct

from maquette.runtime.structs import to_struct
from services.jobs.model import EPOCH_BITS, Artifact, Job, JobTask, Lease, Progress, Share
from services.jobs.states import State


def read_job(row: asyncpg.Record) -> Job:
    """Return the job of a row of `JOB_COLUMNS`."""
    job_id = str(row["id"])
    files: Sequence[Mapping[str, Any]] = orjson.loads(row["artifacts"]) if row["artifacts"] else ()
    tasks: Sequence[Mapping[str, Any]] = orjson.loads(row["tasks"]) if row["tasks"] else ()
    return Job(
        id=job_id,
        account_id=row["account_id"],
        dialect=row["dialect"],
        public_id=row["public_id"],
        feature=row["feature"],
        priority=row["priority"],
        state=State(row["state"]),
        created=row["created_at"],
        deadline=row["deadline"],
        request=_struct(row["request"]),
        requested_model=row["requested_model"],
        started=row["started_at"],
        ended=row["ended_at"],
        progress=Progress(round(row["fraction"], 4), row["stage"], row["message"]),
        error_reason=row["error_reason"],
        error_message=row["error_message"],
        model_used=row["model_used"],
        info=_struct(row["info"]),
        warnings=tuple(row["warnings"]),
        artifacts=tuple(read_artifact({**file, "job_id": job_id}) for file in files),
        attempt=row["attempt"],
        seq=row["epoch"] << EPOCH_BITS,
        result_deleted=row["result_deleted"],
        tasks=tuple(_read_task(task, job_id) for task in tasks),
    )


def _read_task(row: Mapping[str, Any], job_id: str) -> JobTask:
    state = State(row["state"])
    failed = state is State.FAILED
    return JobTask(
        name=row["name"],
        feature=row["feature"],
        phase=row["phase"],
        item=row["item"],
        state=state,
        started=row["started"],
        fraction=1.0 if state is State.SUCCEEDED else row["fraction"],
        # Of a task that was given back, the row tells why; that is no failure.
        error_reason=row["error_reason"] if failed else "",
        error_message=row["error_message"] if failed else "",
        model_used=row["model_used"],
        warnings=tuple(row["warnings"]),
        artifacts=tuple(read_artifact({**file, "job_id": job_id}) for file in row["artifacts"] or ()),
    )


def read_artifact(row: Mapping[str, Any] | asyncpg.Record) -> Artifact:
    """Return the artifact of a row or of a JSON object."""
    meta = row["meta"]
    return Artifact(
        job_id=str(row["job_id"]),
        task=row["task"],
        role=row["role"],
        ordinal=row["ordinal"],
        filename=row["filename"],
        path=row["path"],
        digest=row["digest"],
        size=row["size"],
        media_type=row["media_type"],
        meta=_struct(meta) if isinstance(meta, str) else to_struct(meta),
    )


def read_lease(row: asyncpg.Record) -> Lease:
    """Return the attempt that a claim began."""
    shares = {
        str(task_id): Share(weight, fraction) for task_id, weight, fraction in orjson.loads(row["shares"])
    }
    return Lease(
        task_id=str(row["id"]),
        job_id=str(row["job_id"]),
        account_id=row["account_id"],
        token=str(row["lease_token"]),
        attempt=row["attempt"],
        crash_attempts=row["crash_attempts"],
        node_losses=row["node_losses"],
        snoozes=row["snoozes"],
        name=row["name"],
        feature=row["feature"],
        spec=row["spec"],
        model_preference=row["model_preference"],
        requested_model=row["requested_model"],
        fallback=row["fallback"],
        phase=row["phase"],
        soft_fail=row["soft_fail"],
        last=row["last"],
        epoch=row["epoch"],
        deadline=row["deadline"],
        started=row["job_started"],
        traceparent=row["traceparent"],
        shares=shares,
        checkpoint=orjson.loads(row["checkpoint"]),
    )


def _struct(text: str) -> Struct:
    return to_struct(orjson.loads(text)) if text != "{}" else Struct()
