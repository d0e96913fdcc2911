"""Claim waiting tasks and send them to nodes."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Collection, Coroutine
from typing import Any

from maquette.runtime.clock import Clock
from maquette.runtime.errors import Unavailable, error_for
from maquette.runtime.settings import JobsSettings
from maquette.runtime.telemetry import get_logger
from services.jobs import metrics
from services.jobs.attempts import Attempt, Attempts, Stop
from services.jobs.fairness import Turns
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.ledger.jobs import JobTable
from services.jobs.ledger.tasks import ClaimScope, TaskTable
from services.jobs.model import Lease
from services.jobs.placement import NodeView, choose_engine, place
from services.jobs.registry import NodeRegistry
from services.jobs.retry import Cost, Requeue, snooze_delay
from services.jobs.runner import Runner

_MOST_AT_ONCE = 32


class Dispatcher:
    """One loop that claims, and one asyncio task for each attempt it began."""

    def __init__(
        self,
        jobs: JobTable,
        tasks: TaskTable,
        hub: Hub,
        book: ProgressBook,
        registry: NodeRegistry,
        attempts: Attempts,
        clock: Clock,
        settings: JobsSettings,
    ) -> None:
        self._jobs = jobs
        self._tasks = tasks
        self._hub = hub
        self._book = book
        self._registry = registry
        self._attempts = attempts
        self._clock = clock
        self._settings = settings
        self._turns = Turns()
        self._wake = asyncio.Event()
        self._asked: frozenset[str] | None = None
        """Features there is news of since the last round; None: of any."""
        self._running: set[asyncio.Task[None]] = set()
        self._doubt = False
        """A claim's answer was lost: some leases may be ours without our knowing."""
        self.runner: Runner | None = None
        """Set by the composition root before :meth:`run`."""

    def wake(self, delay: float = 0.0, features: Collection[str] | None = None) -> None:
        """Look for work now, or after ``delay`` seconds: for some features, or for whatever there is.

        Who knows what came saves the statements that would look for other work.
        """
        if delay > 0:
            asyncio.get_running_loop().call_later(delay + 0.002, self.wake, 0.0, features)
            return
        if features is None:
            self._asked = None
        elif self._asked is not None:
            self._asked |= frozenset(features)
        self._wake.set()

    async def run(self) -> None:
        """Claim for ever; the poll is the back-up for notifications that were lost."""
        while True:
            try:
                async with asyncio.timeout(self._settings.poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._asked = None
            asked, self._asked = self._asked, frozenset()
            self._wake.clear()
            try:
                await self._round(asked)
            except Unavailable:
                self._doubt = True
                await asyncio.sleep(0.1)
                self.wake()
            except Exception as error:  # noqa: BLE001 — the loop outlives whatever goes wrong in a round
                self._doubt = True
                get_logger().error("claiming failed", exc_info=error)
                await asyncio.sleep(1.0)
                self.wake()

    async def drain(self) -> None:
        """Let running attempts end for a moment, then give their tasks back."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.drain_seconds)
        for attempt in self._attempts:
            attempt.stop(Stop.DRAINING)
        if self._running:
            _done, late = await asyncio.wait(self._running, timeout=2.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _round(self, asked: frozenset[str] | None) -> None:
        """Claim what there is room for; with ``asked``, only where one of these features is served."""
        if self._doubt:
            await self._tasks.disown(self._attempts.tokens())
            self._doubt = False
        for scope in self._scopes():
            if asked is not None and asked.isdisjoint(scope.features):
                continue
            claimed_at = self._clock.monotonic()
            leases = await self._tasks.claim(scope, self._turns.order(), 3 * self._settings.replica_seconds)
            if not leases:
                continue
            metrics.CLAIMS.inc(len(leases))
            self._turns.served(lease.account_id for lease in leases)
            # From here on each lease has an owner: nothing may be lost between claim and start.
            unknown = {lease.job_id for lease in leases if self._hub.get(lease.job_id) is None}
            if unknown:
                self._hub.load(await self._jobs.read(unknown))
            for lease in leases:
                self._start(lease, claimed_at)
            if len(leases) == scope.most:
                self.wake(features=scope.features)

    def _scopes(self) -> list[ClaimScope]:
        """Return what may be claimed now: one scope for each set of nodes that serve the same."""
        views = self._registry.views()
        groups: dict[frozenset[str], list[NodeView]] = defaultdict(list)
        for view in views:
            features = frozenset(
                feature for engine in view.engines.values() if engine.available for feature in engine.features
            )
            groups[features].append(view)
        known = {
            f"{feature}/{engine.id}"
            for view in views
            for engine in view.engines.values()
            if engine.available
            for feature in engine.features
        }
        best = {
            feature: choose_engine(views, feature, "", fallback=True)
            for feature in frozenset().union(*groups)
        }
        scopes = []
        # Engines here and remote ones have slots of their own: what is claimed for one kind must not
        # find that only the other has room.
        for (features, members), remote in itertools.product(groups.items(), (False, True)):
            free = [view for view in members if view.free(remote=remote)]
            room = {
                f"{feature}/{engine.id}"
                for feature in features
                for engine in {e.id: e for view in free for e in view.engines.values()}.values()
                if engine.remote is remote and place(free, engine.id, feature) is not None
            }
            if not room:
                continue
            default = [feature for feature in features if f"{feature}/{best[feature]}" in room]
            most = min(sum(view.free(remote=remote) for view in free), _MOST_AT_ONCE)
            scopes.append(ClaimScope(sorted(features), default, sorted(room), sorted(known), most))
        return scopes

    def _start(self, lease: Lease, claimed_at: float) -> None:
        job = self._hub.get(lease.job_id)
        if lease.attempt == 1 and job is not None:
            metrics.WAIT_SECONDS.observe(max(0.0, (lease.started - job.created).total_seconds()))
        self._book.open(lease.job_id, lease.shares)
        views = self._registry.views()
        engine_id = choose_engine(views, lease.feature, lease.model_preference, fallback=lease.fallback)
        placement = place(views, engine_id, lease.feature) if engine_id else None
        if placement is None:
            self._spawn(self._put_back(lease))
            return
        attempt = Attempt(
            lease,
            placement,
            self._registry.reserve(placement),
            valid_until=claimed_at + self._settings.lease_seconds,
            checkpoint=lease.checkpoint,
        )
        self._attempts.add(attempt)
        self._spawn(self._drive(attempt))

    async def _drive(self, attempt: Attempt) -> None:
        try:
            if self.runner is not None:
                await self.runner.run(attempt)
        finally:
            self._attempts.remove(attempt)
            # The registry tells that there is room again.
            attempt.give_back()

    async def _put_back(self, lease: Lease) -> None:
        """Return a task that found no room after all, at no cost."""
        error = error_for("NODE_BUSY", "no node has room now")
        back = Requeue(Cost.SNOOZE, snooze_delay(lease.snoozes))
        await self._tasks.release(lease, "", back, error.reason, error.message)
        self.wake(back.delay)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
