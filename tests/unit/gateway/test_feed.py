"""What the gateway tells of a job that a call just changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import Unavailable
from services.gateway.feed import Feed
from services.gateway.mirror import Mirror


def job(seq: int, **more: Any) -> jobs_pb2.Job:
    return jobs_pb2.Job(id="job", public_id="job", account_id="public", seq=seq, **more)


RUNNING = job(2, state=jobs_pb2.STATE_RUNNING)
ENDED = job(3, state=jobs_pb2.STATE_SUCCEEDED, result=jobs_pb2.JobResult(model_used="one"))
DELETED = job(4, state=jobs_pb2.STATE_SUCCEEDED, result_deleted=True)


class Ledger:
    """Answers with the job as it is now, or with an error."""

    def __init__(self) -> None:
        self.now: jobs_pb2.Job | Exception = DELETED

    async def GetJob(self, request: jobs_pb2.GetJobRequest, **_: object) -> jobs_pb2.GetJobResponse:
        if isinstance(self.now, Exception):
            raise self.now
        return jobs_pb2.GetJobResponse(job=self.now)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def mirror() -> Mirror:
    known = Mirror(kept_jobs=10, kept_events=10)
    known.note(RUNNING)
    return known


@pytest.fixture
def feed(ledger: Ledger, mirror: Mirror) -> Feed:
    """A feed that is in step, but has not heard of the job's end."""
    channel = SimpleNamespace(get_state=lambda: grpc.ChannelConnectivity.READY)
    made = Feed(SimpleNamespace(jobs=SimpleNamespace(jobs=ledger, channel=channel)), mirror)  # type: ignore[arg-type]
    made._synced.add("jobs")
    return made


async def test_a_deleted_result_is_not_seen_again_when_the_jobs_end_is_heard_of_late(
    feed: Feed, mirror: Mirror
) -> None:
    await feed.renew(RUNNING)
    mirror.apply(jobs_pb2.JobEvent(seq=3, type=jobs_pb2.EVENT_TYPE_SUCCEEDED, job=ENDED))
    assert (await feed.find("public", "job")).job.result_deleted


async def test_a_ledger_that_goes_away_right_after_a_call_takes_nothing_of_it_back(
    feed: Feed, ledger: Ledger
) -> None:
    ledger.now = Unavailable("gone")
    await feed.renew(RUNNING)
    ledger.now = DELETED
    assert (await feed.find("public", "job")).job.result_deleted
