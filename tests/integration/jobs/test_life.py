"""A job's life from submit to result."""

from __future__ import annotations

from maquette.api.jobs.v1 import jobs_pb2
from tests.integration.jobs.harness import House, key, task


async def test_a_job_runs_and_its_paths_resolve(house: House) -> None:
    node = await house.node()
    job = await house.submit()
    assert job.state == jobs_pb2.STATE_QUEUED
    done = await house.ended(job)
    assert done.state == jobs_pb2.STATE_SUCCEEDED, done
    assert done.result.model_used == "test"
    assert done.progress.fraction == 1.0
    assert [a.path for a in done.result.artifacts] == [
        f"/outputs/meshes/mesh_{job.id}.glb",
        f"/outputs/thumbnails/mesh_{job.id}_thumb.png",
    ]
    for artifact in done.result.artifacts:
        request = jobs_pb2.ResolvePathRequest(account_id="public", path=artifact.path)
        assert (await house.artifacts.ResolvePath(request)).artifact == artifact
    assert len(node.seen) == 1 and node.seen[0].attempt == 1
    assert await house.get(job) == done
    del key, task
