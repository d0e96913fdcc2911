"""Tell everybody that jobs have ended."""

from __future__ import annotations

import math
from collections.abc import Iterable

from services.jobs import metrics
from services.jobs.attempts import Attempts, Stop
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.ledger.jobs import JobTable
from services.jobs.model import EPOCH_BITS, Job
from services.jobs.states import Event, terminal_event


class Endings:
    """Publishes terminal events, which are read from the ledger: what was committed is what is told."""

    def __init__(self, jobs: JobTable, hub: Hub, attempts: Attempts, book: ProgressBook) -> None:
        self._jobs = jobs
        self._hub = hub
        self._attempts = attempts
        self._book = book

    async def tell(self, job_ids: Iterable[str], *, local: bool = True) -> list[Job]:
        """Publish how jobs ended, end what still runs for them, and return them."""
        wanted = list(job_ids)
        if not wanted:
            return []
        jobs = await self._jobs.read(wanted, patience=math.inf)
        for job in jobs:
            if job.terminal:
                self._publish(job, local)
        for job_id in set(wanted) - {job.id for job in jobs}:
            self.deleted(job_id, local=local)
        return jobs

    def deleted(self, job_id: str, *, epoch: int = 0, local: bool = True) -> None:
        """Publish that a job is no more."""
        self._stop(job_id)
        held = self._hub.get(job_id)
        if held is not None:
            self._hub.publish(Event.DELETED, held, epoch=epoch, local=local)
            self._hub.forget(job_id)

    def _publish(self, job: Job, local: bool) -> None:
        self._stop(job.id)
        event = self._hub.publish(terminal_event(job.state), job, epoch=job.seq >> EPOCH_BITS, local=local)
        if event is not None:
            metrics.ENDED.labels(job.state.value).inc()

    def _stop(self, job_id: str) -> None:
        for attempt in self._attempts.of_job(job_id):
            attempt.stop(Stop.CLOSED)
        self._book.close(job_id)
