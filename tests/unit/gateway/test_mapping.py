"""The ledger's jobs in the dialects' words."""

from __future__ import annotations

import pytest
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import CATALOGUE, FailedPrecondition, NotFound, error_for
from services.gateway.dialects.aigc import mapping, words
from services.gateway.dialects.aigc.errors import error_fields, http_status
from services.gateway.dialects.core.events import STATES, frame, last_seen
from services.gateway.dialects.pocket3d.socket_words import Said, sayings

URL = "http://localhost:7842"
STATES_NOW = [state for state in jobs_pb2.State.values() if state != jobs_pb2.STATE_UNSPECIFIED]


def job(state=jobs_pb2.STATE_RUNNING, **fields):
    request = struct_pb2.Struct()
    request.update({"inputs": {"image_file_id": "a", "seed": 3}})
    start = timestamp_pb2.Timestamp(seconds=100)
    end = timestamp_pb2.Timestamp(seconds=102, nanos=500_000_000)
    made = jobs_pb2.Job(
        id="id",
        public_id="id",
        dialect="aigc",
        feature="image_to_raw_mesh",
        state=state,
        request=request,
        seq=5,
    )
    if state != jobs_pb2.STATE_QUEUED:
        made.start_time.CopyFrom(start)
    if state in (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED):
        made.end_time.CopyFrom(end)
    if state == jobs_pb2.STATE_SUCCEEDED:
        made.result.model_used = "embedded"
        made.result.artifacts.add(
            role="mesh", filename="m.obj", size=3 << 20, media_type="x/y", path="/outputs/m.obj"
        )
        made.result.artifacts.add(
            role="material", filename="m.mtl", size=10, media_type="x/z", path="/outputs/m.mtl"
        )
    for name, value in fields.items():
        getattr(made, name).CopyFrom(value)
    return made


@pytest.mark.parametrize("state", STATES_NOW)
def test_every_state_has_a_word_in_every_dialect(state):
    assert words.STATUS[state] in words.STATES_OF
    assert state in words.STATES_OF[words.STATUS[state]]
    assert STATES[state]
    assert mapping.job_view(job(state), URL).status == words.STATUS[state]


def test_time_spent_is_told_at_the_end_only():
    assert mapping.processing_seconds(job(jobs_pb2.STATE_RUNNING)) is None
    assert mapping.processing_seconds(job(jobs_pb2.STATE_SUCCEEDED)) == 2.5


def test_every_file_of_a_result_has_its_own_url():
    view = mapping.job_view(job(jobs_pb2.STATE_SUCCEEDED), URL)
    assert [file.role for file in view.result.files] == ["mesh", "material"]
    assert view.result.files[1].url.endswith("/api/v1/system/jobs/id/download?role=material")
    assert view.result.mesh_file_info.file_size_mb == 3.0
    assert not view.result.HasField("thumbnail_path")
    assert dict(view.result.generation_info["parameters"]) == {"seed": 3}


def test_a_missing_file_says_why():
    with pytest.raises(FailedPrecondition, match="processing"):
        mapping.need_artifact(job(), "mesh")
    with pytest.raises(FailedPrecondition, match="cancelled"):
        mapping.need_artifact(job(jobs_pb2.STATE_CANCELLED), "mesh")
    with pytest.raises(NotFound, match="thumbnail"):
        mapping.need_artifact(job(jobs_pb2.STATE_SUCCEEDED), "thumbnail")
    deleted = job(jobs_pb2.STATE_SUCCEEDED)
    del deleted.result.artifacts[:]
    deleted.result_deleted = True
    with pytest.raises(NotFound, match="deleted"):
        mapping.need_artifact(deleted, "mesh")


@pytest.mark.parametrize("reason", CATALOGUE)
def test_every_reason_reads_in_the_documents_shape(reason):
    error = error_for(reason, "what exactly was wrong")
    fields = error_fields(error)
    assert set(fields) == {"error", "message", "detail"}
    assert "what exactly was wrong" in fields["detail"]
    assert 400 <= http_status(error) < 600


def test_a_socket_says_each_thing_once():
    said = Said()
    frames, said = sayings(job(jobs_pb2.STATE_QUEUED), said, URL, 0.0)
    assert frames == []
    progress = jobs_pb2.JobProgress(fraction=0.5, stage="mesh", eta=duration_pb2.Duration(seconds=10))
    frames, said = sayings(job(progress=progress), said, URL, 1000.0)
    assert [b"job_started" in f or b"progress_update" in f for f in frames] == [True, True]
    assert b'"eta":"1970-01-01T00:16:50.000Z"' in frames[1]
    assert sayings(job(progress=progress), said, URL, 1000.0)[0] == []
    frames, _ = sayings(job(jobs_pb2.STATE_SUCCEEDED), said, URL, 0.0)
    assert len(frames) == 1
    assert b"job_completed" in frames[0]


def test_an_event_is_one_frame_on_one_line():
    progress = jobs_pb2.JobProgress(fraction=0.5, message="two\nlines\r\nhere")
    event = jobs_pb2.JobEvent(seq=7, type=jobs_pb2.EVENT_TYPE_PROGRESS, job=job(progress=progress))
    lines = frame(event).decode().split("\n")
    assert lines[:2] == ["id: 7", "event: progress"]
    assert lines[2].startswith("data: {")
    assert lines[3:] == ["", ""]


def test_last_event_ids_are_numbers_or_nothing():
    assert [last_seen(text) for text in ("", "7", " 8 ", "-1", "x", "٣", "9" * 30)] == [0, 7, 8, 0, 0, 0, 0]
