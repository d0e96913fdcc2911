"""Many jobs, few calls: each caller gets the answer to his own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import MaquetteError, error_for
from maquette.runtime.rpc.status import to_status, trailing_metadata
from services.gateway.job_maker import JobMaker

Outcome = jobs_pb2.CreateJobsResponse.Outcome


@dataclass
class Ledger:
    """A ledger that answers when the test lets it."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[list[str]] = field(default_factory=list)

    async def CreateJobs(
        self, request: jobs_pb2.CreateJobsRequest, **_: object
    ) -> jobs_pb2.CreateJobsResponse:
        names = [entry.job.feature for entry in request.entries]
        self.calls.append(names)
        await self.open.wait()
        if "away" in names:
            raise failure("UNAVAILABLE")
        if "unbounded" in names:
            raise failure("INVALID_VALUE")
        return jobs_pb2.CreateJobsResponse(outcomes=map(self.outcome, names))

    def outcome(self, name: str) -> Outcome:
        if name == "refused":
            return Outcome(error=to_status(error_for("QUEUE_FULL", "1000 jobs are waiting already")))
        job = jobs_pb2.Job(id=name)
        return Outcome(response=jobs_pb2.CreateJobResponse(job=job, created=True))


def failure(reason: str) -> grpc.aio.AioRpcError:
    error = error_for(reason, "no")
    trailing = grpc.aio.Metadata(*trailing_metadata(error))
    return grpc.aio.AioRpcError(error.row.code, grpc.aio.Metadata(), trailing, "no")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def maker(ledger: Ledger) -> JobMaker:
    channel = SimpleNamespace(get_state=lambda: grpc.ChannelConnectivity.READY)
    return JobMaker(SimpleNamespace(jobs=SimpleNamespace(jobs=ledger, channel=channel)))  # type: ignore[arg-type]


def ask(maker: JobMaker, *names: str) -> list[asyncio.Task[jobs_pb2.CreateJobResponse]]:
    return [asyncio.create_task(maker.create(jobs_pb2.CreateJobRequest(feature=name))) for name in names]


async def until_called(ledger: Ledger, times: int) -> None:
    async with asyncio.timeout(60):
        while len(ledger.calls) < times:  # noqa: ASYNC110 — the ledger says nothing of its own
            await asyncio.sleep(0)


async def told(asked: list[asyncio.Task[jobs_pb2.CreateJobResponse]]) -> list[str]:
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return [a.reason if isinstance(a, MaquetteError) else a.job.id for a in answers]  # type: ignore[union-attr]


async def test_what_is_asked_for_during_a_call_goes_together_with_the_next(
    ledger: Ledger, maker: JobMaker
) -> None:
    first = ask(maker, "a")
    await until_called(ledger, 1)
    later = ask(maker, "b", "c", "d")
    await asyncio.sleep(0)
    ledger.open.set()
    assert await told(first + later) == ["a", "b", "c", "d"]
    assert ledger.calls == [["a"], ["b", "c", "d"]]


async def test_a_maker_that_was_idle_calls_again(ledger: Ledger, maker: JobMaker) -> None:
    ledger.open.set()
    assert await told(ask(maker, "a")) == ["a"]
    assert await told(ask(maker, "b")) == ["b"]
    assert ledger.calls == [["a"], ["b"]]


async def test_one_that_is_refused_leaves_its_neighbours_alone(ledger: Ledger, maker: JobMaker) -> None:
    ledger.open.set()
    assert await told(ask(maker, "a", "refused", "b")) == ["a", "QUEUE_FULL", "b"]
    assert len(ledger.calls) == 1


async def test_one_that_is_out_of_bounds_leaves_its_neighbours_alone(ledger: Ledger, maker: JobMaker) -> None:
    ledger.open.set()
    assert await told(ask(maker, "a", "unbounded", "b")) == ["a", "INVALID_VALUE", "b"]
    assert ledger.calls == [["a", "unbounded", "b"], ["a"], ["unbounded"], ["b"]]


async def test_everybody_is_told_when_the_ledger_is_away(ledger: Ledger, maker: JobMaker) -> None:
    ledger.open.set()
    assert await told(ask(maker, "a", "away")) == ["UNAVAILABLE", "UNAVAILABLE"]
    assert await told(ask(maker, "b")) == ["b"]


async def test_who_has_left_is_not_asked_for(ledger: Ledger, maker: JobMaker) -> None:
    first = ask(maker, "a")
    await until_called(ledger, 1)
    leaving, staying = ask(maker, "left", "b")
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    ledger.open.set()
    assert await told([*first, staying]) == ["a", "b"]
    assert ledger.calls == [["a"], ["b"]]


async def test_a_call_carries_a_bounded_number_of_jobs(ledger: Ledger, maker: JobMaker) -> None:
    ledger.open.set()
    names = [str(number) for number in range(150)]
    assert await told(ask(maker, *names)) == names
    assert [len(call) for call in ledger.calls] == [64, 64, 22]


async def test_a_call_carries_a_bounded_number_of_bytes(ledger: Ledger, maker: JobMaker) -> None:
    ledger.open.set()
    names = [str(number) * 400_000 for number in range(6)]
    assert await told(ask(maker, *names)) == names
    assert [len(call) for call in ledger.calls] == [3, 3]
