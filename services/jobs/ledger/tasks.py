"""Statements about tasks and their leases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from services.jobs.ledger.database import Database
from services.jobs.ledger.rows import read_lease
from services.jobs.model import Lease
from services.jobs.retry import Requeue
from services.jobs.states import State

# Invariant: at most one running attempt of a task holds a valid token. One statement picks waiting
# tasks and such whose lease ran out, and gives each a fresh token; rows that another replica is
# looking at are passed over. The database's clock alone decides when a lease is over.
# Order: priority, then turns between accounts, then age. A job whose other tasks run at a living
# replica is left to that one, so that its events have one source. The candidates are looked up by an array
# of ids, and what they must be still is told by CASE, which matches no partial index: else a plan could begin
# with all tasks that wait or all open jobs.
# $1 replica · $2 features · $3 "feature/engine" with room now · $4 "feature/engine" on any node
# $5 accounts, served longest ago first · $6 most tasks · $7 lease, seconds · $8 budget of node losses
# $9 replica's silence, seconds · $10 features whose best engine has room now
CLAIM = """
WITH RECURSIVE waiting(account_id) AS (
    (SELECT account_id FROM ledger.task
      WHERE state = 'QUEUED' AND waiting_on = 0 ORDER BY account_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.account_id FROM ledger.task t
             WHERE t.state = 'QUEUED' AND t.waiting_on = 0 AND t.account_id > w.account_id
             ORDER BY t.account_id LIMIT 1)
      FROM waiting w WHERE w.account_id IS NOT NULL
), candidate AS (
    SELECT c.*, false AS expired FROM waiting w CROSS JOIN LATERAL (
        SELECT t.id, t.account_id, t.priority, t.created_at
          FROM ledger.task t
         WHERE t.account_id = w.account_id AND t.state = 'QUEUED' AND t.waiting_on = 0
           AND t.not_before <= now() AND t.feature = ANY ($2)
           AND (t.feature || '/' || t.model_preference = ANY ($3) OR (t.feature = ANY ($10)
                AND (t.model_preference = '' OR (
                     t.fallback AND NOT t.feature || '/' || t.model_preference = ANY ($4)))))
         ORDER BY t.priority DESC, t.created_at LIMIT 2 * $6::integer) c
    UNION ALL
    SELECT t.id, t.account_id, t.priority, t.created_at, true
      FROM ledger.task t
     WHERE t.state = 'RUNNING' AND t.lease_until < now() AND t.node_losses + 1 < $8
       AND t.feature = ANY ($2)
       AND (t.feature || '/' || t.model_preference = ANY ($3) OR (t.feature = ANY ($10)
            AND (t.model_preference = '' OR (
                 t.fallback AND NOT t.feature || '/' || t.model_preference = ANY ($4)))))
), ordered AS (
    SELECT c.*, row_number() OVER (PARTITION BY c.account_id ORDER BY c.priority DESC, c.created_at) AS turn,
           coalesce(array_position($5::text[], c.account_id), 0) AS served
      FROM candidate c
), picked AS (
    SELECT t.id, t.job_id, o.expired
      FROM ordered o
      JOIN ledger.task t ON t.id = o.id
      JOIN ledger.job j ON j.id = t.job_id
     WHERE t.id = ANY (ARRAY (SELECT id FROM candidate))
       AND CASE t.state WHEN 'QUEUED' THEN t.waiting_on = 0 WHEN 'RUNNING' THEN t.lease_until < now() END
       AND CASE WHEN j.state IN ('QUEUED', 'RUNNING') THEN j.deadline > now() END
       AND (j.dispatcher IS NULL OR j.dispatcher = $1 OR o.expired OR NOT EXISTS (
            SELECT 1 FROM ledger.dispatcher d WHERE d.id = j.dispatcher
               AND d.heartbeat_at > now() - make_interval(secs => $9)))
     ORDER BY o.priority DESC, o.turn, o.served, o.created_at
     LIMIT $6 FOR UPDATE OF t, j SKIP LOCKED
), claimed AS (
    UPDATE ledger.task t
       SET state = 'RUNNING', attempt = attempt + 1, node_losses = node_losses + p.expired::integer,
           lease_token = gen_random_uuid(), lease_until = now() + make_interval(secs => $7),
           dispatcher = $1, started_at = coalesce(started_at, now()), node_id = '', engine_id = ''
      FROM picked p WHERE t.id = p.id
    RETURNING t.*
), begun AS (
    UPDATE ledger.job j
       SET state = 'RUNNING', started_at = coalesce(j.started_at, now()), epoch = j.epoch + 1,
           attempt = c.attempt, dispatcher = $1
      FROM (SELECT job_id, max(attempt) AS attempt FROM claimed GROUP BY job_id) c
     WHERE j.id = c.job_id
    RETURNING j.id, j.account_id, j.epoch, j.deadline, j.started_at, j.traceparent, j.requested_model
), told AS (
    INSERT INTO ledger.job_event (job_id, seq, account_id, type, task, attempt)
    SELECT b.id, b.epoch << 20, b.account_id, 'STARTED', c.name, c.attempt
      FROM begun b JOIN claimed c ON c.job_id = b.id
)
SELECT c.id, c.job_id, c.account_id, c.lease_token, c.attempt, c.crash_attempts, c.node_losses, c.snoozes,
       c.name, c.feature, c.spec, c.model_preference, b.requested_model, c.fallback, c.phase, c.soft_fail,
       b.epoch, b.deadline, b.started_at AS job_started, b.traceparent, s.shares, c.checkpoint,
       c.ordinal = s.last_ordinal AS last
  FROM claimed c JOIN begun b ON b.id = c.job_id
 CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(x.id, x.weight,
               CASE WHEN x.ended_at IS NULL THEN x.fraction ELSE 1 END)) AS shares,
           max(x.ordinal) AS last_ordinal
      FROM ledger.task x WHERE x.job_id = c.job_id) s
 ORDER BY c.priority DESC, c.created_at"""

# Invariant: only whoever holds the lease extends it, and a lease that ran out can be extended only
# as long as nobody claimed the task. Rows locked by a commit are passed over and are held still.
EXTEND = """
WITH sign AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::double precision[]) AS s(id, token, fraction)
), mine AS (
    SELECT t.id, s.fraction FROM ledger.task t JOIN sign s ON s.id = t.id
     WHERE t.lease_token = s.token AND t.state = 'RUNNING' FOR UPDATE OF t SKIP LOCKED
), extended AS (
    UPDATE ledger.task t
       SET lease_until = now() + make_interval(secs => $4), fraction = greatest(t.fraction, m.fraction)
      FROM mine m WHERE t.id = m.id
)
SELECT s.id FROM sign s LEFT JOIN ledger.task t ON t.id = s.id
 WHERE t.id IS NULL OR t.lease_token IS DISTINCT FROM s.token OR t.state <> 'RUNNING'"""

# What a restart shows of a job; never falls.
NOTE_PROGRESS = """
UPDATE ledger.job j SET fraction = greatest(j.fraction, p.fraction), stage = p.stage, message = p.message
  FROM (SELECT j2.id, s.fraction, s.stage, s.message
          FROM unnest($1::uuid[], $2::double precision[], $3::text[], $4::text[])
               AS s(id, fraction, stage, message)
          JOIN ledger.job j2 ON j2.id = s.id WHERE j2.state = 'RUNNING' FOR UPDATE OF j2 SKIP LOCKED) p
 WHERE j.id = p.id"""

# Invariant: the fence: an attempt that lost its lease tells the next one nothing.
NOTE_CHECKPOINT = """UPDATE ledger.task SET checkpoint = $3
    WHERE id = $1 AND lease_token = $2 AND state = 'RUNNING'"""

# A remote engine runs only by preference: that is its id.
LEFT_OVER = """SELECT id, model_preference, checkpoint FROM ledger.task
    WHERE state = 'CANCELLED' AND checkpoint <> '{}' ORDER BY ended_at DESC LIMIT 100"""
FORGET_CHECKPOINT = "UPDATE ledger.task SET checkpoint = '{}' WHERE id = $1 AND state = 'CANCELLED'"

FINISH = "SELECT * FROM ledger.finish_task($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
RELEASE = "SELECT * FROM ledger.release_task($1, $2, $3, $4, $5, $6, $7, $8)"

# Invariant: nothing is lost with its dispatcher. Leases of a replica that was here before us, at our
# own address, are over now; the fence makes that safe even if it should still live.
TAKE_OVER = """
WITH gone AS (
    DELETE FROM ledger.dispatcher WHERE address = $2 AND id <> $1 RETURNING id
), registered AS (
    INSERT INTO ledger.dispatcher (id, address) VALUES ($1, $2)
)
UPDATE ledger.task SET lease_until = '-infinity'
 WHERE state = 'RUNNING' AND dispatcher IN (SELECT id FROM gone) RETURNING id"""

# The same for attempts that were claimed for us by a statement whose answer was lost.
DISOWN = """UPDATE ledger.task SET lease_until = '-infinity'
    WHERE state = 'RUNNING' AND dispatcher = $1 AND lease_token <> ALL ($2::uuid[])"""

HEARTBEAT = """
WITH beat AS (
    INSERT INTO ledger.dispatcher (id, address) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()
), swept AS (
    DELETE FROM ledger.dispatcher WHERE heartbeat_at < now() - interval '10 minutes'
)
SELECT id, address FROM ledger.dispatcher
 WHERE id <> $1 AND heartbeat_at > now() - make_interval(secs => $3)"""
RETIRE = "DELETE FROM ledger.dispatcher WHERE id = $1"

# Tasks that lost their last node: nobody may claim them any more.
EXHAUSTED = """SELECT id, lease_token FROM ledger.task
    WHERE state = 'RUNNING' AND lease_until < now() AND node_losses + 1 >= $1 LIMIT 100"""

# Work that waits for a node, for autoscalers and people.
DEPTH = """SELECT feature, count(*) AS tasks FROM ledger.task
    WHERE state = 'QUEUED' AND waiting_on = 0 GROUP BY feature"""


@dataclass(frozen=True, slots=True)
class ClaimScope:
    """What a claim may pick."""

    features: Sequence[str]
    default_features: Sequence[str]
    """Those whose best engine has room now: what a task without a preference needs."""
    free_engines: Sequence[str]
    """"feature/engine" with room now: what a task with a preference needs."""
    known_engines: Sequence[str]
    """"feature/engine" on any node: where falling back would be early."""
    most: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer of a fenced statement: done, lost (the lease) or closed (the job ended)."""

    outcome: str
    job_id: str
    job_state: State
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A task that ended with its job while a provider may still work for it."""

    id: str
    engine_id: str
    checkpoint: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sign:
    """A task that gave a sign of life."""

    task_id: str
    token: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Finish:
    """What a task ended with."""

    state: State
    reason: str = ""
    message: str = ""
    model_used: str = ""
    info: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    artifacts: Sequence[Mapping[str, Any]] = ()


class TaskTable:
    """Tasks and leases in PostgreSQL, for one replica."""

    def __init__(self, database: Database, dispatcher: str, *, lease: float, node_losses: int) -> None:
        self._database = database
        self._origin = dispatcher
        self._id = UUID(dispatcher)
        self._lease = lease
        self._node_losses = node_losses

    async def claim(self, scope: ClaimScope, served: Sequence[str], silence: float) -> list[Lease]:
        """Claim tasks and return their leases. Not repeated: see :meth:`disown`."""
        rows = await self._database.fetch(
            CLAIM,
            self._id,
            list(scope.features),
            list(scope.free_engines),
            list(scope.known_engines),
            list(served),
            scope.most,
            self._lease,
            self._node_losses,
            silence,
            list(scope.default_features),
            patience=0,
        )
        return [read_lease(row) for row in rows]

    async def extend(self, signs: Sequence[Sign]) -> list[str]:
        """Extend leases and return the ids of tasks whose lease was lost."""
        rows = await self._database.fetch(
            EXTEND,
            [UUID(sign.task_id) for sign in signs],
            [UUID(sign.token) for sign in signs],
            [sign.fraction for sign in signs],
            self._lease,
            patience=0,
        )
        return [str(row["id"]) for row in rows]

    async def note_progress(self, progress: Sequence[tuple[str, float, str, str]]) -> None:
        """Store (job id, fraction, stage, message) of running jobs."""
        columns: list[list[Any]] = [list(column) for column in zip(*progress, strict=True)]
        columns[0] = [UUID(job_id) for job_id in columns[0]]
        await self._database.fetch(NOTE_PROGRESS, *columns, patience=0)

    async def note_checkpoint(self, task_id: str, token: str, state: Mapping[str, Any]) -> None:
        """Store what the next attempt needs; waits for the database as long as it takes."""
        text = orjson.dumps(dict(state)).decode()
        await self._database.fetch(NOTE_CHECKPOINT, UUID(task_id), UUID(token), text, patience=math.inf)

    async def left_over(self) -> list[LeftOver]:
        """Return tasks of jobs that have ended whose checkpoint nobody has heard of yet."""
        rows = await self._database.fetch(LEFT_OVER, patience=0)
        return [
            LeftOver(str(row["id"]), row["model_preference"], orjson.loads(row["checkpoint"])) for row in rows
        ]

    async def forget_checkpoint(self, task_id: str) -> None:
        """Note that a node has heard of it."""
        await self._database.fetch(FORGET_CHECKPOINT, UUID(task_id), patience=0)

    async def finish(self, task_id: str, token: str, node_id: str, end: Finish) -> Outcome:
        """Commit the end of a task under its lease; waits for the database as long as it takes."""
        rows = await self._database.fetch(
            FINISH,
            self._origin,
            UUID(task_id),
            UUID(token),
            node_id,
            end.state.value,
            end.reason,
            end.message,
            end.model_used,
            orjson.dumps(dict(end.info or {})).decode(),
            list(end.warnings),
            orjson.dumps(list(end.artifacts)).decode(),
            patience=math.inf,
        )
        row = rows[0]
        return Outcome(row["outcome"], str(row["job"]), State(row["job_state"]))

    async def release(self, lease: Lease, node_id: str, back: Requeue, reason: str, message: str) -> Outcome:
        """Give a task back under its lease; waits for the database as long as it takes."""
        rows = await self._database.fetch(
            RELEASE,
            self._origin,
            UUID(lease.task_id),
            UUID(lease.token),
            node_id,
            back.cost.value,
            back.delay,
            reason,
            message,
            patience=math.inf,
        )
        row = rows[0]
        return Outcome(row["outcome"], lease.job_id, State(row["job_state"]), row["epoch"])

    async def take_over(self, address: str) -> int:
        """Register this replica and end the leases of its predecessor; return how many."""
        return len(await self._database.fetch(TAKE_OVER, self._id, address))

    async def disown(self, tokens: Sequence[str]) -> None:
        """End leases of ours that are not among ``tokens``."""
        await self._database.fetch(DISOWN, self._id, [UUID(token) for token in tokens], patience=0)

    async def heartbeat(self, address: str, silence: float) -> dict[str, str]:
        """Show that this replica lives and return the others': id → address."""
        rows = await self._database.fetch(HEARTBEAT, self._id, address, silence, patience=0)
        return {str(row["id"]): row["address"] for row in rows}

    async def retire(self) -> None:
        """Withdraw this replica."""
        await self._database.fetch(RETIRE, self._id, patience=0)

    async def exhausted(self) -> list[tuple[str, str]]:
        """Return (task id, token) of tasks that lost their last node."""
        rows = await self._database.fetch(EXHAUSTED, self._node_losses, patience=0)
        return [(str(row["id"]), str(row["lease_token"])) for row in rows]

    async def depth(self) -> dict[str, int]:
        """Count the tasks that could run now, by feature."""
        return {row["feature"]: row["tasks"] for row in await self._database.fetch(DEPTH, patience=0)}
