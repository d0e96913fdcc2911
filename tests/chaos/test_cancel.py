"""Cancelling in every state, and at the very moment a job ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import grpc
import psutil
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from tests.chaos.doors import NODES, Doors, until
from tests.chaos.invariants import check, wait_until_ended
from tests.chaos.scale import SCALE, chance, record, within
from tests.chaos.submitting import cancel, key_of, read_job, submit

_RACES = 200
_KILL_SECONDS = 12.0
_FINAL = {
    jobs_pb2.EVENT_TYPE_SUCCEEDED: jobs_pb2.STATE_SUCCEEDED,
    jobs_pb2.EVENT_TYPE_FAILED: jobs_pb2.STATE_FAILED,
    jobs_pb2.EVENT_TYPE_CANCELLED: jobs_pb2.STATE_CANCELLED,
}


async def test_a_queued_job_is_cancelled_at_once_and_never_runs(doors: Doors) -> None:
    job_id = await submit(doors, "chaos_nobody_serves_this")
    assert (await cancel(doors, job_id)).state == jobs_pb2.STATE_CANCELLED
    assert (await cancel(doors, job_id)).state == jobs_pb2.STATE_CANCELLED
    assert await check(doors, [job_id]) == {"CANCELLED": 1}
    assert (await read_job(doors, job_id)).attempt == 0


async def test_a_job_that_has_ended_stays_as_it_is_when_cancelled(doors: Doors) -> None:
    job_id = await submit(doors, seed=9)
    await wait_until_ended(doors, [job_id])
    before = await read_job(doors, job_id)
    assert (await cancel(doors, job_id)).state == jobs_pb2.STATE_SUCCEEDED
    assert await read_job(doors, job_id) == before
    assert await check(doors, [job_id]) == {"SUCCEEDED": 1}


@pytest.mark.parametrize("feature", ["test_spin", "test_stubborn"])
async def test_the_child_of_a_cancelled_job_is_at_rest_or_gone_within_twelve_seconds(
    doors: Doors, feature: str
) -> None:
    """One engine hears that it is cancelled, the other hears nothing and is killed."""
    job_id = await submit(doors, feature, seconds=60)
    host = await until(lambda: _host(doors), "a node to work on the job")
    await until(lambda: _has_started(doors, job_id), "the engine to run")
    children = doors.workers(host)
    assert (await cancel(doors, job_id)).state == jobs_pb2.STATE_CANCELLED
    cancelled = time.monotonic()
    if feature == "test_stubborn":
        await until(lambda: not all(map(_lives, children)), "the child to be gone", within(_KILL_SECONDS))

    async def free() -> bool:
        node = (await doors.announced()).get(host)
        return node is not None and node.busy == 0

    await until(free, "the slot to be free", within(_KILL_SECONDS))
    seconds = time.monotonic() - cancelled
    assert await check(doors, [job_id]) == {"CANCELLED": 1}
    record(f"cancelled while running, {feature}", seconds_until_child_rests=round(seconds, 2))
    assert seconds <= within(_KILL_SECONDS)


async def _host(doors: Doors) -> str | None:
    busy = [name for name, node in (await doors.announced()).items() if node.busy]
    return busy[0] if busy else None


async def _has_started(doors: Doors, job_id: str) -> bool:
    return (await read_job(doors, job_id)).state == jobs_pb2.STATE_RUNNING


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.timeout(180 * SCALE)
async def test_cancels_that_race_completion_leave_one_terminal_state_and_one_terminal_event(
    doors: Doors,
) -> None:
    rng = chance("cancel races")
    counts: Counter[str] = Counter()
    for _ in range(SCALE):
        counts += await _one_round(doors, rng)
    record("cancels racing completion", **{k.lower(): v for k, v in sorted(counts.items())})


async def _one_round(doors: Doors, rng: random.Random) -> Counter[str]:
    job_ids = await asyncio.gather(*(submit(doors, seed=number) for number in range(_RACES)))
    answers = await asyncio.gather(*(_race(doors, job_id, random.Random(rng.random())) for job_id in job_ids))
    counts = await check(doors, job_ids)
    for job_id, answered, watched in answers:
        assert watched == [answered], f"{job_id}: told {answered}, watchers saw {watched}"
    assert counts["SUCCEEDED"] + counts["CANCELLED"] == _RACES
    return counts


async def _race(doors: Doors, job_id: str, rng: random.Random) -> tuple[str, int, list[int]]:
    """Cancel at a moment of the job's life; return what the call said and what a watcher saw."""
    # Most at the end, where the race is: the last step of ten is reported at .9.
    moment = rng.choice([0.0, 0.5, 0.9, 0.9, 0.9, 0.9])
    delay = rng.uniform(0.0, 0.03)
    cancelling: asyncio.Task[jobs_pb2.Job] | None = None
    finals: list[int] = []

    async def strike() -> jobs_pb2.Job:
        await asyncio.sleep(delay)
        return await cancel(doors, job_id)

    events = doors.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key_of(job_id)), timeout=150)
    try:
        async for answer in events:
            event = answer.event
            if cancelling is None and event.job.progress.fraction >= moment:
                cancelling = asyncio.create_task(strike())
            if event.type in _FINAL:
                assert event.job.state == _FINAL[event.type]
                finals.append(event.job.state)
    except grpc.aio.AioRpcError as error:
        raise AssertionError(f"watch of {job_id} broke: {error.details()}") from error
    cancelled = await (cancelling or strike())
    return job_id, cancelled.state, finals


async def test_no_worker_is_left_over_after_all_that(doors: Doors) -> None:
    await until(doors.at_rest, "the nodes to be at rest")
    for name in NODES:
        slots = doors.mesh.settings.capability.slots
        assert len([child for child in doors.workers(name) if _lives(child)]) <= slots
