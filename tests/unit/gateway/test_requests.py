"""Bodies become requests, or one clear refusal."""

from __future__ import annotations

import pytest

from maquette.api.dialects.aigc.v1 import generation_pb2
from maquette.runtime.errors import FailedPrecondition, InvalidArgument
from services.gateway.dialects.aigc.requests import check_model, read_image_request
from services.gateway.dialects.aigc.words import IMAGE_TO_RAW_MESH, IMAGE_TO_TEXTURED_MESH, MESH_GENERATION


def request(values, inline=(), textured=True):
    message = generation_pb2.ImageToTexturedMeshBody() if textured else generation_pb2.ImageToRawMeshBody()
    feature = IMAGE_TO_TEXTURED_MESH if textured else IMAGE_TO_RAW_MESH
    return read_image_request(values, message, feature, inline)


def test_defaults_are_the_documents():
    found = request({"image_file_id": "a"})
    assert (found.output_format, found.quality, found.texture_resolution, found.seed) == (
        "glb",
        "medium",
        1024,
        0,
    )
    assert found.deny_fallback is False
    assert request({"image_file_id": "a"}, textured=False).texture_resolution == 0


def test_exactly_one_source_is_needed():
    assert request({"image_path": "/p"}).source.path == "/p"
    assert request({"image_base64": None}, inline=["image_base64"]).source.inline
    for values, inline in (
        ({}, ()),
        ({"image_path": "/p", "image_file_id": "a"}, ()),
        ({"image_path": "/p"}, ("image_base64",)),
    ):
        with pytest.raises(InvalidArgument, match="Exactly one"):
            request(values, inline)


def test_a_second_picture_is_refused_for_textures_and_unknown_to_the_raw_route():
    with pytest.raises(InvalidArgument, match="second picture"):
        request({"image_file_id": "a", "texture_image_file_id": "b"})
    assert request({"image_file_id": "a", "texture_image_file_id": "b"}, textured=False)


@pytest.mark.parametrize("feature", MESH_GENERATION)
def test_documented_models_are_known(feature):
    for model in feature.models:
        values = {"image_file_id": "a", "model_preference": model}
        message = generation_pb2.ImageToRawMeshBody()
        check_model(read_image_request(values, message, feature, ()), ("embedded",))


def test_models_that_are_live_are_known_and_others_are_not():
    live = ("shape_from_silhouette",)
    check_model(request({"image_file_id": "a", "model_preference": "shape_from_silhouette"}), live)
    with pytest.raises(InvalidArgument, match="shape_from_silhouette"):
        check_model(request({"image_file_id": "a", "model_preference": "nothing"}), live)


def test_deny_needs_the_model_on_a_node():
    wanted = {"image_file_id": "a", "model_preference": "trellis_image_to_textured_mesh", "fallback": "deny"}
    with pytest.raises(FailedPrecondition) as refused:
        check_model(request(wanted), ("shape_from_silhouette",))
    assert refused.value.reason == "MODEL_NOT_AVAILABLE"
    check_model(request(wanted), ("trellis_image_to_textured_mesh",))
    with pytest.raises(FailedPrecondition):
        check_model(request({"image_file_id": "a", "fallback": "deny"}), ())


def test_the_digest_tells_requests_apart():
    base = request({"image_file_id": "a", "seed": 1})
    same = request({"seed": 1, "image_file_id": "a", "unknown": 5})
    assert base.digest("r", "") == same.digest("r", "")
    others = {
        base.digest("r2", ""),
        base.digest("r", "bytes"),
        request({"image_file_id": "b", "seed": 1}).digest("r", ""),
        request({"image_file_id": "a", "seed": 2}).digest("r", ""),
        request({"image_file_id": "a"}).digest("r", ""),
    }
    assert len(others) == 5
    assert base.digest("r", "") not in others
