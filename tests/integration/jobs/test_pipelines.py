"""Graphs of several tasks: soft failures, other inputs, and what clients are shown of each task."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.structs import from_struct
from tests.integration.jobs.harness import (
    House,
    Run,
    Said,
    accepted,
    engine,
    key,
    output,
    progress,
    result,
    task,
)

FEATURES = ("mesh", "retexture", "rig", "clip", "publish")


def _from(name: str, *others: str) -> jobs_pb2.InputRef:
    refs = [jobs_pb2.InputRef.OutputRef(task=each, role="mesh") for each in (name, *others)]
    return jobs_pb2.InputRef(role="mesh", output=refs[0], otherwise=refs[1:])


def _pipeline() -> list[jobs_pb2.TaskSpec]:
    return [
        task("mesh", "mesh", phase="mesh"),
        task("retexture", "retexture", inputs=[_from("mesh")], soft_fail=True),
        task("rig", "rig", inputs=[_from("retexture", "mesh")], soft_fail=True),
        task("walk", "clip", inputs=[_from("rig")], item="30", soft_fail=True),
        task("publish_walk", "publish", inputs=[_from("walk")], item="30", soft_fail=True),
        task("run", "clip", inputs=[_from("rig")], item="14", soft_fail=True),
    ]


class Steps:
    """A node whose steps fail as a test says."""

    def __init__(self, *failing: str) -> None:
        self._failing = failing
        self.ran: list[str] = []
        self.read: dict[str, list[str]] = {}

    async def run(self, request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        self.ran.append(request.feature)
        self.read[request.feature] = [entry.digest[:2] for entry in request.inputs]
        yield accepted()
        yield progress(0.5, request.feature)
        if request.feature in self._failing:
            raise InvalidArgument("Pose estimation failed", reason="RIGGING_FAILED")
        made = output("mesh", "model.glb", f"{FEATURES.index(request.feature) + 10:02d}" * 32)
        made.meta.update({"upstream": {"provider": "test", "task_id": f"{request.feature}-1"}})
        yield result(request, made)


async def _run(house: House, steps: Steps) -> jobs_pb2.Job:
    await house.node(steps.run, engines=(engine("test", *FEATURES),))
    return await house.ended(await house.submit(*_pipeline()))


async def test_what_needs_a_step_that_failed_softly_ends_with_its_reason_and_never_runs(house: House) -> None:
    steps = Steps("rig")
    done = await _run(house, steps)
    assert done.state == jobs_pb2.STATE_SUCCEEDED
    assert steps.ran == ["mesh", "retexture", "rig"]
    tasks = {each.name: each for each in done.tasks}
    assert [each.name for each in done.tasks if each.state == jobs_pb2.STATE_FAILED] == [
        "rig", "walk", "publish_walk", "run",
    ]  # fmt: skip
    assert (tasks["rig"].error.reason, tasks["rig"].error.message) == (
        "RIGGING_FAILED", "Pose estimation failed",
    )  # fmt: skip
    for name in ("walk", "publish_walk", "run"):
        assert tasks[name].error.reason == "RIGGING_FAILED"
        assert tasks[name].error.message == "rig failed: Pose estimation failed"
        assert not tasks[name].started
    assert done.result.warnings[0] == "rig: Pose estimation failed"


async def test_a_step_reads_another_output_where_the_first_was_not_made(house: House) -> None:
    steps = Steps("retexture")
    done = await _run(house, steps)
    assert sorted(steps.ran) == ["clip", "clip", "mesh", "publish", "retexture", "rig"]
    assert steps.read["rig"] == ["10"]
    assert [each.name for each in done.tasks if each.state == jobs_pb2.STATE_FAILED] == ["retexture"]


async def test_a_step_that_must_not_fail_fails_its_job_with_the_reason_of_what_it_needs(house: House) -> None:
    steps = Steps("rig")
    await house.node(steps.run, engines=(engine("test", *FEATURES),))
    job = await house.submit(
        task("mesh", "mesh"),
        task("rig", "rig", inputs=[_from("mesh")], soft_fail=True),
        task("walk", "clip", inputs=[_from("rig")]),
    )
    done = await house.ended(job)
    assert (done.state, done.error.reason) == (jobs_pb2.STATE_FAILED, "RIGGING_FAILED")
    assert done.error.message == "rig failed: Pose estimation failed"
    assert steps.ran == ["mesh", "rig"]


async def test_an_input_brings_what_its_maker_wrote_about_it(house: House) -> None:
    steps = Steps()
    node = await house.node(steps.run, engines=(engine("test", *FEATURES),))
    await house.ended(await house.submit(*_pipeline()))
    [rig] = [request for request in node.seen if request.feature == "rig"]
    assert from_struct(rig.inputs[0].meta) == {"upstream": {"provider": "test", "task_id": "retexture-1"}}


async def test_watchers_see_each_task_begin_rise_and_end_with_its_files(house: House) -> None:
    await house.node(Steps().run, engines=(engine("test", *FEATURES),))
    job = await house.submit(*_pipeline())
    assert [each.name for each in job.tasks] == [each.name for each in _pipeline()]
    stands: dict[str, list[tuple[int, bool, float]]] = {each.name: [] for each in job.tasks}
    files: dict[str, int] = {}
    async for answer in house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=key(job))):
        for each in answer.event.job.tasks:
            stands[each.name].append((each.state, each.started, each.fraction))
            if each.artifacts:
                files.setdefault(each.name, answer.event.type)
    for name, seen in stands.items():
        assert seen == sorted(seen), name
        assert seen[0] == (jobs_pb2.STATE_QUEUED, False, 0.0) and seen[-1][1:] == (True, 1.0), name
    # The first step's files are there long before the job ends.
    assert files["mesh"] == jobs_pb2.EVENT_TYPE_PROGRESS
    assert set(files) == set(stands)


async def test_a_job_of_one_task_tells_no_tasks(house: House) -> None:
    await house.node()
    done = await house.ended(await house.submit())
    assert not done.tasks


async def test_a_file_that_is_there_takes_no_other(house: House) -> None:
    ref = jobs_pb2.InputRef(role="mesh", otherwise=[jobs_pb2.InputRef.OutputRef(task="mesh", role="mesh")])
    ref.file.digest = "ab" * 32
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.submit(task("mesh", "mesh"), task("rig", "rig", inputs=[ref]))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
