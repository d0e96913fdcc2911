"""Tell watchers how an attempt goes: what it says, and what its end means for the job of several tasks."""

from __future__ import annotations

import math

from maquette.api.capability.v1 import capability_pb2
from maquette.runtime.telemetry import get_logger
from services.jobs.attempts import Attempt
from services.jobs.convert import seconds
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.ledger.jobs import JobTable
from services.jobs.ledger.rows import read_artifact
from services.jobs.ledger.tasks import Finish
from services.jobs.model import Progress
from services.jobs.states import Event, State


class Telling:
    """Publishes to the hub what happens between a claim and the end of the job."""

    def __init__(self, jobs: JobTable, hub: Hub, book: ProgressBook) -> None:
        self._jobs = jobs
        self._hub = hub
        self._book = book

    def started(self, attempt: Attempt) -> None:
        """Publish that the job runs, at the node's first word: a full node says none."""
        if attempt.told:
            return
        attempt.told = True
        lease = attempt.lease
        job = self._hub.get(lease.job_id)
        if job is not None and not job.terminal:
            started = job.at(state=State.RUNNING, started=lease.started, attempt=lease.attempt)
            started = started.with_task(lease.name, state=State.RUNNING, started=True)
            self._hub.publish(Event.STARTED, started, epoch=lease.epoch)

    def said(self, attempt: Attempt, response: capability_pb2.RunResponse) -> None:
        """Publish progress; write down what the node logs."""
        lease = attempt.lease
        kind = response.WhichOneof("event")
        if kind == "progress":
            progress = response.progress
            fraction = self._book.report(lease.job_id, lease.task_id, progress.fraction)
            attempt.progressed = True
            self._hub.progress(
                lease.job_id,
                Progress(
                    fraction,
                    storable(progress.stage) or lease.phase,
                    storable(progress.message),
                    storable(progress.upstream_status),
                    seconds(progress.eta) if progress.HasField("eta") else None,
                ),
                task=lease.name,
                attempt=lease.attempt,
                fraction=self._book.task_fraction(lease.job_id, lease.task_id),
            )
        elif kind == "log":
            get_logger().info(
                "task log",
                job=lease.job_id,
                task=lease.task_id,
                level_there=response.log.level,
                text=response.log.message,
            )

    async def ended(self, attempt: Attempt, finish: Finish) -> None:
        """Publish what the end of one task of several means for the whole job, which goes on."""
        lease = attempt.lease
        job = self._hub.get(lease.job_id)
        if job is None or job.terminal:
            return
        fraction = self._book.report(lease.job_id, lease.task_id, 1.0)
        job = job.at(progress=Progress(fraction, job.progress.stage, job.progress.message))
        if finish.state is State.SUCCEEDED:
            files = ({**file, "job_id": lease.job_id, "task": lease.name} for file in finish.artifacts)
            job = job.with_task(
                lease.name,
                state=State.SUCCEEDED,
                started=True,
                fraction=1.0,
                model_used=finish.model_used,
                warnings=tuple(finish.warnings),
                artifacts=tuple(read_artifact(file) for file in files),
            )
            self._hub.publish(Event.PROGRESS, job)
            return
        # It failed softly, and others with it: which ones, the ledger knows.
        self._hub.publish(Event.PROGRESS, job)
        for read in await self._jobs.read([lease.job_id], patience=math.inf):
            held = self._hub.get(lease.job_id)
            if held is not None and not held.terminal and not read.terminal:
                self._hub.publish(Event.PROGRESS, held.at(tasks=read.tasks))


def storable(text: str) -> str:
    """Return a node's text as PostgreSQL can hold it: a NUL must not keep a task from ending."""
    return text.replace("\x00", "")
