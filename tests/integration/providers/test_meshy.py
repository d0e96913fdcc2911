"""Meshy's engines in a real node: what is sent, what is told, what comes back."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.geometry.codecs import decode
from maquette.runtime.errors import FailedPrecondition, Internal, InvalidArgument, MaquetteError
from maquette.runtime.structs import from_struct
from tests.integration.capability.conftest import Mesh, until
from tests.integration.providers.conftest import (
    animation_request,
    image_request,
    meshy_engines,
    meshy_settings,
    node_with,
    result_of,
    retexture_request,
    rig_request,
    run,
)
from tests.support.meshy import ANIMATIONS, FBX, IMAGE, RETEXTURE, RIGGING, FakeMeshy
from tests.support.provider import Answer, Fault


def picture(mode: str = "RGB", kind: str = "PNG") -> bytes:
    """Return a small picture that has a place of origin in its file."""
    file = io.BytesIO()
    image = Image.new(mode, (96, 96), (200, 120, 40, 128)[: len(mode)])
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    image.save(file, kind, exif=exif)
    return file.getvalue()


async def rigged(mesh: Mesh) -> str:
    """Rig something; return the id of the task upstream."""
    result = await result_of(mesh, rig_request(mesh))
    return str(from_struct(result.outputs[0].meta)["upstream"]["task_id"])


async def test_a_picture_becomes_a_mesh_and_every_word_of_the_provider_is_passed_on(
    either: FakeMeshy,
) -> None:
    numbers = (0, 15, 34, 58, 76, 89)
    running = "PENDING" if either.mode == "document" else "IN_PROGRESS"
    either.steps[IMAGE] = [*((running, n) for n in numbers), ("SUCCEEDED", 100)]
    async with node_with(meshy_engines(meshy_settings(either, poll_seconds=0.1))) as mesh:
        events = await run(mesh, image_request(mesh, picture()))
        told = [e.progress for e in events if e.HasField("progress") and e.progress.upstream_status]
        assert [p.message for p in told] == [
            *(f"3D Generation: {running} ({n}%)" for n in numbers),
            "3D Generation: SUCCEEDED (100%)",
        ]
        assert [p.upstream_status for p in told] == [running] * 6 + ["SUCCEEDED"]
        assert [round(p.fraction, 4) for p in told] == [0, 0.15, 0.34, 0.58, 0.76, 0.89, 0.99]
        result = events[-1].result
        assert result.model_used == "meshy_image_to_3d"
        outputs = {output.role: output for output in result.outputs}
        assert set(outputs) == {"mesh", "thumbnail"}
        assert decode(mesh.storage.blobs[outputs["mesh"].digest], "glb").vertex_count > 100
        (task,) = either.made(IMAGE)
        told_of = from_struct(outputs["mesh"].meta)["upstream"]
        assert told_of == {"provider": "meshy", "task_id": task.id}
        assert not mesh.leftovers()


async def test_what_is_sent_holds_nothing_but_the_pixels(node: Mesh, meshy: FakeMeshy) -> None:
    await run(node, image_request(node, picture("RGB", "JPEG"), quality="low", pose="t-pose"))
    await run(node, image_request(node, picture("RGBA", "WEBP")))
    opaque, transparent = (call.fields for call in meshy.seen("POST", IMAGE))
    assert opaque["image_url"].startswith("data:image/jpeg;") and opaque["pose_mode"] == "t-pose"
    assert (opaque["target_polycount"], opaque["should_texture"]) == (10_000, True)
    assert transparent["image_url"].startswith("data:image/png;") and "pose_mode" not in transparent
    assert not any(b"taken at home" in call.body for call in meshy.calls)


@pytest.mark.parametrize("output_format", ["obj", "ply", "stl"])
async def test_a_mesh_comes_in_the_format_asked_for(node: Mesh, output_format: str) -> None:
    result = await result_of(node, image_request(node, picture(), output_format=output_format))
    assert result.outputs[0].filename == f"model.{output_format}"
    assert decode(node.storage.blobs[result.outputs[0].digest], output_format).face_count > 100


async def test_a_rig_is_asked_for_by_the_task_that_made_the_mesh_and_by_its_bytes_else(
    node: Mesh, meshy: FakeMeshy
) -> None:
    made = await result_of(node, image_request(node, picture()))
    task_id = from_struct(made.outputs[0].meta)["upstream"]["task_id"]
    await result_of(node, rig_request(node, upstream=task_id, height_meters=1.8))
    result = await result_of(node, rig_request(node))
    by_name, by_bytes = (task.body for task in meshy.made(RIGGING))
    assert by_name == {"input_task_id": task_id, "height_meters": 1.8}
    assert set(by_bytes) == {"model_url"}
    roles = {output.role: output for output in result.outputs}
    assert set(roles) == {"mesh", "fbx", "thumbnail"}
    assert node.storage.blobs[roles["fbx"].digest] == FBX
    info = from_struct(result.info)
    assert info["has_skinning"] and info["bone_count"] > 20 and info["rig_info"]["rig_mode"] == "full"


async def test_a_mesh_that_the_provider_has_forgotten_is_sent_again(node: Mesh, meshy: FakeMeshy) -> None:
    await result_of(node, rig_request(node, upstream="0192-gone"))
    first, second = meshy.seen("POST", RIGGING)
    assert "input_task_id" in first.fields and "model_url" in second.fields
    assert len(meshy.made(RIGGING)) == 1


async def test_what_is_no_character_fails_with_the_providers_words(either: FakeMeshy) -> None:
    either.steps[RIGGING] = [("PENDING", 10), ("FAILED", 10)]
    either.errors[RIGGING] = {"message": "Pose estimation failed", "code": "RIGGING_ERROR"}
    async with node_with(meshy_engines(meshy_settings(either))) as mesh:
        with pytest.raises(InvalidArgument) as caught:
            await run(mesh, rig_request(mesh))
    assert caught.value.reason == "RIGGING_FAILED"
    assert caught.value.message == "Pose estimation failed (RIGGING_ERROR)"


async def test_a_pose_that_is_refused_at_once_fails_as_one_that_is_refused_later(
    node: Mesh, meshy: FakeMeshy
) -> None:
    meshy.faults.append(Fault("POST", RIGGING, Answer(422, {"message": "Pose estimation failed"})))
    with pytest.raises(InvalidArgument) as caught:
        await run(node, rig_request(node))
    assert (caught.value.reason, caught.value.message) == ("RIGGING_FAILED", "Pose estimation failed")


async def test_clips_are_asked_for_one_by_one_by_the_rigs_task(either: FakeMeshy) -> None:
    async with node_with(meshy_engines(meshy_settings(either, poll_seconds=0.1))) as mesh:
        rig = await rigged(mesh)
        events = await run(mesh, animation_request(mesh, "106", "30", upstream=rig, files="each"))
        assert [task.body for task in either.made(ANIMATIONS)] == [
            {"rig_task_id": rig, "action_id": 106},
            {"rig_task_id": rig, "action_id": 30},
        ]
        messages = [e.progress.message for e in events if e.progress.upstream_status]
        assert "Animation 106: SUCCEEDED (100%)" in messages and "Animation 30: SUCCEEDED (100%)" in messages
        fractions = [e.progress.fraction for e in events if e.HasField("progress")]
        assert fractions == sorted(fractions)
        meshes = [o for o in events[-1].result.outputs if o.role == "mesh"]
        assert [(o.filename, o.ordinal) for o in meshes] == [
            ("01_motion_106.glb", 0),
            ("02_motion_30.glb", 1),
        ]
        assert from_struct(events[-1].result.info)["fps"] == 30


@pytest.mark.parametrize(("fps", "asked"), [(60.0, 60), (50.0, None)])
async def test_a_rate_is_asked_of_the_provider_where_it_can_and_made_here_for_the_glb(
    node: Mesh, meshy: FakeMeshy, fps: float, asked: int | None
) -> None:
    result = await result_of(node, animation_request(node, "106", upstream=await rigged(node), fps=fps))
    body = meshy.made(ANIMATIONS)[0].body
    assert body.get("post_process", {}).get("fps") == asked
    outputs = {output.role: from_struct(output.meta) for output in result.outputs}
    assert outputs["mesh"]["fps"] == fps and outputs["mesh"]["animations"][0]["frames"] == fps + 1
    assert outputs["fbx"]["fps"] == (fps if asked else 30)
    assert any("resampled" in warning for warning in result.warnings)
    assert any("usual rate" in warning for warning in result.warnings) is (asked is None)


async def test_a_texture_is_made_anew_in_its_old_place(node: Mesh, meshy: FakeMeshy) -> None:
    result = await result_of(node, retexture_request(node, prompt="rusty iron"))
    (task,) = meshy.made(RETEXTURE)
    assert task.body["enable_original_uv"] is True and task.body["text_style_prompt"] == "rusty iron"
    assert result.outputs[0].role == "mesh"
    with pytest.raises(InvalidArgument, match="prompt or a picture"):
        await run(node, retexture_request(node))
    assert len(meshy.made(RETEXTURE)) == 1


@pytest.mark.parametrize(
    "asked",
    [
        lambda mesh: animation_request(mesh, "106", upstream=""),
        lambda mesh: animation_request(mesh, "march", upstream="x"),
        lambda mesh: animation_request(mesh, "9999", upstream="x"),
        lambda mesh: rig_request(mesh, rig_mode="skin"),
        lambda mesh: rig_request(mesh, character_type="quadruped"),
        lambda mesh: rig_request(mesh, b"no model at all"),
        lambda mesh: image_request(mesh, b"no picture"),
        lambda mesh: image_request(mesh, picture(), quality="best"),
    ],
)
async def test_what_the_provider_would_refuse_is_not_sent(node: Mesh, meshy: FakeMeshy, asked) -> None:
    with pytest.raises(InvalidArgument):
        await run(node, asked(node))
    assert not meshy.calls


async def test_without_a_key_the_engines_say_what_to_set_and_do_not_run() -> None:
    fake = FakeMeshy()
    with fake.serving():
        settings = meshy_settings(fake, api_key="")
        async with node_with(meshy_engines(settings)) as mesh:
            state = await until(lambda: next((s for s in mesh.jobs.states if s.engines), None))
            row = {engine.id: engine for engine in state.engines}["meshy_rigging"]
            assert row.state == pb.ENGINE_STATE_UNAVAILABLE and "MAQUETTE_MESHY__API_KEY" in row.reason
            assert row.rank < 0 and row.kind == pb.ENGINE_KIND_PROVIDER
            with pytest.raises(MaquetteError):
                await run(mesh, rig_request(mesh))
        assert not fake.calls


@pytest.mark.parametrize(("status", "words"), [(401, "MAQUETTE_MESHY__API_KEY"), (402, "credits")])
async def test_a_refused_key_or_an_empty_account_fails_at_once_and_says_so(
    node: Mesh, meshy: FakeMeshy, status: int, words: str
) -> None:
    meshy.faults.append(Fault("POST", IMAGE, Answer(status, {"message": "no"})))
    with pytest.raises(FailedPrecondition) as caught:
        await run(node, image_request(node, picture()))
    assert caught.value.reason == "MODEL_NOT_AVAILABLE" and words in caught.value.message
    assert meshy.count("POST") == 1


@pytest.mark.parametrize("word", ["CANCELED", "EXPIRED"])
async def test_a_task_that_ends_otherwise_ends_the_run(node: Mesh, meshy: FakeMeshy, word: str) -> None:
    meshy.steps[IMAGE] = [("PENDING", 0), (word, 0)]
    with pytest.raises(Internal, match=word):
        await run(node, image_request(node, picture()))


async def test_a_status_that_nobody_told_of_is_waited_through(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = [("QUEUED_ELSEWHERE", 3), ("SUCCEEDED", 100)]
    events = await run(node, image_request(node, picture()))
    assert events[-1].HasField("result")
