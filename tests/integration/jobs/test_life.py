"""A job's life from submit to result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.grants import verify
from maquette.runtime.secrets import load_secret
from tests.integration.jobs.harness import (
    DIGEST,
    House,
    Run,
    Said,
    accepted,
    engine,
    eventually,
    key,
    open_house,
    output,
    progress,
    result,
    takes,
    task,
)


def _from(name: str, role: str = "mesh") -> jobs_pb2.InputRef:
    return jobs_pb2.InputRef(role=role, output=jobs_pb2.InputRef.OutputRef(task=name, role=role))


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


async def test_the_grant_opens_the_tasks_own_inputs(house: House) -> None:
    node = await house.node()
    file = capability_pb2.TaskInput(digest="cd" * 32, size=5, filename="p.png")
    job = await house.submit(task(inputs=[jobs_pb2.InputRef(role="image", file=file)], seed=7))
    await house.ended(job)
    [seen] = node.seen
    grant = verify(load_secret(house.settings, "grants"), seen.grant, house.ledger.context.clock.now())
    assert (grant.inputs, grant.task_id) == (frozenset({"cd" * 32}), seen.task_id)
    assert (seen.inputs[0].role, seen.seed, seen.job_id) == ("image", 7, job.id)
    assert seen.heartbeat.ToSeconds() == house.settings.jobs.heartbeat_seconds


async def test_a_pipeline_hands_outputs_on_and_progress_is_weighed(house: House) -> None:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        yield progress(0.5, request.feature)
        made = {
            "mesh": [output("mesh", "model.glb", "aa" * 32)],
            "rig": [output("mesh", "model.glb", "bb" * 32)],
        }
        yield result(
            request,
            *made.get(request.feature, [output("clip", f"{request.task_id}.glb")]),
            **{request.feature: True},
        )

    node = await house.node(run, engines=(engine("test", "mesh", "rig", "clip"),))
    job = await house.submit(
        task("mesh", "mesh", weight=2),
        task("rig", "rig", inputs=[_from("mesh")]),
        task("walk", "clip", inputs=[_from("rig")], item="walk", weight=0.5),
        task("run", "clip", inputs=[_from("rig")], item="run", weight=0.5),
    )
    events = [answer.event async for answer in house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key(job)))]
    shown = [event.job.progress.fraction for event in events]
    assert shown == sorted(shown)
    assert [f for f in shown if 0 < f < 1][:2] == [0.25, 0.5]
    assert events[-1].type == jobs_pb2.EVENT_TYPE_SUCCEEDED
    digests = {request.feature: [entry.digest for entry in request.inputs] for request in node.seen}
    assert digests == {"mesh": [], "rig": ["aa" * 32], "clip": ["bb" * 32]}
    done = events[-1].job
    assert set(done.result.info.fields) == {"mesh", "rig", "clip"}
    # Earlier meshes stay reachable; the last one has the main path.
    paths = {artifact.task: artifact.path for artifact in done.result.artifacts}
    assert paths["rig"] == f"/outputs/meshes/mesh_{job.id}.glb"
    assert paths["mesh"] == f"/outputs/meshes/{job.id}/mesh/model.glb"
    assert len(set(paths.values())) == 4


async def test_a_step_that_may_fail_does_not_fail_the_job(house: House) -> None:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        if request.feature == "thumbnail":
            raise InvalidArgument("too dark", reason="INVALID_INPUT_FILE")
        yield result(request, output("mesh", "model.glb"))

    await house.node(run, engines=(engine("test", "mesh", "thumbnail"),))
    job = await house.submit(
        task("mesh", "mesh"),
        task("thumbnail", "thumbnail", inputs=[_from("mesh")], soft_fail=True),
        task("again", "mesh", after=["thumbnail"]),
    )
    done = await house.ended(job)
    assert done.state == jobs_pb2.STATE_SUCCEEDED
    assert list(done.result.warnings) == ["thumbnail: too dark"]


async def test_a_failing_step_ends_the_whole_job(house: House) -> None:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        if request.feature == "bad":
            raise InvalidArgument("not a picture", reason="INVALID_INPUT_FILE")
        await asyncio.sleep(30)
        yield result(request)

    node = await house.node(run, engines=(engine("test", "bad", "slow"),))
    job = await house.submit(task("slow", "slow"), task("bad", "bad"), task("after", "slow", after=["bad"]))
    done = await house.ended(job)
    assert (done.state, done.error.reason) == (jobs_pb2.STATE_FAILED, "INVALID_INPUT_FILE")
    assert done.error.message == "not a picture"
    await eventually(lambda: node.busy == 0)
    rows = await house.sql("SELECT name, state FROM ledger.task ORDER BY name")
    assert {row["name"]: row["state"] for row in rows} == {
        "after": "CANCELLED",
        "bad": "FAILED",
        "slow": "CANCELLED",
    }


async def test_a_job_waits_until_a_node_serves_its_feature(house: House) -> None:
    job = await house.submit(task(feature="later"))
    await house.node()
    request = jobs_pb2.WaitJobRequest(key=key(job))
    request.timeout.FromMilliseconds(300)
    assert (await house.jobs.WaitJob(request)).job.state == jobs_pb2.STATE_QUEUED
    await house.node(engines=(engine("late", "later"),))
    assert (await house.ended(job)).result.model_used == "late"


async def test_no_node_gets_more_tasks_than_it_has_slots(house: House) -> None:
    node = await house.node(takes(0.02), slots=3)
    jobs = [await house.submit() for _ in range(30)]
    for job in jobs:
        assert (await house.ended(job)).state == jobs_pb2.STATE_SUCCEEDED
    assert node.most_busy <= 3
    assert len(node.seen) == 30


async def test_sooner_means_sooner_and_accounts_take_turns(house: House) -> None:
    many = [(await house.submit(account_id="many")).id for _ in range(6)]
    few = [(await house.submit(account_id="few")).id for _ in range(2)]
    urgent = (await house.submit(account_id="many", priority=10)).id
    node = await house.node(slots=1)
    await eventually(lambda: len(node.seen) == 9)
    order = [request.job_id for request in node.seen]
    assert order[0] == urgent
    # Nobody waits for all the jobs of somebody who came before.
    assert max(order.index(job) for job in few) <= 4
    assert [job for job in order if job in many] == many


async def test_a_draining_or_silent_node_gets_nothing(folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn, announce_seconds=0.2) as house:
        draining = await house.node()
        draining.draining = True
        silent = await house.node()
        silent.silent = True
        await eventually(lambda: house.ledger.registry.views() == [])
        job = await house.submit()
        awake = await house.node()
        await house.ended(job)
        assert (len(draining.seen), len(silent.seen), len(awake.seen)) == (0, 0, 1)


async def test_the_preferred_model_is_waited_for_while_its_node_is_busy(house: House) -> None:
    await house.node(engines=(engine("plain", "work", rank=1),))
    fine = await house.node(takes(0.3), slots=1, engines=(engine("fine", "work", rank=0),))
    jobs = [await house.submit(task(model_preference="fine")) for _ in range(3)]
    models = [(await house.ended(job)).result.model_used for job in jobs]
    assert models == ["fine"] * 3
    assert len(fine.seen) == 3


async def test_a_model_leaves_video_memory_for_another(house: House) -> None:
    device = jobs_pb2.Device(id="0", vram_total_mib=100, vram_free_mib=20)
    old = engine("old", "other", vram_mib=80, state=capability_pb2.ENGINE_STATE_LOADED)
    node = await house.node(engines=(engine("test", "work", vram_mib=60), old), devices=(device,))
    await house.ended(await house.submit())
    await eventually(lambda: [c.unload.engine_id for c in node.commands] == ["old"])


async def test_deleting_a_result_forgets_its_files_and_keeps_the_job(house: House) -> None:
    await house.node()
    done = await house.ended(await house.submit())
    digests = jobs_pb2.FindReferencedBlobsRequest(digests=[DIGEST, "00" * 32])
    assert (await house.artifacts.FindReferencedBlobs(digests)).referenced == [DIGEST]
    request = jobs_pb2.DeleteResultRequest(key=key(done))
    gone = (await house.artifacts.DeleteResult(request)).artifacts
    assert {a.path for a in gone} == {a.path for a in done.result.artifacts}
    assert (await house.artifacts.DeleteResult(request)).artifacts == []
    after = await house.get(done)
    assert after.result_deleted and after.state == jobs_pb2.STATE_SUCCEEDED and not after.result.artifacts
    assert (await house.artifacts.FindReferencedBlobs(digests)).referenced == []


async def test_inputs_of_open_tasks_are_kept(house: House) -> None:
    file = capability_pb2.TaskInput(digest="cd" * 32)
    job = await house.submit(task(inputs=[jobs_pb2.InputRef(role="image", file=file)]))
    digests = jobs_pb2.FindReferencedBlobsRequest(digests=["cd" * 32])
    assert (await house.artifacts.FindReferencedBlobs(digests)).referenced == ["cd" * 32]
    await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
    assert (await house.artifacts.FindReferencedBlobs(digests)).referenced == []


async def test_an_outbox_row_is_written_with_the_end(house: House) -> None:
    await house.node()
    await house.sql("INSERT INTO ledger.webhook (url, secret) VALUES ('https://example.org', '\\x00')")
    await house.ended(await house.submit())
    rows = await house.sql("SELECT type, account_id FROM ledger.webhook_outbox")
    assert [tuple(row) for row in rows] == [("SUCCEEDED", "public")]
