"""The rigging node is killed and its jobs cancelled: every job ends as it should."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from maquette.geometry.codecs import encode
from tests.chaos.rigging_engines import SLOW_MODEL
from tests.support.figures import humanoid
from tests.support.mesh import RunningMesh, running_mesh

RIG = "/api/v1/auto-rigging/generate-rig"


@pytest.fixture(scope="module")
def mesh() -> Iterator[RunningMesh]:
    capability = {"slots": 1, "extra_engines": {"rigging": ["tests.chaos.rigging_engines:engines"]}}
    jobs = {"lease_seconds": 5.0, "heartbeat_seconds": 0.5}
    with running_mesh(without=("meshgen", "animation"), capability=capability, jobs=jobs) as running:
        yield running


@pytest.fixture(scope="module")
def file_id(mesh: RunningMesh) -> str:
    data = encode(humanoid(), "glb")[0].data
    return str(mesh.http.post("/api/v1/file-upload/mesh", files={"file": ("p.glb", data)}).json()["file_id"])


def submit(mesh: RunningMesh, file_id: str, model: str) -> str:
    body = {"mesh_file_id": file_id, "output_format": "glb", "rig_mode": "full", "model_preference": model}
    answer = mesh.http.post(RIG, json={**body, "fallback": "deny"})
    assert answer.status_code == 200, answer.text
    return f"/api/v1/system/jobs/{answer.json()['job_id']}"


def until(
    mesh: RunningMesh, job: str, *, status: str, stage: str = "", seconds: float = 90.0
) -> dict[str, Any]:
    """Poll until the job stands so; fail when it has ended otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        body: dict[str, Any] = mesh.http.get(job).json()
        if body["status"] == status and stage in (body["metadata"]["stage"] or ""):
            return body
        ended = body["status"] in ("completed", "failed")
        assert not ended and time.monotonic() < deadline, body
        time.sleep(0.02)


def offers(mesh: RunningMesh, model: str) -> bool:
    return model in mesh.http.get("/api/v1/system/scheduler-status").json()["scheduler"]["models"]


def test_a_job_outlives_the_node_that_is_killed_under_it(mesh: RunningMesh, file_id: str) -> None:
    mesh.until(lambda: offers(mesh, SLOW_MODEL), "the engines to be known", 60)
    job = submit(mesh, file_id, SLOW_MODEL)
    until(mesh, job, status="processing", stage="sleeping")
    mesh.kill_and_wait("rigging", 60)
    done = until(mesh, job, status="completed")
    assert done["metadata"]["attempt"] == 2 and done["retry_count"] == 1

    real = submit(mesh, file_id, "limb_graph")
    rigged = until(mesh, real, status="completed")
    assert rigged["result"]["bone_count"] > 10 and rigged["result"]["rig_info"]["has_skinning"]


def test_a_cancelled_job_stops_and_frees_the_node(mesh: RunningMesh, file_id: str) -> None:
    mesh.until(lambda: offers(mesh, SLOW_MODEL), "the engines to be known", 60)
    job = submit(mesh, file_id, SLOW_MODEL)
    until(mesh, job, status="processing", stage="sleeping")
    assert mesh.http.post(f"{job}/cancel").json()["cancelled"]
    body = until(mesh, job, status="failed")
    assert body["error"] == "Job was cancelled" and body["result"] is None
    following = submit(mesh, file_id, "limb_graph")
    until(mesh, following, status="completed")
