"""A picture goes in at the front door; a textured model comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image

from maquette.cli.client import ClientError, Generation, Progress
from maquette.cli.running import sample_picture
from maquette.cli.saving import save
from tests.support.mesh import RunningMesh


def test_the_sample_becomes_a_textured_glb_with_a_thumbnail(mesh: RunningMesh, tmp_path: Path) -> None:
    told: list[Progress] = []
    with mesh.client() as client:
        result = client.generate(sample_picture(), Generation(texture_resolution=512), told.append)
        save(client, result, tmp_path / "model.glb", thumbnail=tmp_path / "thumbnail.png")

    model = pygltflib.GLTF2().load_binary(str(tmp_path / "model.glb"))
    assert model.materials[0].pbrMetallicRoughness.baseColorTexture is not None
    scene = trimesh.load(tmp_path / "model.glb")
    low, high = scene.bounds
    assert low[1] == pytest.approx(0, abs=1e-3), "it stands on the ground, Y up"
    assert np.all(high - low > 0.05)

    thumbnail = np.asarray(Image.open(tmp_path / "thumbnail.png").convert("RGBA"))
    assert 0.05 < (thumbnail[..., 3] > 0).mean() < 0.95, "an object before a transparent ground"
    assert thumbnail[thumbnail[..., 3] > 0][:, :3].std() > 5, "and not of one colour"

    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len({progress.stage for progress in told}) >= 4


def test_facts_of_the_result_are_those_of_the_file(mesh: RunningMesh, tmp_path: Path) -> None:
    with mesh.client() as client:
        result = client.generate(sample_picture(), Generation(raw=True), lambda _: None)
        save(client, result, tmp_path / "raw.glb")
    loaded = trimesh.load(tmp_path / "raw.glb", force="mesh", process=False)
    assert result.info["vertex_count"] == len(loaded.vertices)
    assert result.info["face_count"] == len(loaded.faces)
    assert result.info["model_used"]


def test_an_obj_finds_its_material_and_its_texture(mesh: RunningMesh, tmp_path: Path) -> None:
    with mesh.client() as client:
        result = client.generate(
            sample_picture(), Generation(output_format="obj", texture_resolution=256), lambda _: None
        )
        save(client, result, tmp_path / "model.obj")
    (material,) = _named(tmp_path / "model.obj", "mtllib")
    (texture,) = _named(tmp_path / material, "map_Kd")
    assert Image.open(tmp_path / texture).size == (256, 256)
    loaded = trimesh.load(tmp_path / "model.obj", force="mesh")
    assert len(loaded.faces) > 100
    assert loaded.visual.uv is not None


def _named(path: Path, keyword: str) -> list[str]:
    lines = [line.split(maxsplit=1) for line in path.read_text().splitlines()]
    return [words[1].strip() for words in lines if len(words) == 2 and words[0] == keyword]


def test_a_file_that_is_no_picture_is_refused_in_words(mesh: RunningMesh, tmp_path: Path) -> None:
    fake = tmp_path / "photo.jpg"
    fake.write_text("not a picture")
    with mesh.client() as client, pytest.raises(ClientError, match=r"^The server refused \(400\): \w+"):
        client.upload(fake)


def test_every_process_answers_for_itself_and_none_is_root_that_need_not_be(mesh: RunningMesh) -> None:
    health = mesh.http.get("/health")
    assert health.json()["status"] == "healthy"
    assert set(mesh.pids()) == {
        "postgres",
        "storage",
        "jobs",
        "meshgen",
        "rigging",
        "animation",
        "gateway",
        "envoy",
    }
    for name in ("postgres", "envoy"):
        uids = Path(f"/proc/{mesh.pid(name)}/status").read_text().split("Uid:")[1].split()[:4]
        assert "0" not in uids, f"{name} runs as root"


def test_services_log_json_lines(mesh: RunningMesh) -> None:
    for name in ("storage", "jobs", "meshgen", "rigging", "animation", "gateway"):
        events = [json.loads(line) for line in mesh.log(name).splitlines()]
        assert any(event["event"] == "serving" for event in events), name
        assert {event["service"] for event in events} == {name}
