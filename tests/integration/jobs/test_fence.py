"""Leases: who lost his publishes nothing; budgets; what a lost node costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import Internal, ResourceExhausted, Unavailable, error_for
from services.jobs.ledger.tasks import ClaimScope, Finish, Sign
from services.jobs.states import State
from tests.integration.jobs.harness import (
    House,
    Run,
    Said,
    accepted,
    eventually,
    forever,
    key,
    open_house,
    output,
    progress,
    result,
    takes,
    task,
)

SCOPE = ClaimScope(["fenced"], ["fenced"], [], [], most=10)
EVENT = jobs_pb2.EventType.Name


class Paused:
    """A run that falls silent as a stopped process does, until it is resumed."""

    def __init__(self) -> None:
        self.resumed = asyncio.Event()
        self.says = "result"

    async def __call__(self, request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        yield progress(0.4)
        await self.resumed.wait()
        if self.says == "progress":
            yield progress(0.9, "a zombie's work")
            await asyncio.sleep(5)
        yield result(request, output("mesh", "zombie.glb", "ee" * 32), zombie=True)


@pytest.fixture
async def strict(folder: Path, ledger_dsn: str) -> AsyncIterator[House]:
    """A replica whose leases and nodes do not last long without a sign of life."""
    async with open_house(folder, ledger_dsn, lease_seconds=3.0, announce_seconds=0.2) as opened:
        yield opened


@pytest.mark.parametrize("says", ["result", "progress"])
async def test_zombie_is_refused_and_publishes_nothing(strict: House, says: str) -> None:
    house = strict
    paused = Paused()
    paused.says = says
    first = await house.node(paused)
    job = await house.submit()
    watch = asyncio.create_task(_watch(house, job))
    await eventually(lambda: len(first.seen) == 1)
    first.silent = True
    second = await house.node(takes(0.5))
    await eventually(lambda: len(second.seen) == 1)
    paused.resumed.set()
    done = await house.ended(job)
    await eventually(lambda: house.ledger.refused == 1)
    assert done.state == jobs_pb2.STATE_SUCCEEDED
    assert "zombie" not in done.result.info.fields
    assert all(a.digest != "ee" * 32 for a in done.result.artifacts)
    assert await house.sql("SELECT 1 FROM ledger.artifact WHERE digest = $1", "ee" * 32) == []
    assert second.seen[0].attempt == 2
    assert all(event.job.progress.stage != "a zombie's work" for event in await watch)
    await eventually(lambda: first.busy == 0)  # its RPC was cancelled
    stats = await house.jobs.GetQueueStats(jobs_pb2.GetQueueStatsRequest())
    assert stats.refused_commits == 1


async def test_a_silent_node_that_comes_back_unclaimed_may_finish(strict: House) -> None:
    house = strict
    paused = Paused()
    node = await house.node(paused)
    job = await house.submit()
    await eventually(lambda: len(node.seen) == 1)
    node.silent = True
    expired = "SELECT 1 FROM ledger.task WHERE lease_until < now()"
    await eventually(lambda: house.sql(expired))
    paused.resumed.set()
    done = await house.ended(job)
    assert done.state == jobs_pb2.STATE_SUCCEEDED
    assert (done.attempt, house.ledger.refused) == (1, 0)


async def test_the_fence_in_the_ledger_itself(house: House) -> None:
    """Claim, expiry, claim again: the old token changes no row, whatever it tries."""
    job = await house.submit(task(feature="fenced"))
    tasks = house.ledger.tasks
    [old] = await tasks.claim(SCOPE, [], 1.0)
    assert await tasks.claim(SCOPE, [], 1.0) == []
    await house.sql("UPDATE ledger.task SET lease_until = '-infinity'")
    [new] = await tasks.claim(SCOPE, [], 1.0)
    assert (old.task_id, old.attempt, new.attempt, new.node_losses) == (new.task_id, 1, 2, 1)
    assert old.token != new.token
    before = await house.sql("SELECT * FROM ledger.task")
    end = Finish(State.SUCCEEDED, model_used="zombie")
    assert (await tasks.finish(old.task_id, old.token, "n", end)).outcome == "lost"
    assert await tasks.extend([Sign(old.task_id, old.token, 0.9)]) == [old.task_id]
    assert await house.sql("SELECT * FROM ledger.task") == before
    good = Finish(State.SUCCEEDED, model_used="good")
    assert (await tasks.finish(new.task_id, new.token, "n", good)).outcome == "done"
    # The answer to a commit may be lost with its connection: asking again gives the same.
    assert (await tasks.finish(new.task_id, new.token, "n", good)).outcome == "done"
    assert (await tasks.finish(old.task_id, old.token, "n", end)).outcome == "lost"
    await house.ledger.endings.tell([job.id])
    assert (await house.get(job)).result.model_used == "good"


async def test_two_replicas_never_claim_the_same_task(house: House, folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn, name="other") as other:
        for _ in range(60):
            await house.submit(task(feature="fenced"))
        scope = ClaimScope(["fenced"], ["fenced"], [], [], most=3)
        claimed: Counter[str] = Counter()
        while sum(claimed.values()) < 60:
            batches = await asyncio.gather(
                *(replica.ledger.tasks.claim(scope, [], 1.0) for replica in (house, other) for _ in range(3))
            )
            claimed.update(lease.task_id for batch in batches for lease in batch)
        assert set(claimed.values()) == {1}


async def test_long_work_with_signs_of_life_keeps_its_lease(strict: House) -> None:
    house = strict

    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        for n in range(70):
            await asyncio.sleep(0.1)
            yield progress(n / 70)
        yield result(request)

    node = await house.node(run)
    await house.node(run)
    done = await house.ended(await house.submit())
    assert (done.attempt, house.ledger.refused) == (1, 0)
    assert len(node.seen) <= 1


async def test_a_lost_node_requeues_at_once_and_progress_does_not_fall(house: House) -> None:
    async def doomed(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        yield progress(0.8)
        await asyncio.sleep(60)

    node, kill = await house.mortal_node(doomed)
    job = await house.submit()
    await eventually(lambda: house.ledger.hub.get(job.id).progress.fraction == 0.8)  # type: ignore[union-attr]
    watch = asyncio.create_task(_watch(house, job))
    await house.node(takes(0.1))
    await kill()
    done = await house.ended(job)  # in far less than its lease
    assert done.state == jobs_pb2.STATE_SUCCEEDED and done.attempt == 2
    events = await watch
    kinds = [EVENT(event.type).removeprefix("EVENT_TYPE_") for event in events]
    assert "REQUEUED" in kinds and kinds.count("SUCCEEDED") == 1
    shown = [event.job.progress.fraction for event in events]
    assert shown == sorted(shown) and shown[0] <= 0.8
    assert (len(node.seen), house.ledger.refused) == (1, 0)


async def test_a_stream_without_result_is_a_lost_attempt(house: House) -> None:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        if request.attempt > 1:
            yield result(request)

    await house.node(run)
    done = await house.ended(await house.submit())
    assert (done.state, done.attempt) == (jobs_pb2.STATE_SUCCEEDED, 2)
    [row] = await house.sql("SELECT node_losses, crash_attempts FROM ledger.task")
    assert tuple(row) == (1, 0)


async def test_a_task_that_crashes_its_worker_has_three_attempts_and_a_neighbour_none_less(
    house: House,
) -> None:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        if request.seed == 666:
            raise Internal(f"worker died {request.attempt}", reason="WORKER_CRASHED")
        await asyncio.sleep(0.3)
        yield result(request)

    node = await house.node(run)
    bad = await house.submit(task(seed=666))
    good = await house.submit()
    done = await house.ended(bad)
    assert (done.state, done.error.reason) == (jobs_pb2.STATE_FAILED, "WORKER_CRASHED")
    assert done.error.message == "worker died 3"
    assert [r.attempt for r in node.seen if r.seed == 666] == [1, 2, 3]
    neighbour = await house.ended(good)
    assert (neighbour.state, neighbour.attempt) == (jobs_pb2.STATE_SUCCEEDED, 1)


async def test_a_task_that_loses_every_node_fails_when_its_budget_is_spent(
    folder: Path, ledger_dsn: str
) -> None:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        raise Unavailable("I am going")
        yield

    async with open_house(folder, ledger_dsn, node_loss_budget=5) as house:
        node = await house.node(run)
        done = await house.ended(await house.submit())
        assert (done.state, done.error.reason) == (jobs_pb2.STATE_FAILED, "UNAVAILABLE")
        assert len(node.seen) == 5


async def test_leases_that_run_out_count_as_lost_nodes(folder: Path, ledger_dsn: str) -> None:
    async def silent(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        await asyncio.sleep(60)

    async with open_house(folder, ledger_dsn, node_loss_budget=3, lease_seconds=0.5) as house:
        await house.node(silent)
        done = await house.ended(await house.submit())
        assert (done.state, done.error.reason) == (jobs_pb2.STATE_FAILED, "NODE_LOST")
        assert done.attempt == 3


async def test_a_full_node_costs_no_attempt(house: House) -> None:
    refusals = 4

    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise ResourceExhausted("busy", reason="NODE_BUSY")
        yield accepted()
        yield result(request)

    node = await house.node(run)
    job = await house.submit()
    events = await _watch(house, job)
    assert [request.attempt for request in node.seen] == [1] * 5
    assert events[-1].job.attempt == 1
    assert jobs_pb2.EVENT_TYPE_REQUEUED not in [event.type for event in events]
    [row] = await house.sql("SELECT snoozes, node_losses, crash_attempts FROM ledger.task")
    assert tuple(row) == (4, 0, 0)


async def test_two_tasks_of_one_job_run_beside_each_other(house: House) -> None:
    both = asyncio.Barrier(2)

    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        await both.wait()
        yield result(request)

    await house.node(run)
    job = await house.submit(task("a"), task("b"))
    events = await _watch(house, job)
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].job.state == jobs_pb2.STATE_SUCCEEDED


async def test_a_stopping_replica_gives_its_tasks_back_at_no_cost(folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn) as house:
        node = await house.node(forever)
        job = await house.submit()
        await eventually(lambda: node.busy == 1)
    async with open_house(folder, ledger_dsn) as house:
        await house.node()
        done = await house.ended(job)
        assert (done.state, done.attempt) == (jobs_pb2.STATE_SUCCEEDED, 1)
        [row] = await house.sql("SELECT node_losses, crash_attempts FROM ledger.task")
        assert tuple(row) == (0, 0)


async def _watch(house: House, job: jobs_pb2.Job) -> list[jobs_pb2.JobEvent]:
    watch = house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key(job)))
    return [answer.event async for answer in watch]


async def test_a_result_that_contradicts_itself_fails_its_task_at_once(house: House) -> None:
    async def twice(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        yield result(request, output("mesh", "same.glb"), output("mesh", "same.glb"))

    await house.node(twice)
    done = await house.ended(await house.submit())
    assert (done.state, done.error.reason, done.attempt) == (jobs_pb2.STATE_FAILED, "PROCESSING_FAILED", 1)
    assert await house.sql("SELECT 1 FROM ledger.artifact") == []


async def test_a_text_that_the_ledger_cannot_hold_does_not_keep_a_task_from_ending(house: House) -> None:
    seen = asyncio.Event()

    async def hostile(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        yield progress(0.5, "half\0way")
        await seen.wait()
        raise error_for("PROCESSING_FAILED", "a \0 in it")

    await house.node(hostile)
    job = await house.submit()
    await eventually(lambda: house.sql("SELECT 1 FROM ledger.job WHERE stage = 'halfway'"))
    seen.set()
    done = await house.ended(job)
    assert (done.error.reason, done.error.message, done.attempt) == ("PROCESSING_FAILED", "a  in it", 1)
