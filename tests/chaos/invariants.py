"""What must be true of jobs after whatever happened, asked of the ledger's rows and of storage's bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from maquette.api.storage.v1 import storage_pb2
from tests.chaos.doors import Doors, until

_OPEN = """SELECT id FROM ledger.job WHERE id = ANY ($1) AND state IN ('QUEUED', 'RUNNING')"""
_JOBS = """SELECT id, state, error_reason, ended_at, dispatcher FROM ledger.job WHERE id = ANY ($1)"""
_OPEN_TASKS = """SELECT id FROM ledger.task WHERE job_id = ANY ($1) AND state IN ('QUEUED', 'RUNNING')"""
# Seq numbers of progress lie between those of the durable events: only these are in the table.
_EVENTS = """SELECT job_id, seq, type FROM ledger.job_event WHERE job_id = ANY ($1) ORDER BY job_id, seq"""
_ARTIFACTS = """
    SELECT a.job_id, a.task_id, a.role, a.ordinal, a.digest, a.size, t.state AS task_state
      FROM ledger.artifact a JOIN ledger.task t ON t.id = a.task_id WHERE a.job_id = ANY ($1)"""
_TERMINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}


async def wait_until_ended(doors: Doors, job_ids: Collection[str], seconds: float = 120.0) -> None:
    """Wait until every job has ended, by the ledger's own word."""
    keys = [UUID(job_id) for job_id in job_ids]

    async def ended() -> bool:
        return not await doors.sql(_OPEN, keys)

    await until(ended, f"{len(keys)} jobs to end", seconds)


async def last_success(doors: Doors, job_ids: Collection[str]) -> datetime:
    """Return when the last of the jobs ended."""
    rows = await doors.sql(_JOBS, [UUID(job_id) for job_id in job_ids])
    moments: list[datetime] = [row["ended_at"] for row in rows]
    return max(moments)


async def states(doors: Doors, job_ids: Collection[str]) -> Counter[str]:
    """Count the jobs by state."""
    return Counter(row["state"] for row in await doors.sql(_JOBS, [UUID(job_id) for job_id in job_ids]))


async def check(
    doors: Doors, job_ids: Collection[str], *, contents: Mapping[str, bytes] | None = None
) -> Counter[str]:
    """Assert the ledger's invariants for jobs that have ended, and count them by state.

    ``contents`` is what jobs (by id) should have delivered.
    """
    keys = [UUID(job_id) for job_id in job_ids]
    assert len(set(keys)) == len(keys), "two submits were given one job"
    jobs = {str(row["id"]): row for row in await doors.sql(_JOBS, keys)}
    assert set(jobs) == set(job_ids), f"lost: {set(job_ids) - set(jobs)}"
    still_open = {job_id: row["state"] for job_id, row in jobs.items() if row["state"] not in _TERMINAL}
    assert not still_open, f"not ended: {still_open}"
    open_tasks = await doors.sql(_OPEN_TASKS, keys)
    assert not open_tasks, f"tasks outlived their jobs: {open_tasks}"
    await _check_events(doors, jobs, keys)
    await _check_artifacts(doors, jobs, keys, contents or {})
    return Counter(row["state"] for row in jobs.values())


async def _check_events(doors: Doors, jobs: Mapping[str, asyncpg.Record], keys: list[UUID]) -> None:
    events: dict[str, list[str]] = {job_id: [] for job_id in jobs}
    for row in await doors.sql(_EVENTS, keys):
        events[str(row["job_id"])].append(row["type"])
    for job_id, types in events.items():
        final = [kind for kind in types if kind in _TERMINAL]
        assert final == [jobs[job_id]["state"]], f"{job_id}: {types}"
        assert types[-1] in _TERMINAL, f"{job_id}: {types}"


async def _check_artifacts(
    doors: Doors,
    jobs: Mapping[str, asyncpg.Record],
    keys: list[UUID],
    contents: Mapping[str, bytes],
) -> None:
    rows = await doors.sql(_ARTIFACTS, keys)
    sets = Counter((row["task_id"], row["role"], row["ordinal"]) for row in rows)
    twice = [key for key, count in sets.items() if count > 1]
    assert not twice, f"published twice: {twice}"
    assert all(row["task_state"] == "SUCCEEDED" for row in rows), "an artifact without a success"
    succeeded = {job_id for job_id, row in jobs.items() if row["state"] == "SUCCEEDED"}
    delivered = {str(row["job_id"]) for row in rows}
    assert succeeded <= delivered, f"succeeded without a file: {succeeded - delivered}"
    for job_id, data in contents.items():
        digests = {row["digest"] for row in rows if str(row["job_id"]) == job_id}
        assert hashlib.sha256(data).hexdigest() in digests, f"{job_id} delivered somebody else's file"
    await _read_all(doors, {row["digest"]: row["size"] for row in rows})


async def _read_all(doors: Doors, sizes: Mapping[str, int]) -> None:
    """Read every blob through storage and hash it."""

    async def read(digest: str) -> None:
        hasher, size = hashlib.sha256(), 0
        request = storage_pb2.ReadBlobRequest(digest=digest)
        async for part in doors.storage.ReadBlob(request, timeout=30, wait_for_ready=True):
            hasher.update(part.chunk)
            size += len(part.chunk)
        assert (hasher.hexdigest(), size) == (digest, sizes[digest])

    waiting: Sequence[str] = sorted(sizes)
    for at in range(0, len(waiting), 16):
        await asyncio.gather(*(read(digest) for digest in waiting[at : at + 16]))
