"""Jobs and clocks for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.struct_pb2 import Struct

from services.jobs.model import Job
from services.jobs.states import State

START = datetime(2030, 1, 1, tzinfo=UTC)


class HeldClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def make_job(job_id: str = "job", state: State = State.QUEUED, **changes: object) -> Job:
    job = Job(
        id=job_id,
        account_id="public",
        dialect="test",
        public_id=job_id,
        feature="work",
        priority=0,
        state=state,
        created=START,
        deadline=START + timedelta(minutes=30),
        request=Struct(),
    )
    return job.at(**changes)
