"""The animation node is killed, paused and its jobs cancelled: every job ends as it should."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from maquette.cli.processes import node_row
from services.animation.motion.figure import FIGURE
from tests.chaos.animation_engines import SLOW_MODEL
from tests.support.characters import splinters
from tests.support.mesh import RunningMesh, running_mesh

ANIMATIONS = "/v1/animations"
SPARE = "animation-2"
LEASE_SECONDS = 5.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[RunningMesh]:
    capability = {"slots": 1, "extra_engines": {"animation": ["tests.chaos.animation_engines:engines"]}}
    jobs = {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.5}
    with running_mesh(
        without=("meshgen", "rigging"),
        also=lambda settings: [node_row(settings, "animation", 2)],
        capability=capability,
        jobs=jobs,
    ) as running:
        # The second node is a spare: what is asked for runs on the first until a test says otherwise.
        running.hold(SPARE)
        yield running


@pytest.fixture(scope="module")
def file_id(mesh: RunningMesh) -> str:
    files = {"file": ("person.glb", splinters(FIGURE))}
    return str(mesh.http.post("/api/v1/file-upload/mesh", files=files).json()["file_id"])


@pytest.fixture
def ready(mesh: RunningMesh) -> None:
    """All engines are known, and the library is told."""
    mesh.until(lambda: SLOW_MODEL in models(mesh), "the engines to be known", 90)
    mesh.until(lambda: mesh.http.get(ANIMATIONS).status_code == 200, "the library to be told", 90)


def models(mesh: RunningMesh) -> dict[str, Any]:
    told: dict[str, Any] = mesh.http.get("/api/v1/system/scheduler-status").json()["scheduler"]["models"]
    return told


def submit(mesh: RunningMesh, file_id: str, model: str) -> str:
    body = {"character_file_id": file_id, "motions": ["march"], "model_preference": model, "fallback": "deny"}
    deadline = time.monotonic() + 90.0
    while (answer := mesh.http.post(ANIMATIONS, json=body)).status_code == 503:
        # A node that comes back is known a moment later.
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    return f"/api/v1/system/jobs/{answer.json()['job_id']}"


def until(
    mesh: RunningMesh, job: str, *, status: str, stage: str = "", attempt: int = 0, seconds: float = 120.0
) -> dict[str, Any]:
    """Poll until the job stands so; fail when it has ended otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        body: dict[str, Any] = mesh.http.get(job).json()
        told = body["metadata"]
        if body["status"] == status and stage in (told["stage"] or "") and told["attempt"] >= attempt:
            return body
        ended = body["status"] in ("completed", "failed")
        assert not ended and time.monotonic() < deadline, body
        time.sleep(0.02)


@pytest.mark.usefixtures("ready")
def test_a_job_outlives_the_node_that_is_killed_under_it(mesh: RunningMesh, file_id: str) -> None:
    job = submit(mesh, file_id, SLOW_MODEL)
    until(mesh, job, status="processing", stage="sleeping")
    mesh.kill("animation")
    listed = mesh.http.get(ANIMATIONS, params={"search": "walk"})
    assert listed.status_code == 200 and listed.json()["total"] > 0, "the gateway remembers the library"
    done = until(mesh, job, status="completed")
    assert done["metadata"]["attempt"] == 2 and done["retry_count"] == 1

    real = until(mesh, submit(mesh, file_id, "motion_library"), status="completed")
    assert [clip["name"] for clip in real["result"]["generation_info"]["animations"]] == ["march"]


@pytest.mark.usefixtures("ready")
def test_a_node_paused_past_its_lease_publishes_nothing_twice(mesh: RunningMesh, file_id: str) -> None:
    job = submit(mesh, file_id, SLOW_MODEL)
    until(mesh, job, status="processing", stage="sleeping")
    zombie = mesh.kill("animation", signal.SIGSTOP)
    try:
        # Its lease runs out while it cannot know, and another node takes the job.
        mesh.release(SPARE)
        done = until(mesh, job, status="completed")
    finally:
        mesh.kill("animation", signal.SIGCONT)
    assert done["metadata"]["attempt"] == 2
    assert [file["role"] for file in done["result"]["files"]].count("mesh") == 1

    mesh.hold(SPARE)
    mesh.until(lambda: SLOW_MODEL in models(mesh), "the first node to be known again", 90)
    until(mesh, submit(mesh, file_id, "motion_library"), status="completed")
    assert mesh.pid("animation") == zombie, "it was only paused, and works on"
    assert mesh.http.get(job).json() == done, "and has changed nothing"


@pytest.mark.usefixtures("ready")
def test_a_cancelled_job_stops_and_frees_the_node(mesh: RunningMesh, file_id: str) -> None:
    job = submit(mesh, file_id, SLOW_MODEL)
    until(mesh, job, status="processing", stage="sleeping")
    assert mesh.http.post(f"{job}/cancel").json()["cancelled"]
    body = until(mesh, job, status="failed")
    assert body["error"] == "Job was cancelled" and body["result"] is None
    until(mesh, submit(mesh, file_id, "motion_library"), status="completed")
