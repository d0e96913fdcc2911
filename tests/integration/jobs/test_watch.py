"""Watching: nothing is missed, the end always comes, and standing still is cheap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from maquette.api.jobs.v1 import jobs_pb2
from services.jobs.convert import feed_events
from tests.integration.jobs.harness import (
    House,
    Run,
    Said,
    accepted,
    eventually,
    forever,
    key,
    open_house,
    progress,
    quick,
    result,
    takes,
)


class Stepwise:
    """A run that goes on when told."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[float] = asyncio.Queue()

    async def __call__(self, request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        while (fraction := await self.steps.get()) < 1:
            yield progress(fraction)
        yield result(request)


def _watch(house: House, job: jobs_pb2.Job, from_seq: int = 0) -> grpc.aio.UnaryStreamCall:
    return house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key(job), from_seq=from_seq))


async def test_a_watcher_that_resumes_sees_every_later_event_and_the_end(house: House) -> None:
    steps = Stepwise()
    await house.node(steps)
    job = await house.submit()
    whole = asyncio.create_task(_collect(_watch(house, job)))
    for n in range(1, 6):
        steps.steps.put_nowait(n / 10)
    half: list[jobs_pb2.JobEvent] = []
    stream = _watch(house, job)
    async for answer in stream:
        half.append(answer.event)
        if answer.event.job.progress.fraction == 0.3:
            break
    stream.cancel()
    for n in range(6, 11):
        steps.steps.put_nowait(n / 10)
    rest = await _collect(_watch(house, job, half[-1].seq))
    assert [e.seq for e in half + rest] == [e.seq for e in await whole]
    assert rest[-1].type == jobs_pb2.EVENT_TYPE_SUCCEEDED
    assert await _collect(_watch(house, job, rest[-1].seq)) == []


async def test_the_end_comes_for_jobs_long_ended_and_after_a_restart(folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn, kept_seconds=0.0) as house:
        await house.node()
        job = await house.submit()
        done = await house.ended(job)
        house.ledger.hub.sweep()
        [event] = await _collect(_watch(house, job))
        assert event.job == done and event.type == jobs_pb2.EVENT_TYPE_SUCCEEDED
    async with open_house(folder, ledger_dsn) as house:
        [again] = await _collect(_watch(house, job, from_seq=1))
        assert again.job == done and again.seq == event.seq


async def test_numbers_rise_over_a_restart_and_progress_does_not_fall(folder: Path, ledger_dsn: str) -> None:
    steps = Stepwise()
    async with open_house(folder, ledger_dsn) as house:
        await house.node(steps)
        job = await house.submit()
        for n in range(1, 8):
            steps.steps.put_nowait(n / 10)
        stored = "SELECT 1 FROM ledger.job WHERE fraction > 0.65"
        await eventually(lambda: house.sql(stored))
        before = await house.get(job)
    async with open_house(folder, ledger_dsn) as house:
        watching = asyncio.create_task(_collect(_watch(house, job, before.seq)))
        await house.node(quick)
        events = await watching
        assert events[0].seq > before.seq
        assert min(e.job.progress.fraction for e in events) >= before.progress.fraction
        assert events[-1].type == jobs_pb2.EVENT_TYPE_SUCCEEDED


async def test_waiting_ends_with_the_job_or_with_the_time(house: House) -> None:
    await house.node(takes(0.2))
    job = await house.submit()
    assert (await house.ended(job)).state == jobs_pb2.STATE_SUCCEEDED
    await house.node(forever)
    other = await house.submit()
    request = jobs_pb2.WaitJobRequest(key=key(other))
    request.timeout.FromMilliseconds(50)
    assert (await house.jobs.WaitJob(request)).job.state < jobs_pb2.STATE_SUCCEEDED


async def test_a_feed_tells_open_jobs_and_then_everything(house: House) -> None:
    early = await house.submit()
    call = house.feed.WatchFeed(jobs_pb2.WatchFeedRequest())
    stream = aiter(call)
    first = await anext(stream)
    assert (first.event.type, first.event.job.id) == (jobs_pb2.EVENT_TYPE_SNAPSHOT, early.id)
    assert (await anext(stream)).HasField("synced")
    await house.node()
    late = await house.submit()
    told: dict[str, list[int]] = {early.id: [], late.id: []}
    async for item in stream:
        for event in feed_events(item):
            told[event.job.id].append(event.type)
        if all(jobs_pb2.EVENT_TYPE_SUCCEEDED in kinds for kinds in told.values()):
            break
    assert told[late.id][0] == jobs_pb2.EVENT_TYPE_QUEUED
    call.cancel()


async def test_open_streams_do_not_hold_up_a_stop(folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn, whole_drain=100.0) as house:
        await house.node(forever)
        job = await house.submit()
        feed = house.feed.WatchFeed(jobs_pb2.WatchFeedRequest())
        watch = _watch(house, job)
        await feed.read()
        await watch.read()
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 60
    for stream in (feed, watch):
        assert await stream.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_job_is_watched_at_a_replica_that_does_not_run_it(
    house: House, folder: Path, ledger_dsn: str
) -> None:
    steps = Stepwise()
    async with open_house(folder, ledger_dsn, name="other") as other:
        await eventually(lambda: not house.ledger.registry.alone and not other.ledger.registry.alone)
        await other.node(steps)
        job = await house.submit()
        watching = asyncio.create_task(_collect(_watch(house, job)))
        # What came before the one replica listened to the other is told as one state.
        steps.steps.put_nowait(0.05)
        await eventually(lambda: house.ledger.hub.get(job.id).progress.fraction == 0.05)  # type: ignore[union-attr]
        for n in range(1, 11):
            steps.steps.put_nowait(n / 10)
        events = await watching
        shown = {round(e.job.progress.fraction, 1) for e in events}
        assert {0.1, 0.5, 0.9, 1.0} <= shown
        assert events[-1].type == jobs_pb2.EVENT_TYPE_SUCCEEDED


async def test_a_cancel_reaches_the_replica_that_runs_the_job(
    house: House, folder: Path, ledger_dsn: str
) -> None:
    async with open_house(folder, ledger_dsn, name="other") as other:
        node = await other.node(forever)
        job = await house.submit()
        await eventually(lambda: node.busy == 1)
        await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
        await eventually(lambda: node.busy == 0)
        assert (await other.get(job)).state == jobs_pb2.STATE_CANCELLED


async def _collect(stream: grpc.aio.UnaryStreamCall) -> list[jobs_pb2.JobEvent]:
    return [answer.event async for answer in stream]
