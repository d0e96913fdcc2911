"""Parameters arrive as plain values, with defaults and within their bounds."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2, struct_pb2

from maquette.api.capability.v1 import capability_pb2
from maquette.api.meshgen.v1 import meshgen_pb2
from maquette.runtime.capability.parameters import unpack_parameters
from maquette.runtime.errors import InvalidArgument


def packed(message: object) -> any_pb2.Any:
    result = any_pb2.Any()
    result.Pack(message)  # type: ignore[arg-type]
    return result


def test_message_gives_proto_names_and_defaults() -> None:
    told = unpack_parameters(packed(meshgen_pb2.ImageToMesh(output_format="glb")))
    assert told == {
        "output_format": "glb",
        "texture_resolution": 0,
        "quality": "",
        "views": [],
        "pose": "",
    }


def test_numbers_enums_and_nested_messages_keep_their_kind() -> None:
    message = capability_pb2.DescribeResponse(
        slots=3, engines=[capability_pb2.Engine(id="a", memory_mib=5, kind="ENGINE_KIND_NEURAL")]
    )
    told = unpack_parameters(packed(message))
    assert told["slots"] == 3 and told["engines"][0]["memory_mib"] == 5
    assert told["engines"][0]["kind"] == "ENGINE_KIND_NEURAL" and told["engines"][0]["features"] == []


def test_struct_gives_its_own_keys() -> None:
    struct = struct_pb2.Struct()
    struct.update({"seconds": 0.5, "deep": {"a": [1, None]}})
    assert unpack_parameters(packed(struct)) == {"seconds": 0.5, "deep": {"a": [1, None]}}


def test_nothing_gives_nothing() -> None:
    assert unpack_parameters(any_pb2.Any()) == {}


@pytest.mark.parametrize(
    "bad",
    [
        any_pb2.Any(type_url="type.googleapis.com/nobody.knows.This"),
        any_pb2.Any(type_url="type.googleapis.com/maquette.api.meshgen.v1.ImageToMesh", value=b"\xff"),
        packed(meshgen_pb2.ImageToMesh()),
        packed(meshgen_pb2.ImageToMesh(output_format="glb", texture_resolution=9999)),
    ],
)
def test_unknown_broken_and_out_of_bounds_are_refused(bad: any_pb2.Any) -> None:
    with pytest.raises(InvalidArgument):
        unpack_parameters(bad)
