"""Capability nodes that die, and that come back from the dead."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from tests.chaos.doors import LEASE_SECONDS, NODES, Doors, until
from tests.chaos.engines import bytes_for
from tests.chaos.invariants import check, last_success, states, wait_until_ended
from tests.chaos.scale import SCALE, chance, record, within
from tests.chaos.submitting import again, read_job, submit

_JOBS = 200
_LAST = 10
"""Jobs that come in right before the last kill: they are what is timed after it."""
_LIFE_SECONDS = 0.7
"""A node may work this long before it is killed: on a slow machine too there is progress."""
_MOST_KILLS = 120 * SCALE
_ENDED = (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED)


@pytest.mark.timeout(300 * SCALE)
async def test_no_job_is_lost_or_done_twice_while_nodes_are_killed_every_second(doors: Doors) -> None:
    chance("nodes killed")
    killer = _Killer(doors)
    job_ids: list[str] = []
    for _ in range(SCALE):
        first = len(job_ids)
        job_ids += await asyncio.gather(
            *(submit(doors, seed=number) for number in range(first, first + _JOBS - _LAST))
        )
        await killer.kill_every_second(job_ids[first:])
    await until(killer.both_work, "both nodes to work again", 60)
    first = len(job_ids)
    job_ids += await asyncio.gather(*(submit(doors, seed=number) for number in range(first, first + _LAST)))
    last_kill = killer.kill(await until(lambda: _host(doors), "a node to work"))
    await wait_until_ended(doors, job_ids)

    contents = {job_id: bytes_for(number) for number, job_id in enumerate(job_ids)}
    assert await check(doors, job_ids, contents=contents) == {"SUCCEEDED": len(job_ids)}
    assert killer.kills >= 5, "too few kills to promise anything"
    late = (await last_success(doors, job_ids) - last_kill).total_seconds() / LEASE_SECONDS
    record(
        "nodes killed every second",
        jobs=len(job_ids),
        kills=killer.kills,
        last_success_after_last_kill_leases=round(late, 2),
    )
    assert late <= within(3.0)


class _Killer:
    """Kills nodes in turns, at most one a second."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._since: dict[str, float] = {}
        self.kills = 0

    def kill(self, name: str) -> datetime:
        """Kill a node and return when."""
        self._doors.mesh.kill(name)
        self.kills += 1
        return datetime.now(UTC)

    async def both_work(self) -> bool:
        """Tell whether both nodes could work for a while."""
        return len(await self._working()) == len(NODES)

    async def kill_every_second(self, job_ids: Sequence[str]) -> None:
        """Kill the nodes in turns until no job is left."""
        turn, began = 0, time.monotonic()
        while self.kills < _MOST_KILLS:
            counts = await states(self._doors, job_ids)
            if not counts["QUEUED"] + counts["RUNNING"]:
                return
            working = await self._working()
            victim = next((name for name in (NODES[turn], NODES[1 - turn]) if name in working), None)
            if victim is not None and time.monotonic() - began >= 1.0:
                began = time.monotonic()
                self.kill(victim)
                turn = 1 - NODES.index(victim)
            await asyncio.sleep(0.05)

    async def _working(self) -> set[str]:
        """Return the nodes whose workers have been ready for a while."""
        now, working = time.monotonic(), set()
        for name, node in (await self._doors.announced()).items():
            loaded = any(engine.state == capability_pb2.ENGINE_STATE_LOADED for engine in node.engines)
            if loaded and now - self._since.setdefault(node.id, now) >= _LIFE_SECONDS:
                working.add(name)
        return working & {name for name in NODES if self._doors.ready_for(name) > 0}


async def _refused(doors: Doors) -> int:
    answer = await again(doors.jobs.GetQueueStats, jobs_pb2.GetQueueStatsRequest())
    return int(answer.refused_commits)


async def _host(doors: Doors) -> str | None:
    """Return the node that works."""
    busy = [name for name, node in (await doors.announced()).items() if node.busy]
    return busy[0] if busy else None


@pytest.mark.parametrize("feature", ["chaos_sleep", "test_stubborn"])
async def test_a_paused_node_is_refused_with_lease_lost_and_publishes_nothing(
    doors: Doors, feature: str
) -> None:
    """Once with an engine that reports all the time, once with one that says nothing at all."""
    refused_before = await _refused(doors)
    job_id = await submit(doors, feature, seed=4, seconds=1.5)
    zombie = await until(lambda: _host(doors), "a node to work on the job")
    doors.mesh.kill(zombie, signal.SIGSTOP)
    try:
        # Its lease runs out, and the other node begins; by then the zombie's worker has the result.
        await until(lambda: _is_second(doors, job_id), "a second attempt")
    finally:
        doors.mesh.kill(zombie, signal.SIGCONT)

    async def refused() -> bool:
        return await _refused(doors) > refused_before

    await until(refused, "the zombie to be refused")
    await wait_until_ended(doors, [job_id])
    assert "LEASE_LOST" in doors.mesh.log("jobs")
    done = await read_job(doors, job_id)
    await until(doors.at_rest, "the zombie to be at rest")
    assert await check(doors, [job_id]) == {"SUCCEEDED": 1}
    after = await read_job(doors, job_id)
    assert (after.seq, after.attempt, after.result) == (done.seq, done.attempt, done.result)
    record(f"paused node, {feature}", refused=await _refused(doors) - refused_before)


async def _is_second(doors: Doors, job_id: str) -> bool:
    job = await read_job(doors, job_id)
    assert job.state not in _ENDED, "the job ended before its second attempt began"
    return job.attempt >= 2


async def test_a_node_that_comes_back_after_its_job_was_done_elsewhere_changes_nothing(doors: Doors) -> None:
    job_id = await submit(doors, seed=5, seconds=1.0)
    zombie = await until(lambda: _host(doors), "a node to work on the job")
    doors.mesh.kill(zombie, signal.SIGSTOP)
    try:
        await wait_until_ended(doors, [job_id])
        done = await read_job(doors, job_id)
    finally:
        doors.mesh.kill(zombie, signal.SIGCONT)
    assert done.state == jobs_pb2.STATE_SUCCEEDED
    assert done.attempt >= 2
    await until(doors.at_rest, "the zombie to be at rest")
    assert await check(doors, [job_id], contents={job_id: bytes_for(5)}) == {"SUCCEEDED": 1}
    assert await read_job(doors, job_id) == done
