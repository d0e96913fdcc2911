"""Every field, always; null where nothing is set; numbers as numbers."""

from __future__ import annotations

import json

import pytest
from google.protobuf import struct_pb2, timestamp_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.api.dialects.aigc.v1 import generation_pb2, system_pb2
from maquette.api.dialects.core.v1 import core_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from services.gateway.json_writer import iso_time, plain_struct, write_json


def written(message):
    return json.loads(write_json(message))


def test_an_empty_message_has_every_field():
    found = written(system_pb2.Job())
    assert list(found) == [field.name for field in system_pb2.Job.DESCRIPTOR.fields]
    assert found["job_id"] == ""
    assert found["progress"] == 0
    for name in ("created_at", "processing_time", "result", "error", "inputs", "input_image_file_info"):
        assert found[name] is None


def test_an_optional_field_that_is_set_to_its_default_is_not_null():
    found = written(system_pb2.Job(processing_time=0.0, error=""))
    assert (found["processing_time"], found["error"]) == (0, "")


def test_names_are_the_protos_and_the_text_is_compact():
    text = write_json(generation_pb2.UploadLimits(image_max_size_mb=50))
    assert text == b'{"image_max_size_mb":50,"mesh_max_size_mb":0,"image_max_resolution":[]}'


def test_64_bit_integers_are_numbers():
    assert written(system_pb2.FileInfo(file_size_bytes=2**63))["file_size_bytes"] == 2**63


def test_maps_lists_enums_and_bytes():
    status = system_pb2.Scheduler(models={"a": system_pb2.ModelStatus(status="loaded")})
    assert written(status)["models"] == {"a": {"status": "loaded", "vram_usage": 0, "reason": None}}
    assert written(jobs_pb2.Job(state=jobs_pb2.STATE_QUEUED))["state"] == "STATE_QUEUED"
    assert written(storage_pb2.ReadBlobResponse(chunk=b"\x00\xff"))["chunk"] == "AP8="


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00.000Z"),
        (1_704_067_200, 999_999_999, "2024-01-01T00:00:00.999Z"),
        (1_704_067_200, 5_000_000, "2024-01-01T00:00:00.005Z"),
    ],
)
def test_times_have_milliseconds(seconds, nanos, text):
    assert iso_time(timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)) == text


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", max_size=3), json_values, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_struct_comes_out_as_it_went_in(value):
    struct = struct_pb2.Struct()
    struct.update(value)
    assert plain_struct(struct) == value
    assert written(core_pb2.EventResult(info=struct))["info"] == value
