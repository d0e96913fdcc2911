"""Cancelling, running out of time, deleting: exactly one end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from tests.integration.jobs.harness import (
    House,
    Run,
    Said,
    accepted,
    eventually,
    forever,
    key,
    reason,
    result,
    task,
)

SEED = 20260101


async def _cancel(house: House, job: jobs_pb2.Job) -> jobs_pb2.Job:
    return (await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))).job


async def test_a_waiting_job_is_cancelled_and_never_runs(house: House) -> None:
    job = await house.submit(task("a"), task("b", after=["a"]))
    assert (await _cancel(house, job)).state == jobs_pb2.STATE_CANCELLED
    node = await house.node()
    after = await house.submit()
    await house.ended(after)
    assert [request.job_id for request in node.seen] == [after.id]


async def test_a_running_job_is_cancelled_at_its_node(house: House) -> None:
    node = await house.node(forever)
    job = await house.submit()
    await eventually(lambda: node.busy == 1)
    done = await _cancel(house, job)
    assert (done.state, done.error.reason) == (jobs_pb2.STATE_CANCELLED, "CANCELLED")
    await eventually(lambda: node.busy == 0)
    stats = await house.jobs.GetQueueStats(jobs_pb2.GetQueueStatsRequest())
    assert stats.refused_commits == 0


async def test_an_ended_job_stays_as_it_is(house: House) -> None:
    await house.node()
    done = await house.ended(await house.submit())
    assert await _cancel(house, done) == done


async def test_two_hundred_cancels_racing_completion_end_each_job_once(house: House) -> None:
    """Some cancels certainly come first, some certainly too late; the others race."""
    at_its_end: dict[str, asyncio.Event] = {}
    go = asyncio.Event()
    early: set[str] = set()

    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        await go.wait()
        at_its_end[request.job_id].set()
        if request.job_id in early:
            await asyncio.Event().wait()
        yield result(request)

    await house.node(run, slots=16)
    chance = random.Random(SEED)
    jobs = await asyncio.gather(*(house.submit() for _ in range(200)))
    at_its_end.update((job.id, asyncio.Event()) for job in jobs)
    early |= {job.id for job in jobs[::10]}
    late = {job.id for job in jobs[5::10]}
    ends: dict[str, list[int]] = {job.id: [] for job in jobs}
    go.set()

    async def watch(job: jobs_pb2.Job) -> None:
        async for answer in house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key(job))):
            if answer.event.job.state >= jobs_pb2.STATE_SUCCEEDED:
                ends[job.id].append(answer.event.job.state)

    async def race(job: jobs_pb2.Job) -> None:
        await at_its_end[job.id].wait()
        if job.id in late:
            await house.ended(job)
        await asyncio.sleep(chance.uniform(0, 0.01))
        await _cancel(house, job)

    await asyncio.gather(*(watch(job) for job in jobs), *(race(job) for job in jobs))
    assert {len(states) for states in ends.values()} == {1}, f"seed {SEED}"
    rows = await house.sql(
        "SELECT j.id, j.state, count(e.*) AS ends FROM ledger.job j LEFT JOIN ledger.job_event e"
        " ON e.job_id = j.id AND e.type IN ('SUCCEEDED', 'FAILED', 'CANCELLED') GROUP BY j.id, j.state"
    )
    assert {row["ends"] for row in rows} == {1}
    for row in rows:
        assert jobs_pb2.State.Name(ends[str(row["id"])][0]) == f"STATE_{row['state']}"
    states = {str(row["id"]): row["state"] for row in rows}
    assert {states[job] for job in early} == {"CANCELLED"}
    assert {states[job] for job in late} == {"SUCCEEDED"}
    loose = "SELECT 1 FROM ledger.task WHERE state IN ('QUEUED', 'RUNNING')"
    assert await house.sql(loose) == []


async def test_a_job_over_its_time_fails_and_its_node_is_told(house: House) -> None:
    node = await house.node(forever)
    limit = jobs_pb2.CreateJobRequest().time_limit
    limit.FromMilliseconds(400)
    running = await house.submit(time_limit=limit)
    waiting = await house.submit(task(feature="nobody"), time_limit=limit)
    for job in (running, waiting):
        done = await house.ended(job)
        assert (done.state, done.error.reason) == (jobs_pb2.STATE_FAILED, "TIMED_OUT")
    await eventually(lambda: node.busy == 0)


async def test_deleting_ends_and_forgets(house: House) -> None:
    node = await house.node(forever)
    job = await house.submit()
    await eventually(lambda: node.busy == 1)
    watch = aiter(house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key(job))))
    while (await anext(watch)).event.job.state != jobs_pb2.STATE_RUNNING:
        continue
    await house.jobs.DeleteJob(jobs_pb2.DeleteJobRequest(key=key(job)))
    assert [answer.event.type async for answer in watch][-1] == jobs_pb2.EVENT_TYPE_CANCELLED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await house.get(job)
    assert reason(caught.value) == "NOT_FOUND"
    await eventually(lambda: node.busy == 0)
    assert await house.sql("SELECT 1 FROM ledger.task") == []
