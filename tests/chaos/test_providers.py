"""A picture's way to a moving character at a remote provider while services are killed: each of its tasks
is made, and paid for, once; and what is cancelled is given up there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.supervisor.process import ProcessSpec
from tests.chaos.doors import Doors, open_doors, until
from tests.chaos.pipeline_node import ENGINES
from tests.chaos.pipelines import Follower, check_steps, check_trace
from tests.chaos.scale import SCALE, chance, record
from tests.chaos.submitting import again, key_of
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.meshy import ANIMATIONS, IMAGE, KEY, RETEXTURE, RIGGING, FakeMeshy, Task

VICTIMS = ("meshgen", "jobs", "rigging", "animation", "storage", "gateway")
_REMOTE = ("meshy_image_to_3d", "meshy_retexture", "meshy_rigging", "meshy_animation")
_HELD = [("IN_PROGRESS", n) for n in (0, 15, 34, 58)] + [("IN_PROGRESS", 76)] * 1_000_000
_DONE = [("IN_PROGRESS", 89), ("SUCCEEDED", 100)]
_PATHS = {"meshgen": (IMAGE, RETEXTURE), "rigging": (RIGGING,), "animation": (ANIMATIONS,)}
_FEATURES = {
    "meshgen": ("image_to_textured_mesh", "retexture"),
    "rigging": ("auto_rig",),
    "animation": ("animate",),
}
_PAUSES = {"back_off_seconds": 0.1, "queue_seconds": 0.5}
# Steps whose task at the provider the ledger knows, or needs to know no more.
_KNOWN = """SELECT count(*) AS n FROM ledger.task WHERE job_id = ANY ($1) AND feature = ANY ($2)
      AND (state = 'SUCCEEDED' OR checkpoint <> '{}')"""
_LABELS = {IMAGE: "3D Generation", RIGGING: "Rigging", RETEXTURE: "Retexturing", ANIMATIONS: "Animation 106"}


def _with_providers(row: ProcessSpec) -> ProcessSpec:
    if row.name not in ENGINES:
        return row
    return replace(row, command=lambda: [sys.executable, "-P", "-m", "tests.chaos.provider_node", row.name])


@pytest.fixture(scope="module")
def meshy() -> Iterator[FakeMeshy]:
    """The provider, which outlives whatever is killed."""
    fake = FakeMeshy()
    with fake.serving():
        yield fake


@pytest.fixture(scope="module")
def mesh(meshy: FakeMeshy) -> Iterator[RunningMesh]:
    """A mesh whose pipeline runs at the provider."""
    sections: dict[str, Any] = {
        "jobs": {"lease_seconds": 2.0, "heartbeat_seconds": 0.5},
        "capability": {"slots": 1, "threads_per_slot": 1},
        "meshy": {"api_key": KEY, "base_url": meshy.url, "poll_seconds": 0.3, **_PAUSES},
        "pipeline": {
            "mesh_engine": "meshy_image_to_3d",
            "retexture_engine": "meshy_retexture",
            "rig_engine": "meshy_rigging",
            "animation_engine": "meshy_animation",
        },
        "telemetry": {"log_level": "debug"},
    }
    with running_mesh(adapt=_with_providers, **sections) as running:
        yield running


@pytest.fixture
async def doors(mesh: RunningMesh, meshy: FakeMeshy) -> AsyncIterator[Doors]:
    meshy.steps.clear()
    async with open_doors(mesh) as opened:
        await until(lambda: _complete(opened), "every remote engine to be there", 90.0)
        yield opened


async def _complete(doors: Doors) -> bool:
    if not doors.all_ready():
        return False
    answer = await doors.nodes.ListNodes(jobs_pb2.ListNodesRequest(), timeout=5, wait_for_ready=True)
    found = {
        engine.id
        for node in answer.nodes
        for engine in node.engines
        if engine.state != capability_pb2.ENGINE_STATE_UNAVAILABLE
    }
    return set(_REMOTE) <= found and "storage" in {node.capability for node in answer.nodes}


async def _held(meshy: FakeMeshy, path: str, known: Sequence[Task]) -> Task:
    """Wait until a new task is polled, and has shown its numbers."""

    def found() -> Task | None:
        new = [task for task in meshy.made(path) if task not in known]
        return new[0] if new and new[0].progress == 76 else None

    task: Task = await until(found, f"a task of {path} to be polled", 120.0)
    return task


async def _polled_again(meshy: FakeMeshy, task: Task) -> None:
    seen = meshy.count("GET", f"{task.path}/{task.id}")
    await until(
        lambda: meshy.count("GET", f"{task.path}/{task.id}") > seen + 1, "the task to be polled again", 120.0
    )


@pytest.mark.timeout(400)
@pytest.mark.parametrize("shift", range(1 if SCALE == 1 else len(VICTIMS)))
async def test_whoever_dies_in_mid_poll_no_task_of_the_provider_is_made_twice(
    doors: Doors, meshy: FakeMeshy, shift: int
) -> None:
    """One service in each phase; a larger scale kills each service in each phase."""
    paths = (IMAGE, RETEXTURE, RIGGING, ANIMATIONS)
    known = {path: meshy.made(path) for path in paths}
    meshy.steps |= dict.fromkeys(paths, _HELD)
    follower = Follower(doors.http)
    await follower.start(animation_ids="106", use_retexture="true")
    for number, path in enumerate(paths):
        victim = VICTIMS[(number + shift) % len(VICTIMS)]
        task = await _held(meshy, path, known[path])
        assert await follower.reach(f"{_LABELS[path]}: IN_PROGRESS (76%)")
        before = doors.mesh.kill(victim)
        await until(lambda v=victim, pid=before: doors.mesh.pids().get(v) not in (None, pid), victim, 60.0)
        await _polled_again(meshy, task)
        task.steps = list(_DONE)
    body = await follower.end()
    assert body["status"] == "completed", body
    assert body["result"]["rigging_status"] == "completed" and body["result"]["total_animations"] == 1
    assert body["result"]["animation_urls"][0]["raw_anim_fbx"]
    for path in paths:
        assert len(meshy.made(path)) == len(known[path]) + 1, path
    assert not meshy.count("DELETE"), "what is to go on is not given up"
    left = [name for _, folders, _ in os.walk(doors.mesh.settings.tmp_dir) for name in folders]
    assert "work" in left and not [name for name in left if name.startswith("remote-")]
    check_trace(follower.trace)


@pytest.mark.timeout(400 * SCALE)
async def test_many_jobs_pay_for_each_step_once_while_everybody_is_killed_in_turn(
    doors: Doors, meshy: FakeMeshy
) -> None:
    """At random moments, but for nodes: those not between a request that makes a task and its answer."""
    random = chance("provider pipelines")
    known = {path: len(meshy.made(path)) for path in _LABELS}
    forms = [{"use_retexture": "true"}, {}, {"animation_ids": "30"}]
    followers = [Follower(doors.http) for _ in range(3 * SCALE)]
    job_ids = await asyncio.gather(*(each.start(**forms[n % 3]) for n, each in enumerate(followers)))
    ends = asyncio.gather(*(follower.end() for follower in followers))
    kills, most = 0, 2 if SCALE == 1 else 4 * SCALE
    while kills < most and not ends.done():
        await asyncio.sleep(random.uniform(0.1, 0.6))
        victim = random.choice(VICTIMS)
        async with _nothing_being_made(doors, meshy, victim, job_ids, known):
            await asyncio.to_thread(doors.mesh.kill_and_wait, victim, 60.0)
        kills += 1
    for number, done in enumerate(await ends):
        assert done["status"] == "completed", done
        numbers = (30,) if number % 3 == 2 else (106, 30)
        assert [move["action_id"] for move in done["result"]["animation_urls"]] == list(numbers)
        painted = ["retexture", "publish_retexture"] if number % 3 == 0 else []
        moved = [f"{kind}_{n}" for n in numbers for kind in ("anim", "publish_anim")]
        steps = ["mesh", "publish", *painted, "rig", "publish_rig", *moved]
        await check_steps(doors, job_ids[number], steps)
        check_trace(followers[number].trace)
    made = {path: len(meshy.made(path)) - before for path, before in known.items()}
    assert made == {IMAGE: 3 * SCALE, RETEXTURE: SCALE, RIGGING: 3 * SCALE, ANIMATIONS: 5 * SCALE}
    assert not meshy.count("DELETE"), "what is to go on is not given up"
    record("provider pipelines survive kills", jobs=len(followers), kills=kills, paid=sum(made.values()))


@asynccontextmanager
async def _nothing_being_made(
    doors: Doors, meshy: FakeMeshy, victim: str, job_ids: Sequence[str], known: Mapping[str, int]
) -> AsyncIterator[None]:
    """Let the provider take no task meanwhile, once the ledger knows all that this node made."""
    keys, features = [UUID(job_id) for job_id in job_ids], _FEATURES.get(victim, ())

    async def told() -> bool:
        [row] = await doors.sql(_KNOWN, keys, list(features))
        made = sum(len(meshy.made(path)) - known[path] for path in _PATHS.get(victim, ()))
        return bool(row["n"] == made)

    with meshy.lock:
        meshy.closed = bool(features)
    try:
        await until(told, f"the ledger to know what {victim} made, once each", 120.0)
        yield
    finally:
        meshy.closed = False


@pytest.mark.timeout(200)
@pytest.mark.parametrize("path", [IMAGE, RIGGING] if SCALE == 1 else [IMAGE, RETEXTURE, RIGGING, ANIMATIONS])
async def test_a_job_cancelled_in_any_phase_gives_up_its_task_at_the_provider(
    doors: Doors, meshy: FakeMeshy, path: str
) -> None:
    known, given_up = meshy.made(path), meshy.count("DELETE")
    meshy.steps[path] = _HELD
    follower = Follower(doors.http)
    await follower.start(animation_ids="30", use_retexture="true")
    task = await _held(meshy, path, known)
    await again(doors.jobs.CancelJob, jobs_pb2.CancelJobRequest(key=key_of(follower.job_id)))
    await until(lambda: task.deleted, "the task to be deleted", 60.0)
    assert meshy.count("DELETE") == given_up + 1, "and no other"
    assert meshy.made(path) == [*known, task]


async def test_no_process_writes_the_key_or_a_signed_url_down(doors: Doors, meshy: FakeMeshy) -> None:
    data = doors.mesh.settings.data_dir
    logs = [path for path in data.rglob("*.log") if path.is_file()]
    assert any("meshgen" in path.name for path in logs)
    for path in logs:
        text = path.read_text(errors="replace")
        assert KEY not in text and "s1gn4ture" not in text, path.name
    for table in ("ledger.job", "ledger.task", "ledger.job_event", "ledger.artifact"):
        rows = await doors.sql(f"SELECT r::text AS text FROM {table} r")
        assert not [row for row in rows if KEY in row["text"] or "s1gn4ture" in row["text"]], table
