"""A capability node: its slots, its engines, the attempts it runs, and whether it drains."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.capability import metrics
from maquette.runtime.capability.attempt import Attempt, LocalAttempt
from maquette.runtime.capability.parameters import unpack_parameters
from maquette.runtime.capability.provision import MOST_WAITING, Provision, WaitingAttempt
from maquette.runtime.capability.remotes import Remotes
from maquette.runtime.capability.table import EngineTable
from maquette.runtime.capability.transfer import Blobs
from maquette.runtime.clock import Clock
from maquette.runtime.engine import EngineDescription, EngineKind
from maquette.runtime.errors import ResourceExhausted
from maquette.runtime.sandbox.pool import Lease, SandboxPool
from maquette.runtime.settings import CapabilitySettings
from maquette.runtime.telemetry import get_logger

_ENGINES = "maquette.runtime.capability.engines"
DESCRIBE, LOAD = f"{_ENGINES}:describe", f"{_ENGINES}:load"
_UNLOAD_SECONDS = 30.0
_UNLOAD_MIB = 1 << 20
_log = get_logger()


class Node:
    """What the servicer and the announcer act on."""

    def __init__(
        self,
        name: str,
        node_id: str,
        address: str,
        settings: CapabilitySettings,
        clock: Clock,
        blobs: Blobs,
        remotes: Remotes,
        provision: Provision | None = None,
    ) -> None:
        self.name = name
        self.id = node_id
        self.address = address
        self.table = EngineTable()
        self.told: dict[str, Any] = {}
        """What the further steps of starting workers returned, by target; the last word counts."""
        self.draining = False
        self._settings = settings
        self._clock = clock
        self._blobs = blobs
        self._pool: SandboxPool | None = None
        self._remotes = remotes
        self._provision = provision
        self.table.added([engine.describe() for engine in remotes.engines])
        self._started = clock.now()
        self._attempts: dict[asyncio.Task[None], Attempt] = {}
        self._listeners: set[asyncio.Event] = set()
        self._chores: set[asyncio.Task[None]] = set()

    # -- what workers tell

    def prepared(self, _index: int, target: str, value: Any) -> None:
        """Take in what a starting worker's step returned."""
        if target == DESCRIBE:
            self.table.described(value)
        elif target == LOAD:
            self.table.loaded(value)
        else:
            self.told[target] = value
        self.changed()

    def use(self, pool: SandboxPool) -> None:
        """Run tasks in a pool's workers; each is a slot."""
        self._pool = pool

    @property
    def pool(self) -> SandboxPool:
        """The slots."""
        if self._pool is None:
            raise RuntimeError("the node has no workers yet")
        return self._pool

    # -- what `jobs` is told

    def state(self) -> jobs_pb2.Node:
        """Return what the node announces."""
        failure = self.pool.failure
        # What waits for a provision takes no slot of the others.
        waiting = self._waiting
        node = jobs_pb2.Node(
            id=self.id,
            capability=self.name,
            address=self.address,
            slots=len(self.pool.seats) + waiting,
            busy=self.pool.busy + waiting,
            engines=[row.to_proto(failure) for row in self.table.rows.values()],
            draining=self.draining,
            remote_slots=self._remotes.slots if self._remotes.engines else 0,
            remote_busy=self._remotes.busy,
        )
        node.start_time.FromDatetime(self._started)
        return node

    def listen(self) -> asyncio.Event:
        """Return an event that is set at every change, until :meth:`forget`."""
        event = asyncio.Event()
        self._listeners.add(event)
        return event

    def forget(self, event: asyncio.Event) -> None:
        """Stop setting an event."""
        self._listeners.discard(event)

    def changed(self) -> None:
        """Tell all listeners."""
        for event in self._listeners:
            event.set()

    # -- runs

    def start(self, request: pb.RunRequest) -> Attempt:
        """Start an attempt on a free slot of the engine's kind.

        Raises InvalidArgument for what this node does not offer, Unavailable for an engine that
        cannot run here, ResourceExhausted (NODE_BUSY) when no slot is free or the node drains.
        """
        engine = self.table.choose(request.engine_id, request.feature)
        parameters = unpack_parameters(request.parameters)
        common: dict[str, Any] = {
            "request": request,
            "engine": engine,
            "parameters": parameters,
            "blobs": self._blobs,
            "seconds": self._seconds_left(request),
            "grace": self._settings.kill_after_seconds,
        }
        attempt = None if self.draining else self._attempt(engine, common)
        if attempt is None:
            raise ResourceExhausted("every slot of the node is taken", reason="NODE_BUSY")
        task = asyncio.create_task(self._follow(attempt))
        self._attempts[task] = attempt
        task.add_done_callback(self._attempts.pop)
        self._count()
        self.changed()
        return attempt

    def _count(self) -> None:
        metrics.BUSY.labels(self.name).set(self.pool.busy)
        metrics.REMOTE.labels(self.name).set(self._remotes.busy)

    @property
    def _waiting(self) -> int:
        return sum(isinstance(a, WaitingAttempt) and a.lease is None for a in self._attempts.values())

    def _attempt(self, engine: EngineDescription, common: dict[str, Any]) -> Attempt | None:
        """Return an attempt that has a slot; None when there is none."""
        name = f"{self.name}-{self.id[:8]}"
        if engine.kind is EngineKind.PROVIDER:
            return self._remotes.attempt(self.pool, worker_name=f"{name}-remote", **common)
        if self._provision is not None and self._provision.needed(common["request"], common["parameters"]):
            if self._waiting >= MOST_WAITING:
                return None
            return WaitingAttempt(
                pool=self.pool, provision=self._provision, worker_name=f"{name}-waiting", **common
            )
        lease = self.pool.try_acquire()
        return LocalAttempt(lease=lease, worker_name=f"{name}-{lease.index}", **common) if lease else None

    async def discard(self, request: pb.DiscardRequest) -> None:
        """Give up what a task's attempts hold elsewhere: no attempt will follow."""
        here = [a for a in self._attempts.values() if a.request.task_id == request.task_id]
        for attempt in here:
            # It gives up by itself: only it knows what is on its way at this moment.
            attempt.discarded = True
            attempt.cancelled.set()
        if not here:
            await self._remotes.discard(request)

    def _seconds_left(self, request: pb.RunRequest) -> float:
        longest = self._settings.max_run_seconds
        if not request.HasField("deadline"):
            return longest
        end: datetime = request.deadline.ToDatetime(tzinfo=self._clock.now().tzinfo)
        return min(longest, (end - self._clock.now()).total_seconds())

    async def _follow(self, attempt: Attempt) -> None:
        began = time.monotonic()
        try:
            await attempt.run()
        finally:
            seconds = time.monotonic() - began
            feature = attempt.request.feature
            metrics.RUNS.labels(self.name, feature, attempt.outcome).inc()
            metrics.RUN_SECONDS.labels(self.name, feature).observe(seconds)
            if attempt.peak_mib:
                metrics.RUN_PEAK_MIB.labels(self.name, feature).observe(attempt.peak_mib)
            self._count()
            if attempt.outcome == "OK" and isinstance(attempt, LocalAttempt):
                self.table.set_loaded(attempt.engine.id, loaded=True)
            _log.info(
                "run ended",
                task_id=attempt.request.task_id,
                job_id=attempt.request.job_id,
                attempt=attempt.request.attempt,
                engine=attempt.engine.id,
                outcome=attempt.outcome,
                seconds=round(seconds, 3),
                peak_mib=round(attempt.peak_mib),
            )
            self.changed()

    # -- commands

    def drain(self) -> None:
        """Take no new task from now on."""
        self.draining = True
        self.changed()

    def unload(self, engine_id: str) -> None:
        """Give back an engine's memory in every worker as soon as it is idle."""
        self.table.set_loaded(engine_id, loaded=False)
        for lease in iter(self.pool.try_acquire, None):
            task = asyncio.create_task(self._unload_on(lease, engine_id))
            self._chores.add(task)
            task.add_done_callback(self._chores.discard)

    async def _unload_on(self, lease: Lease, engine_id: str) -> None:
        try:
            worker = await lease.worker()
            folder = worker.room.call()
            try:
                await worker.call(
                    f"{_ENGINES}:unload",
                    {"engine_id": engine_id},
                    folder,
                    timeout=_UNLOAD_SECONDS,
                    memory_mib=_UNLOAD_MIB,
                )
            finally:
                folder.remove()
        finally:
            lease.release()
            self.changed()

    async def renew(self) -> None:
        """Replace every worker by a fresh one as soon as it is idle: what it may load has changed."""
        leases: list[Lease] = []
        try:
            # Each is held until all are had, so that none is met twice.
            for _ in self.pool.seats:
                leases.append(await self.pool.acquire())
                leases[-1].replace()
        finally:
            for lease in leases:
                lease.release()

    async def finish(self, seconds: float) -> None:
        """Let running attempts end; after ``seconds`` cancel them and wait until they are gone."""
        if self._attempts:
            await asyncio.wait(tuple(self._attempts), timeout=seconds)
        for attempt in self._attempts.values():
            attempt.node_stops = True
            attempt.cancelled.set()
        if self._attempts:
            await asyncio.wait(tuple(self._attempts))
        if self._chores:
            await asyncio.wait(tuple(self._chores))
