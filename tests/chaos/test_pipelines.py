"""From one picture to a moving character while services are killed: the job ends, no finished step runs
again, nothing is published twice; and cancelling in any phase ends it there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from maquette.runtime.supervisor.process import ProcessSpec
from tests.chaos.doors import Doors, open_doors, until
from tests.chaos.pipeline_node import BROKEN_MOTION, ENGINES, FEATURES, UNRIGGABLE_HEIGHT
from tests.chaos.pipelines import (
    RAN_AGAIN,
    STEPS,
    VICTIMS,
    Follower,
    check_reads,
    check_steps,
    check_trace,
)
from tests.chaos.scale import SCALE, chance, record
from tests.support.mesh import RunningMesh, running_mesh

pytestmark = pytest.mark.timeout(400)

PHASES = {
    "mesh": "Generating 3D model",
    "upload": "Uploading model|Model uploaded",
    "rig": "Creating character rig",
    "rigged": "Rigging: SUCCEEDED",
    "first animation": "Creating animation 106",
    "last animation": "Creating animation 30|Animation 106 completed",
}
"""What `/status` says in each phase, and between two."""
PAIRS = [
    ("meshgen", "mesh"),
    ("storage", "upload"),
    ("rigging", "rig"),
    ("gateway", "rigged"),
    ("jobs", "first animation"),
    ("animation", "last animation"),
]
"""Each service once and each phase once; a larger scale takes all pairs."""
_OPEN = "SELECT 1 FROM ledger.task WHERE job_id = $1 AND state IN ('QUEUED', 'RUNNING')"


def _with_steps(row: ProcessSpec) -> ProcessSpec:
    if row.name not in ENGINES:
        return row
    return replace(row, command=lambda: [sys.executable, "-P", "-m", "tests.chaos.pipeline_node", row.name])


@pytest.fixture(scope="module")
def mesh() -> Iterator[RunningMesh]:
    """A mesh with quick engines, leases of two seconds and one node a capability."""
    sections: dict[str, Any] = {
        "jobs": {"lease_seconds": 2.0, "heartbeat_seconds": 0.5},
        "capability": {"slots": 2, "threads_per_slot": 1},
    }
    with running_mesh(adapt=_with_steps, **sections) as running:
        yield running


@pytest.fixture
async def doors(mesh: RunningMesh) -> AsyncIterator[Doors]:
    async with open_doors(mesh) as opened:
        await until(lambda: _complete(opened), "every step to have an engine", 90.0)
        yield opened


async def _complete(doors: Doors) -> bool:
    from maquette.api.jobs.v1 import jobs_pb2

    if not doors.all_ready():
        return False
    answer = await doors.nodes.ListNodes(jobs_pb2.ListNodesRequest(), timeout=5, wait_for_ready=True)
    found = {feature for node in answer.nodes for engine in node.engines for feature in engine.features}
    return {*FEATURES, "publish"} <= found


@pytest.mark.parametrize(
    ("victim", "phase"),
    PAIRS if SCALE == 1 else [(victim, phase) for victim in VICTIMS for phase in PHASES],
)
async def test_a_job_outlives_whoever_is_killed_in_any_phase(doors: Doors, victim: str, phase: str) -> None:
    for _ in range(max(1, SCALE // 4)):
        follower = Follower(doors.http)
        await follower.start()
        await follower.reach(PHASES[phase])
        await asyncio.to_thread(doors.mesh.kill_and_wait, victim, 60.0)
        done = await follower.end()
        assert done["status"] == "completed", done
        assert [move["action_id"] for move in done["result"]["animation_urls"]] == [106, 30]
        check_trace(follower.trace)
        await check_steps(doors, follower.job_id, STEPS)
        await check_reads(doors, follower.job_id, STEPS)
        for link in (done["result"]["model_url"], done["result"]["s3_direct_url"]):
            path = link.partition(str(doors.mesh.settings.port))[2]
            await until(lambda path=path: _opens(doors, path), f"{path} to open", 60.0)


async def _opens(doors: Doors, path: str) -> bool:
    try:
        return (await doors.http.get(path)).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(400 * SCALE)
async def test_jobs_end_while_everybody_is_killed_in_turn(doors: Doors) -> None:
    """Several jobs at once, some of which fail softly, under kills at random moments."""
    random = chance("pipelines")
    forms: list[dict[str, str]] = [
        {},
        {"height_meters": str(UNRIGGABLE_HEIGHT)},
        {"animation_ids": f"106,{BROKEN_MOTION}"},
        {"animation_ids": ""},
    ]
    steps = {
        0: STEPS,
        1: STEPS[:2],
        2: STEPS[:6],
        3: STEPS[:2],
    }
    followers = [Follower(doors.http) for _ in range(4 * SCALE)]
    await asyncio.gather(*(follower.start(**forms[number % 4]) for number, follower in enumerate(followers)))
    ends = asyncio.gather(*(follower.end() for follower in followers))
    kills = 0
    while kills < 4 * SCALE and not ends.done():
        await asyncio.sleep(random.uniform(0.1, 0.6))
        await asyncio.to_thread(doors.mesh.kill_and_wait, random.choice(VICTIMS), 60.0)
        kills += 1
    for number, done in enumerate(await ends):
        result = done["result"]
        assert done["status"] == "completed", done
        told = {0: "completed", 1: "failed", 2: "completed", 3: "skipped"}[number % 4]
        assert result["rigging_status"] == told
        if number % 4 == 1:
            assert result["rigging_error"] == "Pose estimation failed"
        if number % 4 == 2:
            assert [move["action_id"] for move in result["animation_urls"]] == [106]
            assert f"Animation {BROKEN_MOTION} failed: the motion is broken" in result["warnings"]
        await check_steps(doors, followers[number].job_id, steps[number % 4])
        await check_reads(doors, followers[number].job_id, steps[number % 4])
    record("pipelines survive kills", jobs=len(followers), kills=kills)


@pytest.mark.parametrize("phase", ["mesh", "upload", "rig", "first animation", "last animation"])
async def test_a_job_is_cancelled_in_any_phase(doors: Doors, phase: str) -> None:
    follower = Follower(doors.http)
    job_id = await follower.start()
    if not await follower.reach(PHASES[phase]):
        return  # it was over before we saw that phase: nothing is left to cancel
    answer = (await doors.http.delete(f"/jobs/{job_id}")).json()
    ended = await follower.end()
    assert ended["status"] == answer["status"]
    if ended["status"] == "completed":
        return  # it was over before the word reached it
    assert ended["message"] == "Job was cancelled"
    assert not await doors.sql(_OPEN, UUID(job_id))
    await until(lambda: _idle(doors), "the nodes to be idle", 60.0)
    assert not await doors.sql(RAN_AGAIN, UUID(job_id))


async def _idle(doors: Doors) -> bool:
    from maquette.api.jobs.v1 import jobs_pb2

    answer = await doors.nodes.ListNodes(jobs_pb2.ListNodesRequest(), timeout=5, wait_for_ready=True)
    return not any(node.busy for node in answer.nodes)
