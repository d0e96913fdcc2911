"""A picture's way to a moving character at a remote provider while services are killed: each of its tasks
is made, and paid for, once; and what is cancelled is given up there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.supervisor.process import ProcessSpec
from tests.chaos.doors import Doors, open_doors, until
from tests.chaos.pipeline_node import ENGINES
from tests.chaos.submitting import again, key_of
from tests.chaos.test_pipelines import Follower
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.meshy import ANIMATIONS, IMAGE, KEY, RETEXTURE, RIGGING, FakeMeshy, Task

_REMOTE = ("meshy_image_to_3d", "meshy_retexture", "meshy_rigging", "meshy_animation")
_HELD = [("IN_PROGRESS", n) for n in (0, 15, 34, 58)] + [("IN_PROGRESS", 76)] * 1_000_000
_DONE = [("IN_PROGRESS", 89), ("SUCCEEDED", 100)]
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
        "meshy": {"api_key": KEY, "base_url": meshy.url, "poll_seconds": 0.3},
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
async def test_whoever_dies_in_mid_poll_no_task_of_the_provider_is_made_twice(
    doors: Doors, meshy: FakeMeshy
) -> None:
    for path in (IMAGE, RETEXTURE, RIGGING, ANIMATIONS):
        meshy.steps[path] = _HELD
    follower = Follower(doors.http)
    await follower.start(animation_ids="106", use_retexture="true")
    victims = {IMAGE: "meshgen", RETEXTURE: "jobs", RIGGING: "rigging", ANIMATIONS: "animation"}
    for path, victim in victims.items():
        task = await _held(meshy, path, ())
        label = _LABELS[path]
        assert await follower.reach(f"{label}: IN_PROGRESS (76%)")
        before = doors.mesh.kill(victim)
        await until(lambda v=victim, pid=before: doors.mesh.pids().get(v) not in (None, pid), victim, 60.0)
        await _polled_again(meshy, task)
        task.steps = list(_DONE)
    body = await follower.end()
    assert body["status"] == "completed", body
    assert body["result"]["rigging_status"] == "completed" and body["result"]["total_animations"] == 1
    assert body["result"]["animation_urls"][0]["raw_anim_fbx"]
    for path in victims:
        assert len(meshy.made(path)) == 1, path
    assert not meshy.count("DELETE"), "what is to go on is not given up"
    left = [name for _, folders, _ in os.walk(doors.mesh.settings.tmp_dir) for name in folders]
    assert "work" in left and not [name for name in left if name.startswith("remote-")]
    shown = [progress for _, progress, _ in follower.trace]
    assert shown == sorted(shown)


@pytest.mark.timeout(200)
async def test_a_cancelled_job_gives_up_its_task_at_the_provider(doors: Doors, meshy: FakeMeshy) -> None:
    known = meshy.made(IMAGE)
    meshy.steps[IMAGE] = _HELD
    follower = Follower(doors.http)
    await follower.start(animation_ids="30")
    task = await _held(meshy, IMAGE, known)
    await again(doors.jobs.CancelJob, jobs_pb2.CancelJobRequest(key=key_of(follower.job_id)))
    await until(lambda: task.deleted, "the task to be deleted", 60.0)
    assert meshy.count("DELETE", IMAGE) == 1
    assert not [other for other in meshy.made(IMAGE) if other not in (*known, task)]


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
