from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import RandomIds
from maquette.runtime.errors import FailedPrecondition, InvalidArgument
from maquette.runtime.structs import from_struct, to_struct
from services.jobs import convert
from services.jobs.model import Artifact, JobEvent, NewJob, Progress
from services.jobs.states import Event, State
from tests.unit.jobs.values import START, make_job


def _new(*tasks: jobs_pb2.TaskSpec, **more: object) -> NewJob:
    request = jobs_pb2.CreateJobRequest(
        account_id="public", dialect="test", feature="work", tasks=tasks, **more
    )
    return convert.new_job(request, RandomIds(), longest=60.0, traceparent="")


def _spec(name: str, **more: object) -> jobs_pb2.TaskSpec:
    return jobs_pb2.TaskSpec(name=name, feature="work", **more)


def _from(task: str, role: str = "mesh") -> jobs_pb2.InputRef:
    return jobs_pb2.InputRef(role="input", output=jobs_pb2.InputRef.OutputRef(task=task, role=role))


def test_reading_an_output_makes_a_task_wait_for_it() -> None:
    job = _new(_spec("mesh"), _spec("rig", inputs=[_from("mesh")]))
    assert [task.after for task in job.tasks] == [(), ("mesh",)]


def test_a_public_id_is_the_jobs_own_unless_one_is_given() -> None:
    job = _new(_spec("a"))
    assert job.public_id == job.id
    assert _new(_spec("a"), public_id="x").public_id == "x"


def test_the_servers_time_limit_binds() -> None:
    assert _new(_spec("a"), time_limit=convert.duration(3600)).time_limit == 60.0
    assert _new(_spec("a"), time_limit=convert.duration(0.5)).time_limit == 0.5
    with pytest.raises(InvalidArgument):
        _new(_spec("a"), time_limit=convert.duration(0))


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "zz" * 32])
def test_an_input_needs_a_digest(digest: str) -> None:
    file = capability_pb2.TaskInput(role="image", digest=digest)
    with pytest.raises(InvalidArgument):
        _new(_spec("a", inputs=[jobs_pb2.InputRef(role="image", file=file)]))


def test_outputs_of_earlier_tasks_become_inputs() -> None:
    made = Artifact("job", "mesh", "mesh", 0, "model.glb", "/outputs/x", "ab" * 32, 7, "model/gltf-binary")
    [entry] = convert.resolve_inputs(_spec("rig", inputs=[_from("mesh")]), [made])
    assert (entry.role, entry.digest, entry.size, entry.filename) == ("input", "ab" * 32, 7, "model.glb")
    with pytest.raises(FailedPrecondition):
        convert.resolve_inputs(_spec("rig", inputs=[_from("mesh", "skeleton")]), [made])


def test_an_event_survives_the_way_to_another_replica() -> None:
    facts = Struct()
    facts.update({"vertices": 12, "nested": {"list": [1, None, "x", True]}})
    made = Artifact("job", "mesh", "mesh", 0, "m.glb", "/outputs/x", "ab" * 32, 7, "m", facts)
    job = make_job(
        state=State.SUCCEEDED,
        started=START,
        ended=START,
        progress=Progress(1.0, "done", "all", "", 2.5),
        model_used="e",
        info=facts,
        warnings=("w",),
        artifacts=(made,),
        attempt=2,
        seq=5,
    )
    event = JobEvent(5, Event.SUCCEEDED, START, job)
    assert convert.event_from_proto(convert.event_proto(event)) == event


def test_json_values_keep_whole_numbers_whole() -> None:
    values = {"a": 1, "b": 1.5, "c": [True, None, "x"], "d": {"e": -3}}
    assert from_struct(to_struct(values)) == values
    assert isinstance(from_struct(to_struct(values))["a"], int)
