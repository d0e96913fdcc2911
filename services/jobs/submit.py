"""Store many submits in one transaction; each caller is answered after the commit.

While one transaction is on its way to the disk the submits that arrive wait for the next: an idle
ledger stores at once, a busy one shares the cost of a commit among all.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from maquette.runtime.clock import Clock
from maquette.runtime.errors import MaquetteError, Unavailable
from maquette.runtime.telemetry import get_logger
from services.jobs import metrics
from services.jobs.ledger.jobs import JobTable, Submitted
from services.jobs.model import NewJob


class Submitter:
    """Collects submits.

    ``stored`` hears of every job that was made, also of one whose caller left while it was stored.
    """

    def __init__(
        self, jobs: JobTable, clock: Clock, *, batch: int, stored: Callable[[NewJob, Submitted], None]
    ) -> None:
        self._jobs = jobs
        self._stored = stored
        self._clock = clock
        self._batch = batch
        self._waiting: deque[tuple[NewJob, asyncio.Future[Submitted]]] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, job: NewJob) -> Submitted:
        """Store a job and return what became of it. Raises Unavailable when the database is away."""
        began = self._clock.monotonic()
        answer: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, answer))
        self._arrived.set()
        result = await answer
        metrics.SUBMIT_SECONDS.observe(self._clock.monotonic() - began)
        return result

    async def run(self) -> None:
        """Store for ever."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                await self._store(self._take())
            self._arrived.clear()

    def _take(self) -> list[tuple[NewJob, asyncio.Future[Submitted]]]:
        """Take the next batch; a second submit with the same key waits for the one before."""
        taken: list[tuple[NewJob, asyncio.Future[Submitted]]] = []
        put_off: list[tuple[NewJob, asyncio.Future[Submitted]]] = []
        keys: set[tuple[str, str]] = set()
        while self._waiting and len(taken) < self._batch:
            job, answer = self._waiting.popleft()
            key = (job.account_id, job.idempotency_key)
            if job.idempotency_key and key in keys:
                put_off.append((job, answer))
                continue
            keys.add(key)
            taken.append((job, answer))
        self._waiting.extendleft(reversed(put_off))
        return taken

    async def _store(self, batch: list[tuple[NewJob, asyncio.Future[Submitted]]]) -> None:
        batch = [(job, answer) for job, answer in batch if not answer.done()]
        if not batch:
            return
        metrics.BATCH.observe(len(batch))
        try:
            results = await self._jobs.create([job for job, _ in batch])
        except Unavailable as error:
            self._fail(batch, error)
            return
        except Exception as error:  # noqa: BLE001 — see below
            # One submit that the database cannot take must not take its neighbours with it.
            if len(batch) > 1:
                for single in batch:
                    await self._store([single])
                return
            get_logger().error("submit failed", exc_info=error)
            if not isinstance(error, MaquetteError):
                error = Unavailable("the job could not be stored")
            self._fail(batch, error)
            return
        for outcome, count in Counter(result.outcome for result in results.values()).items():
            metrics.SUBMITS.labels(outcome).inc(count)
        for job, answer in batch:
            result = results[job.id]
            if result.outcome == "created":
                self._stored(job, result)
            if not answer.done():
                answer.set_result(result)

    @staticmethod
    def _fail(batch: list[tuple[NewJob, asyncio.Future[Submitted]]], error: MaquetteError) -> None:
        for _job, answer in batch:
            if not answer.done():
                answer.set_exception(error)
