"""Statements about jobs and their artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from maquette.runtime.structs import from_struct
from services.jobs.ledger.database import Database
from services.jobs.ledger.rows import read_artifact, read_job
from services.jobs.model import Artifact, Job, NewJob
from services.jobs.states import State

_ARTIFACT_JSON = """jsonb_build_object(
    'task', a.task, 'role', a.role, 'ordinal', a.ordinal, 'filename', a.filename, 'path', a.path,
    'digest', a.digest, 'size', a.size, 'media_type', a.media_type, 'meta', a.meta)"""

ROW_COLUMNS = """j.id, j.account_id, j.dialect, j.public_id, j.feature, j.priority, j.request,
    j.requested_model, j.state, j.epoch, j.attempt, j.fraction, j.stage, j.message, j.created_at,
    j.started_at, j.ended_at, j.deadline, j.error_reason, j.error_message, j.model_used, j.info,
    j.warnings, j.result_deleted"""
_TASK_JSON = f"""jsonb_build_object(
    'name', t.name, 'feature', t.feature, 'phase', t.phase, 'item', t.item, 'state', t.state,
    'started', t.started_at IS NOT NULL, 'fraction', t.fraction, 'error_reason', t.error_reason,
    'error_message', t.error_message, 'model_used', t.model_used, 'warnings', to_jsonb(t.warnings),
    'artifacts', (SELECT jsonb_agg({_ARTIFACT_JSON} ORDER BY a.role, a.ordinal, a.filename)
                    FROM ledger.artifact a WHERE a.task_id = t.id))"""  # noqa: S608 — constants only
# A job with its tasks, where it has several, and with the files it delivered. Files of a job that has not
# succeeded are no result yet.
JOB_COLUMNS = f"""{ROW_COLUMNS},
    (SELECT CASE WHEN count(*) > 1 THEN jsonb_agg({_TASK_JSON} ORDER BY t.ordinal) END
       FROM ledger.task t WHERE t.job_id = j.id) AS tasks,
    CASE WHEN j.state = 'SUCCEEDED' THEN (
        SELECT jsonb_agg({_ARTIFACT_JSON} ORDER BY t.ordinal, a.role, a.ordinal, a.filename)
          FROM ledger.artifact a JOIN ledger.task t ON t.id = a.task_id WHERE a.job_id = j.id
    ) END AS artifacts"""  # noqa: S608 — constants only

# Invariants: see ledger.create_jobs.
CREATE = """SELECT * FROM ledger.create_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
    $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)"""

# Invariant: no account sees another's row. ($2 is the account.)
GET = f"SELECT {JOB_COLUMNS} FROM ledger.job j WHERE j.id = $1 AND j.account_id = $2"  # noqa: S608

# The same, by public id or alias; the newest where several dialects know the id.
FIND = f"""SELECT {JOB_COLUMNS} FROM ledger.job j WHERE j.id IN (
        SELECT p.id FROM ledger.job p
         WHERE p.account_id = $1 AND p.public_id = $2 AND ($3 = '' OR p.dialect = $3)
        UNION ALL
        SELECT a.job_id FROM ledger.job_alias a
         WHERE a.account_id = $1 AND a.alias = $2 AND ($3 = '' OR a.dialect = $3))
     ORDER BY j.created_at DESC LIMIT 1"""  # noqa: S608

# For our own eyes (events, hub): any account.
READ = f"SELECT {JOB_COLUMNS} FROM ledger.job j WHERE j.id = ANY ($1)"  # noqa: S608
OPEN = f"SELECT {JOB_COLUMNS} FROM ledger.job j WHERE j.state IN ('QUEUED', 'RUNNING')"  # noqa: S608
ENDED = "SELECT id FROM ledger.job WHERE id = ANY ($1) AND state NOT IN ('QUEUED', 'RUNNING')"
EXISTING = "SELECT id FROM ledger.job WHERE id = ANY ($1)"
BY_KEY = "SELECT id FROM ledger.job WHERE account_id = $1 AND idempotency_key = $2"

_FILTER = """j.account_id = $1 AND ($2 = '' OR j.dialect = $2)
    AND (cardinality($3::text[]) = 0 OR j.state = ANY ($3)) AND ($4 = '' OR j.feature = $4)
    AND ($5::timestamptz IS NULL OR j.created_at > $5) AND ($6::timestamptz IS NULL OR j.created_at < $6)"""
LIST = f"""SELECT {JOB_COLUMNS} FROM ledger.job j WHERE {_FILTER}
    AND ($7::timestamptz IS NULL OR (j.created_at, j.id) < ($7, $8))
    ORDER BY j.created_at DESC, j.id DESC LIMIT $9 OFFSET $10"""  # noqa: S608
COUNT = f"SELECT count(*) FROM ledger.job j WHERE {_FILTER}"  # noqa: S608

STATS = """SELECT state, count(*) AS jobs FROM ledger.job WHERE $1 = '' OR account_id = $1 GROUP BY state"""

CLOSE = "SELECT * FROM ledger.close_jobs($1, $2, $3, $4, $5, $6) AS id"
CLOSE_OVERDUE = "SELECT * FROM ledger.close_overdue($1, $2) AS id"
DELETE = "DELETE FROM ledger.job WHERE id = $1 AND account_id = $2 RETURNING epoch"

# Invariant: artifacts of an open job stay, later tasks read them.
DELETE_RESULT = """
WITH ended AS (
    SELECT id FROM ledger.job
     WHERE id = $1 AND account_id = $2 AND state NOT IN ('QUEUED', 'RUNNING') FOR UPDATE
), gone AS (
    DELETE FROM ledger.artifact a USING ended e WHERE a.job_id = e.id
    RETURNING a.job_id, a.task, a.role, a.ordinal, a.filename, a.path, a.digest, a.size, a.media_type, a.meta
), marked AS (
    UPDATE ledger.job j SET result_deleted = true, epoch = epoch + 1
      FROM ended e WHERE j.id = e.id AND EXISTS (SELECT 1 FROM gone)
)
SELECT * FROM gone"""

# Invariant: every issued path resolves through its own row, for its own account.
RESOLVE = """SELECT job_id, task, role, ordinal, filename, path, digest, size, media_type, meta
    FROM ledger.artifact WHERE path = $1 AND account_id = $2"""
MADE = """SELECT job_id, task, role, ordinal, filename, path, digest, size, media_type, meta
    FROM ledger.artifact WHERE job_id = $1"""

# Invariant: storage never frees what a result or a task of an open job still needs.
REFERENCED = """
SELECT d FROM unnest($1::text[]) d WHERE EXISTS (SELECT 1 FROM ledger.artifact a WHERE a.digest = d)
UNION
SELECT d FROM (SELECT unnest(t.input_digests) AS d
                 FROM ledger.job j JOIN ledger.task t ON t.job_id = j.id
                WHERE j.state IN ('QUEUED', 'RUNNING')) needed
 WHERE d = ANY ($1::text[])"""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submit: created, exists, mismatch, full or taken."""

    outcome: str
    job_id: str
    created: datetime | None
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs to list."""

    account_id: str
    dialect: str = ""
    states: tuple[State, ...] = ()
    feature: str = ""
    after: datetime | None = None
    before: datetime | None = None


class JobTable:
    """Jobs and artifacts in PostgreSQL. ``origin`` names this replica in notifications."""

    def __init__(self, database: Database, origin: str, queue_limit: int) -> None:
        self._database = database
        self._origin = origin
        self._queue_limit = queue_limit

    async def create(self, jobs: Sequence[NewJob]) -> dict[str, Submitted]:
        """Store jobs in one transaction and return what became of each, by the id it asked for.

        No two of them may have the same account and idempotency key.
        """
        tasks = [(job.id, task) for job in jobs for task in job.tasks]
        aliases = [(job.id, alias) for job in jobs for alias in job.aliases]
        rows = await self._database.fetch(
            CREATE,
            self._origin,
            self._queue_limit,
            [UUID(job.id) for job in jobs],
            [job.account_id for job in jobs],
            [job.dialect for job in jobs],
            [job.public_id for job in jobs],
            [job.feature for job in jobs],
            [job.priority for job in jobs],
            [orjson.dumps(from_struct(job.request)).decode() for job in jobs],
            [job.requested_model for job in jobs],
            [job.idempotency_key or None for job in jobs],
            [job.request_digest for job in jobs],
            [job.traceparent for job in jobs],
            [job.time_limit for job in jobs],
            [UUID(job_id) for job_id, _ in aliases],
            [alias for _, alias in aliases],
            [UUID(task.id) for _, task in tasks],
            [UUID(job_id) for job_id, _ in tasks],
            [task.ordinal for _, task in tasks],
            [task.name for _, task in tasks],
            [task.feature for _, task in tasks],
            [task.spec for _, task in tasks],
            [",".join(task.input_digests) for _, task in tasks],
            [",".join(task.after) for _, task in tasks],
            [task.model_preference for _, task in tasks],
            [task.fallback for _, task in tasks],
            [task.phase for _, task in tasks],
            [task.item for _, task in tasks],
            [task.weight for _, task in tasks],
            [task.soft_fail for _, task in tasks],
            [",".join(task.needs) for _, task in tasks],
        )
        return {
            str(row["asked"]): Submitted(
                row["outcome"], str(row["found"]), row["created_at"], row["deadline"]
            )
            for row in rows
        }

    async def get(self, account_id: str, job_id: str) -> Job | None:
        """Return an account's job."""
        key = _uuid(job_id)
        if key is None:
            return None
        rows = await self._database.fetch(GET, key, account_id)
        return read_job(rows[0]) if rows else None

    async def find(self, account_id: str, public_id: str, dialect: str) -> Job | None:
        """Return an account's job by public id or alias; an empty dialect looks in all."""
        rows = await self._database.fetch(FIND, account_id, public_id, dialect)
        return read_job(rows[0]) if rows else None

    async def read(self, job_ids: Iterable[str], *, patience: float | None = None) -> list[Job]:
        """Return jobs of any account."""
        keys = [UUID(job_id) for job_id in job_ids]
        return [read_job(row) for row in await self._database.fetch(READ, keys, patience=patience)]

    async def open(self) -> list[Job]:
        """Return every job that has not ended."""
        return [read_job(row) for row in await self._database.fetch(OPEN)]

    async def closed(self, job_ids: Iterable[str]) -> set[str]:
        """Return which of the jobs have ended or are no more."""
        keys = [UUID(job_id) for job_id in job_ids]
        ended = {str(row["id"]) for row in await self._database.fetch(ENDED, keys)}
        there = {str(row["id"]) for row in await self._database.fetch(EXISTING, keys)}
        return ended | ({str(key) for key in keys} - there)

    async def has_key(self, account_id: str, idempotency_key: str) -> bool:
        """Tell whether an idempotency key was used."""
        return bool(await self._database.fetch(BY_KEY, account_id, idempotency_key))

    async def page(
        self, wanted: Filter, *, after: tuple[datetime, str] | None, limit: int, offset: int
    ) -> tuple[list[Job], int]:
        """Return a page of jobs, newest first, and how many there are in all."""
        args = (
            wanted.account_id,
            wanted.dialect,
            [state.value for state in wanted.states],
            wanted.feature,
            wanted.after,
            wanted.before,
        )
        moment, job_id = after if after else (None, None)
        rows = await self._database.fetch(
            LIST, *args, moment, UUID(job_id) if job_id else None, limit, offset
        )
        total = await self._database.fetch(COUNT, *args)
        return [read_job(row) for row in rows], total[0][0]

    async def stats(self, account_id: str) -> Mapping[State, int]:
        """Count jobs by state; an empty account counts all."""
        rows = await self._database.fetch(STATS, account_id)
        return {State(row["state"]): row["jobs"] for row in rows}

    async def close(self, account_id: str, job_id: str, state: State, reason: str, message: str) -> bool:
        """End an open job with all its tasks; False when it had ended before."""
        rows = await self._database.fetch(
            CLOSE, self._origin, [UUID(job_id)], account_id, state.value, reason, message
        )
        return bool(rows)

    async def close_overdue(self, most: int = 100) -> list[str]:
        """End jobs whose deadline has passed and return their ids."""
        rows = await self._database.fetch(CLOSE_OVERDUE, self._origin, most, patience=0)
        return [str(row["id"]) for row in rows]

    async def delete(self, account_id: str, job_id: str) -> int | None:
        """Forget a job and return its last epoch."""
        rows = await self._database.fetch(DELETE, UUID(job_id), account_id)
        return rows[0]["epoch"] if rows else None

    async def delete_result(self, account_id: str, job_id: str) -> list[Artifact]:
        """Forget the artifacts of a job that has ended, and return them."""
        rows = await self._database.fetch(DELETE_RESULT, UUID(job_id), account_id)
        return [read_artifact(row) for row in rows]

    async def resolve(self, account_id: str, path: str) -> Artifact | None:
        """Return the artifact an issued path stands for."""
        rows = await self._database.fetch(RESOLVE, path, account_id)
        return read_artifact(rows[0]) if rows else None

    async def made(self, job_id: str) -> list[Artifact]:
        """Return what the tasks of an open job made so far."""
        return [read_artifact(row) for row in await self._database.fetch(MADE, UUID(job_id))]

    async def referenced(self, digests: Sequence[str]) -> list[str]:
        """Return those digests that something still refers to."""
        return [row["d"] for row in await self._database.fetch(REFERENCED, list(digests))]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
