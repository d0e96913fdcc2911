"""The graph of a picture's way to a moving character, and what clients see of it."""

from __future__ import annotations

import random

import pytest

from maquette.api.animation.v1 import animation_pb2
from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.rigging.v1 import rigging_pb2
from maquette.runtime.errors import InvalidArgument, NotFound
from maquette.runtime.settings import PipelineSettings
from services.gateway.dialects import registry
from services.gateway.dialects.animate.graph import Plan, pipeline
from services.gateway.dialects.animate.mapping import progress, status_view
from services.gateway.dialects.animate.requests import AnimateRequest, read_request
from services.gateway.dialects.animate.words import ANIMATION_IDS, PHASES

IMAGE = capability_pb2.TaskInput(role="image", digest="ab" * 32, size=1, filename="p.png")
ENDED = (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED)


def _request(*ids: int, **more: object) -> AnimateRequest:
    values = {
        "animation_ids": ids,
        "use_retexture": False,
        "skip_confirmation": True,
        "height_meters": 1.75,
        "fps": 60,
        **more,
    }
    return AnimateRequest(**values)  # type: ignore[arg-type]


def _tasks(*ids: int, settings: PipelineSettings | None = None, **plan: bool) -> dict[str, jobs_pb2.TaskSpec]:
    made = Plan(settings or PipelineSettings(), plan.pop("retexture", False), **plan)
    return {task.name: task for task in pipeline(_request(*ids), IMAGE, made)}


def test_the_library_has_its_678_ids() -> None:
    assert len(ANIMATION_IDS) == 678 and {0, 30, 106, 696} <= ANIMATION_IDS and 332 not in ANIMATION_IDS


def test_every_step_but_the_mesh_and_its_link_may_fail() -> None:
    tasks = _tasks(106, 30, retexture=True, rig_fbx=True, animation_fbx=True)
    assert {name for name, task in tasks.items() if not task.soft_fail} == {"mesh", "publish"}


def test_every_step_has_a_weight_and_a_phase() -> None:
    for task in _tasks(106, 30, retexture=True).values():
        assert task.weight > 0 and task.phase


def test_the_rig_reads_the_painted_mesh_else_the_published_one() -> None:
    rig = _tasks(30, retexture=True)["rig"].inputs[0]
    assert (rig.output.task, [other.task for other in rig.otherwise]) == ("publish_retexture", ["publish"])
    assert _tasks(30)["rig"].inputs[0].output.task == "publish"


def test_one_call_an_animation_with_what_was_asked_for() -> None:
    tasks = _tasks(106, 30)
    for number in (106, 30):
        wanted = animation_pb2.Animate()
        assert tasks[f"anim_{number}"].parameters.Unpack(wanted)
        assert (list(wanted.motions), wanted.fps, wanted.output_format) == ([str(number)], 60, "glb")
        assert tasks[f"anim_{number}"].item == str(number)
    rig = rigging_pb2.AutoRig()
    assert tasks["rig"].parameters.Unpack(rig) and rig.height_meters == 1.75


def test_second_forms_are_steps_of_their_own_where_an_engine_writes_them() -> None:
    tasks = _tasks(106, 30, rig_fbx=True, animation_fbx=True)
    assert {"rig_fbx", "anim_106_fbx", "anim_30_fbx"} <= set(tasks)
    [first, second] = tasks["publish_anim_30"].inputs
    assert not first.optional and second.optional and second.output.task == "anim_30_fbx"
    again = animation_pb2.Animate()
    assert tasks["anim_30_fbx"].parameters.Unpack(again) and again.no_pictures
    # Remote engines bring the second form with the first.
    assert _tasks(30)["publish_rig"].inputs[1].output.role == "fbx"


def test_no_first_form_waits_for_a_second_one() -> None:
    tasks = _tasks(106, 30, rig_fbx=True, animation_fbx=True)
    for name in ("publish_rig", "anim_106", "anim_30"):
        reads = {ref.output.task for ref in tasks[name].inputs}
        assert reads == {"rig"} and not tasks[name].after
    assert [ref.output.task for ref in tasks["publish_rig_fbx"].inputs] == ["rig_fbx"]
    for number in (106, 30):
        assert list(tasks[f"anim_{number}_fbx"].after) == ["anim_106", "anim_30"]


def test_a_rig_has_its_link_before_its_second_form_is_written() -> None:
    def published(name: str, media_type: str) -> jobs_pb2.Artifact:
        file = jobs_pb2.Artifact(role="published", filename=name, media_type=media_type)
        file.meta.update({"published": {"key": name, "url": f"https://s3/{name}?signed", "direct_url": "d"}})
        return file

    job = jobs_pb2.Job(state=jobs_pb2.STATE_RUNNING)
    job.tasks.add(name="publish_rig", artifacts=[published("rigged.glb", "model/gltf-binary")])
    job.tasks.add(name="publish_rig_fbx")
    links = {
        "rigged_character_glb_url": "https://s3/rigged.glb?signed",
        "rigged_character_fbx_url": None,
    }
    assert status_view(job, "")["result"] == links
    job.tasks[1].artifacts.append(published("rigged.fbx", "model/fbx"))
    assert status_view(job, "")["result"] == links | {
        "rigged_character_fbx_url": "https://s3/rigged.fbx?signed"
    }


def test_an_engine_that_is_named_runs_or_none() -> None:
    tasks = _tasks(30, settings=PipelineSettings(rig_engine="meshy_rigging"))
    rig, mesh = tasks["rig"], tasks["mesh"]
    assert (rig.model_preference, rig.fallback) == ("meshy_rigging", jobs_pb2.FALLBACK_DENY)
    assert (mesh.model_preference, mesh.fallback) == ("", jobs_pb2.FALLBACK_ALLOW)


def test_the_largest_graph_is_one_the_ledger_takes() -> None:
    most = PipelineSettings.model_fields["max_animations"].metadata[1].le
    tasks = _tasks(*range(most), retexture=True, rig_fbx=True, animation_fbx=True)
    [bound] = [
        field.GetOptions() for field in jobs_pb2.CreateJobRequest.DESCRIPTOR.fields if field.name == "tasks"
    ]
    from maquette.api.common.v1 import options_pb2

    assert len(tasks) <= bound.Extensions[options_pb2.bounds].max_items


@pytest.mark.parametrize("seed", range(20))
def test_progress_rises_within_its_bands_whatever_order_the_steps_go_in(seed: int) -> None:
    chance = random.Random(seed)
    specs = list(_tasks(106, 30, 14, retexture=True).values())
    job = jobs_pb2.Job(
        state=jobs_pb2.STATE_RUNNING,
        tasks=[jobs_pb2.JobTask(name=s.name, phase=s.phase, item=s.item, state=1) for s in specs],
    )
    tasks = {task.name: task for task in job.tasks}
    shown = [progress(job)]
    while open_ := [task for task in job.tasks if task.state not in ENDED]:
        reads = {
            spec.name: {ref.output.task for ref in spec.inputs if ref.WhichOneof("source") == "output"}
            for spec in specs
        }
        ready = [task for task in open_ if all(tasks[name].state in ENDED for name in reads[task.name])]
        task = chance.choice(ready)
        task.started, task.state = True, jobs_pb2.STATE_RUNNING
        task.fraction = min(1.0, task.fraction + chance.random())
        if task.fraction >= 0.9:
            task.state = chance.choice(ENDED)
        shown.append(progress(job))
        phase = PHASES.get(task.phase)
        if phase is not None:
            assert shown[-1] >= phase.start
        assert status_view(job, "")["progress"] == shown[-1]
    assert shown == sorted(shown) and shown[0] == 0 and shown[-1] == 90


def test_form_fields_have_the_documents_defaults() -> None:
    request = read_request({}, 30)
    assert request == _request()
    assert read_request({"animation_ids": "106, 30,106"}, 30).animation_ids == (106, 30)


@pytest.mark.parametrize("text", ["abc", "106,,30", ",", "1e3", "٣", "1 2", "0x1"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid animation_ids format"):
        read_request({"animation_ids": text}, 30)


def test_each_dialect_has_its_own_error_body() -> None:
    error = NotFound("There is no such thing.")
    words = registry.of_path("/status/abc")
    assert words is registry.of_method("/maquette.api.dialects.animate.v1.StatusService/GetStatus")
    assert (words.fields(error), words.status(error)) == ({"detail": "There is no such thing."}, 404)
    for path in ("/api/v1/system/jobs/abc", "/status", "/animate/images", "/v1/events/x"):
        assert registry.of_path(path) is registry.USUAL
    assert set(registry.USUAL.fields(error)) == {"error", "message", "detail"}
