"""A mesh goes in at the front door; it comes out rigged, then moving, and other programs can read it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pygltflib
import pytest
import trimesh
from PIL import Image

from maquette.cli.client import ClientError, Progress, Rigging
from maquette.cli.motions import Animation
from maquette.cli.saving import save
from maquette.geometry.codecs import encode
from maquette.geometry.codecs.fbx import missing_parts
from services.animation.motion.figure import FIGURE
from tests.support.characters import splinters
from tests.support.figures import humanoid
from tests.support.mesh import RunningMesh

ROOT = Path(__file__).resolve().parents[2]
BLENDER = ROOT / "workers" / "blender"
VALIDATOR = ROOT / "node_modules" / "gltf-validator"


@pytest.fixture(scope="module")
def library(mesh: RunningMesh) -> RunningMesh:
    """The mesh, whose animation node has told its library."""
    mesh.until(lambda: mesh.http.get("/v1/animations").status_code == 200, "the library to be told", 90)
    return mesh


@pytest.fixture(scope="module")
def character(library: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person, rigged by the mesh."""
    folder = tmp_path_factory.mktemp("character")
    (folder / "person.glb").write_bytes(encode(humanoid(), "glb")[0].data)
    with library.client() as client:
        result = client.rig(folder / "person.glb", Rigging(), lambda _: None)
        save(client, result, folder / "rigged.glb")
    return folder / "rigged.glb"


def test_a_rigged_person_moves_for_other_programs_too(
    library: RunningMesh, character: Path, tmp_path: Path
) -> None:
    told: list[Progress] = []
    with library.client() as client:
        result = client.animate(character, Animation(motions=("30", "0"), fps=24.0), told.append)
        save(client, result, tmp_path / "moving.glb")

    model = pygltflib.GLTF2().load_binary(str(tmp_path / "moving.glb"))
    assert [each.name for each in model.animations] == ["casual walk", "idle"]
    assert len(model.skins) == 1 and len(model.skins[0].joints) == result.info["bone_count"]
    for animation, clip in zip(model.animations, result.info["animations"], strict=True):
        ends = [model.accessors[sampler.input].max[0] for sampler in animation.samplers]
        assert max(ends) == pytest.approx(clip["seconds"], abs=1e-3)
        assert clip["frames"] == round(24 * clip["seconds"]) + 1
    loaded = trimesh.load(tmp_path / "moving.glb", force="mesh", process=False)
    assert len(loaded.faces) == result.info["face_count"]

    with Image.open(tmp_path / "moving.preview.webp") as preview:
        assert preview.format == "WEBP" and getattr(preview, "n_frames", 1) > 8
    assert (tmp_path / "moving.thumbnail.png").read_bytes().startswith(b"\x89PNG")
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    check_with_khronos(tmp_path / "moving.glb")


def check_with_khronos(path: Path) -> None:
    """Fail where the Khronos validator, if it is installed, finds an error in a GLB."""
    if VALIDATOR.is_dir() and shutil.which("node"):
        command = ["node", str(ROOT / "tests" / "gltf_validator.mjs"), str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=True)
        assert json.loads(done.stdout)["numErrors"] == 0, done.stdout


def test_each_clip_can_have_a_file_of_its_own(library: RunningMesh, character: Path, tmp_path: Path) -> None:
    what = Animation(motions=("30", "casual_walk"), each=True, clip_only=True, in_place=True)
    with pytest.raises(ClientError, match="refused"), library.client() as client:
        client.animate(character, Animation(motions=("30", "30")), lambda _: None)
    with library.client() as client:
        result = client.animate(character, what, lambda _: None)
        save(client, result, tmp_path / "clip.glb")
    names = []
    for path in (tmp_path / "clip.glb", tmp_path / "clip-2.glb"):
        model = pygltflib.GLTF2().load_binary(str(path))
        assert not model.meshes
        check_with_khronos(path)
        names += [each.name for each in model.animations]
    assert names == [clip["name"] for clip in result.info["animations"]] and len(set(names)) == 2


def test_a_job_is_made_of_what_a_job_made(library: RunningMesh, character: Path) -> None:
    with library.client() as client:
        first = client.animate(character, Animation(motions=("march",), fps=12.0), lambda _: None)
        job_id = first.job["job_id"]
        asked = {"character_job_id": job_id, "animation_ids": [14], "keep_clips": True}
        second = library.http.post("/v1/animations", json=asked).json()["job_id"]
        client.follow(second, lambda _: None)
        info = client.job(second)["result"]["generation_info"]
    assert [clip["name"] for clip in info["animations"]] == ["run"]


def test_the_library_is_listed_and_shown(library: RunningMesh) -> None:
    with library.client() as client:
        found, names = client.library()
        assert len(found) == len({each["id"] for each in found}) == 678
        assert all(each["seconds"] > 0 and each["name"] and each["motion"] for each in found)
        assert all((each["match"] == "approximate") == bool(each["reason"]) for each in found)
        assert {0, 1, 30, 106} <= {each["id"] for each in client.library(match="exact")[0]}
        assert "quadruped_trot" in names
    preview_of = "/v1/animations/30/preview"
    # A slow machine answers 503 until it has drawn it.
    library.until(
        lambda: library.http.get(preview_of, timeout=60.0).status_code == 200, "the preview to be drawn", 200
    )
    answer = library.http.get(preview_of)
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as preview:
        assert preview.format == "WEBP" and getattr(preview, "n_frames", 1) > 8


def test_the_command_line_animates_and_lists(library: RunningMesh, tmp_path: Path) -> None:
    (tmp_path / "joints.glb").write_bytes(splinters(FIGURE))

    def maquette(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "maquette.cli", *map(str, words), "--url", library.url]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)

    done = maquette("animate", tmp_path / "joints.glb", "--motion", "walk", "-o", tmp_path / "walk.glb")
    assert done.returncode == 0, done.stderr
    assert "walk" in done.stdout
    model = pygltflib.GLTF2().load_binary(str(tmp_path / "walk.glb"))
    assert len(model.animations) == 1
    listed = maquette("animations", "casual", "walk", "--match", "exact")
    assert listed.returncode == 0 and "casual walk" in listed.stdout
    nothing = maquette("animate", tmp_path / "joints.glb", "--motion", "casuwalk")
    assert nothing.returncode == 1 and "casual_walk" in nothing.stderr


def test_what_has_no_rig_fails_with_the_reason(library: RunningMesh, tmp_path: Path) -> None:
    path = tmp_path / "person.glb"
    path.write_bytes(encode(humanoid(), "glb")[0].data)
    with library.client() as client, pytest.raises(ClientError, match="no skeleton to move; rig it first"):
        client.animate(path, Animation(motions=("30",)), lambda _: None)


@pytest.mark.skipif(bool(missing_parts(BLENDER)), reason=missing_parts(BLENDER) or "installed")
def test_an_fbx_holds_the_clips_and_is_taken_again(
    library: RunningMesh, character: Path, tmp_path: Path
) -> None:
    with library.client() as client:
        result = client.animate(character, Animation(motions=("30",), output_format="fbx"), lambda _: None)
        save(client, result, tmp_path / "moving.fbx")
        assert (tmp_path / "moving.fbx").read_bytes().startswith(b"Kaydara FBX Binary")
        own = Animation(clip=tmp_path / "moving.fbx")
        again = client.animate(character, own, lambda _: None)
    (meant,), (got,) = result.info["animations"], again.info["animations"]
    assert got["seconds"] == pytest.approx(meant["seconds"], abs=0.05)
