"""A fixed number of workers that are replaced when they die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from maquette.runtime.sandbox.errors import WorkerUnfit
from maquette.runtime.sandbox.spec import WorkerSpec
from maquette.runtime.sandbox.uids import claimed_uids
from maquette.runtime.sandbox.worker import WorkerProcess
from maquette.runtime.sandbox.workspace import Workspace
from maquette.runtime.telemetry import get_logger

_BACK_OFF = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LOOK_SECONDS = 0.5
_RESTARTS = Counter("maquette_worker_restarts_total", "Worker processes replaced.", ("pool",))
_log = get_logger()

OnPrepared = Callable[[int, str, Any], None]


@dataclass(slots=True, eq=False)
class Seat:
    """The place of one worker; whoever holds its lease may call."""

    index: int
    uid: int | None
    """Its workers' own; None where they keep ours."""
    worker: WorkerProcess | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while a worker sits here, ready or starting."""
    failure: str = ""
    """Why the last worker did not get ready; empty once one did."""
    restarts: int = 0
    task: asyncio.Task[None] | None = None


class Lease:
    """The right to call one worker, until released."""

    def __init__(self, pool: SandboxPool, seat: Seat) -> None:
        self._pool = pool
        self._seat = seat

    @property
    def index(self) -> int:
        """Which of the pool's workers it is."""
        return self._seat.index

    async def worker(self) -> WorkerProcess:
        """Return the worker, which may still be starting. Raises WorkerUnfit when none gets ready."""
        seat = self._seat
        while True:
            worker = seat.worker
            if seat.arrived.is_set() and worker is not None and worker.alive:
                return worker
            if seat.failure:
                raise WorkerUnfit(seat.failure)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await seat.arrived.wait()

    def replace(self) -> None:
        """End the idle worker; a fresh one comes by itself."""
        self._pool.replace(self._seat)

    def release(self) -> None:
        """Give the right back. The worker must be idle or gone."""
        seat = self._seat
        limit = self._pool.spec.recycle_after
        if seat.worker is not None and limit and seat.worker.calls >= limit:
            self._pool.replace(seat)
        self._pool.give_back(seat)


class SandboxPool:
    """Workers of one kind, started ahead, one call at a time each.

    ::

        async with SandboxPool.open(spec, workers=2, workspace=settings.tmp_dir) as pool:
            facts = await pool.call("maquette.geometry.inspect:inspect_image_file", …)
    """

    def __init__(
        self,
        spec: WorkerSpec,
        uids: Sequence[int | None],
        workspace: Workspace,
        on_prepared: OnPrepared | None = None,
    ) -> None:
        """Make a pool of one worker for each of ``uids``; None is our own."""
        self.spec = spec
        self.seats = [Seat(index, uid) for index, uid in enumerate(uids)]
        self._workspace = workspace
        self._free: asyncio.Queue[Seat] = asyncio.Queue()
        self._on_prepared = on_prepared
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, spec: WorkerSpec, *, workers: int, workspace: Path, on_prepared: OnPrepared | None = None
    ) -> AsyncIterator[SandboxPool]:
        """Start the workers without waiting for them; end them on leaving.

        ``workspace`` is a folder of ours for their files (`settings.tmp_dir`).
        """
        folder = await asyncio.to_thread(Workspace, workspace / "work", spec.name)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, folder.close)
            uids = stack.enter_context(claimed_uids(spec.uid_base, str(folder.path), workers))
            pool = cls(spec, uids, folder, on_prepared)
            for seat in pool.seats:
                seat.task = asyncio.create_task(pool._keep(seat))
                pool._free.put_nowait(seat)
            try:
                yield pool
            finally:
                await pool._close()

    async def call(
        self,
        target: str,
        payload: Mapping[str, Any],
        *,
        timeout: float,
        memory_mib: int,
        files: Mapping[str, Path] | None = None,
    ) -> Any:
        """Run `module:function` with ``payload`` as keyword arguments in a free worker.

        ``files`` become arguments too: each is put where the worker may read it, and the function
        gets its path there. ``timeout`` (seconds) counts from the moment a worker is free. Raises
        :class:`RemoteFailure` (``kind``, ``message``), :class:`WorkerCrashed`,
        :class:`OutOfMemory`, :class:`TimedOut`, or the function's own MaquetteError.
        """
        lease = await self.acquire()
        try:
            worker = await lease.worker()
            folder = worker.room.call()
            try:
                arguments = dict(payload)
                for name, path in (files or {}).items():
                    arguments[name] = str(await asyncio.to_thread(folder.lend, path, name))
                outcome = await worker.call(target, arguments, folder, timeout=timeout, memory_mib=memory_mib)
                return outcome.value
            finally:
                await asyncio.to_thread(folder.remove)
        finally:
            lease.release()

    async def acquire(self) -> Lease:
        """Wait for a free worker."""
        return Lease(self, await self._free.get())

    def try_acquire(self) -> Lease | None:
        """Take a free worker, or nothing."""
        try:
            return Lease(self, self._free.get_nowait())
        except asyncio.QueueEmpty:
            return None

    @property
    def folder(self) -> Path:
        """A folder of ours that no worker can write, gone with the pool, also when we are killed."""
        return self._workspace.path

    @property
    def busy(self) -> int:
        """Workers that are leased."""
        return len(self.seats) - self._free.qsize()

    @property
    def failure(self) -> str:
        """Why no worker can be had; empty when at least one can, or may yet."""
        return next((seat.failure for seat in self.seats), "") if all(s.failure for s in self.seats) else ""

    def give_back(self, seat: Seat) -> None:
        """Make a seat free again."""
        self._free.put_nowait(seat)

    def replace(self, seat: Seat) -> None:
        """End a seat's idle worker; a fresh one comes by itself."""
        worker = seat.worker
        if worker is not None:
            seat.arrived.clear()
            task = asyncio.create_task(worker.stop())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _keep(self, seat: Seat) -> None:
        """Keep a worker on a seat, for ever."""
        in_a_row = 0
        while True:
            await asyncio.sleep(_BACK_OFF[min(in_a_row, len(_BACK_OFF) - 1)])
            try:
                room = await asyncio.to_thread(self._workspace.room, seat.index, seat.uid)
                seat.worker = await WorkerProcess.spawn(self.spec, room, self._prepared_on(seat))
            except OSError as error:
                seat.failure = f"a worker cannot be started: {error}"
                in_a_row += 1
                _log.error("worker cannot be started", worker=self.spec.name, error=str(error))
                continue
            seat.arrived.set()
            in_a_row = await self._until_end(seat, seat.worker, in_a_row)
            seat.restarts += 1
            _RESTARTS.labels(self.spec.name).inc()

    async def _until_end(self, seat: Seat, worker: WorkerProcess, in_a_row: int) -> int:
        """Wait for a worker's end. Returns how many have failed to start in a row."""
        try:
            try:
                await worker.ready
                seat.failure, in_a_row = "", 0
            except WorkerUnfit as error:
                seat.failure = error.message
                in_a_row += 1
                _log.error("worker unfit", worker=self.spec.name, reason=error.message)
            await asyncio.shield(worker.ended)
        finally:
            seat.arrived.clear()
        return in_a_row

    def _prepared_on(self, seat: Seat) -> Callable[[str, Any], None] | None:
        told = self._on_prepared
        if told is None:
            return None
        return lambda target, value: told(seat.index, target, value)

    async def _close(self) -> None:
        for seat in self.seats:
            if seat.task is not None:
                seat.task.cancel()
        tasks = [seat.task for seat in self.seats if seat.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        workers = [seat.worker for seat in self.seats if seat.worker is not None]
        await asyncio.gather(*(worker.stop() for worker in workers))
        if self._closing:
            await asyncio.wait(self._closing)
