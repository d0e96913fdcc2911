"""What the ledger does by the clock: leases, deadlines, lost tasks, signs of its own life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from maquette.runtime.clock import Clock
from maquette.runtime.errors import Unavailable, error_for
from maquette.runtime.settings import JobsSettings
from maquette.runtime.telemetry import get_logger
from services.jobs import metrics
from services.jobs.attempts import Attempts, Stop
from services.jobs.endings import Endings
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.ledger.jobs import JobTable
from services.jobs.ledger.tasks import Finish, Sign, TaskTable
from services.jobs.registry import NodeRegistry
from services.jobs.states import State


async def every(seconds: float, name: str, step: Callable[[], Awaitable[None]]) -> None:
    """Do a step again and again; a step that fails is logged and done again at its time."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()
        except Unavailable as error:
            get_logger().warning("put off", step=name, why=error.message)
        except Exception as error:  # noqa: BLE001 — the loop outlives whatever goes wrong in a step
            get_logger().error("step failed", step=name, exc_info=error)


class LeaseKeeper:
    """Extends, in one statement, the leases of tasks that gave a sign of life since the last time."""

    def __init__(
        self, tasks: TaskTable, attempts: Attempts, book: ProgressBook, clock: Clock, lease: float
    ) -> None:
        self._tasks = tasks
        self._attempts = attempts
        self._book = book
        self._clock = clock
        self._lease = lease

    async def extend(self) -> None:
        """Extend once; end the attempts whose lease was lost."""
        alive = [a for a in self._attempts if a.alive and a.stopped is None]
        if not alive:
            return
        began = self._clock.monotonic()
        signs = [
            Sign(a.lease.task_id, a.lease.token, self._book.task_fraction(a.lease.job_id, a.lease.task_id))
            for a in alive
        ]
        lost = set(await self._tasks.extend(signs))
        for attempt in alive:
            attempt.alive = False
            attempt.valid_until = began + self._lease
            # A task that was finished or given back in the meantime is no longer among the attempts.
            held = self._attempts.get(attempt.lease.token) is attempt
            if attempt.lease.task_id in lost and held and not attempt.ending:
                attempt.stop(Stop.LOST)


class Upkeep:
    """The other duties."""

    def __init__(
        self,
        jobs: JobTable,
        tasks: TaskTable,
        hub: Hub,
        attempts: Attempts,
        registry: NodeRegistry,
        endings: Endings,
        settings: JobsSettings,
    ) -> None:
        self._jobs = jobs
        self._tasks = tasks
        self._hub = hub
        self._attempts = attempts
        self._registry = registry
        self._endings = endings
        self._settings = settings

    async def close_overdue(self) -> None:
        """End jobs that ran out of their time."""
        await self._endings.tell(await self._jobs.close_overdue())

    async def close_exhausted(self) -> None:
        """End tasks that lost their last node."""
        error = error_for("NODE_LOST", "the task lost its node too often")
        for task_id, token in await self._tasks.exhausted():
            end = Finish(State.FAILED, reason=error.reason, message=error.message)
            outcome = await self._tasks.finish(task_id, token, "", end)
            if outcome.outcome == "done":
                metrics.COMMITS.labels(State.FAILED.value).inc()
                await self._endings.tell([outcome.job_id])

    async def note_progress(self) -> None:
        """Store the progress that a restart shall still show."""
        rows: dict[str, tuple[str, float, str, str]] = {}
        for attempt in self._attempts:
            job = self._hub.get(attempt.lease.job_id)
            if attempt.progressed and job is not None and not job.terminal:
                attempt.progressed = False
                progress = job.progress
                rows[job.id] = (job.id, progress.fraction, progress.stage, progress.message)
        if rows:
            await self._tasks.note_progress(list(rows.values()))

    async def measure(self) -> None:
        """Set the gauges."""
        self._hub.sweep()
        metrics.NODES.clear()
        for capability, count in self._registry.count_by_capability().items():
            metrics.NODES.labels(capability).set(count)
        metrics.WAITING.clear()
        for feature, count in (await self._tasks.depth()).items():
            metrics.WAITING.labels(feature).set(count)
