"""A mesh goes in at the front door; the same mesh with a skeleton and weights comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maquette.cli.client import ClientError, Progress, Rigging
from maquette.cli.saving import save
from maquette.geometry.codecs import encode
from maquette.geometry.codecs.fbx import missing_parts
from maquette.geometry.codecs.gltf_rig import measure_rig
from tests.support.figures import humanoid
from tests.support.mesh import RunningMesh

BLENDER = Path(__file__).resolve().parents[2] / "workers" / "blender"


@pytest.fixture
def person(tmp_path: Path) -> Path:
    path = tmp_path / "person.glb"
    path.write_bytes(encode(humanoid(), "glb")[0].data)
    return path


def test_a_person_comes_back_rigged(mesh: RunningMesh, tmp_path: Path, person: Path) -> None:
    told: list[Progress] = []
    with mesh.client() as client:
        result = client.rig(person, Rigging(model="unirig_auto_rig"), told.append)
        save(client, result, tmp_path / "rigged.glb")
    body = result.job["result"]
    assert body["rig_info"]["has_skinning"] and body["format"] == "glb"
    assert result.info["model_used"] == "limb_graph" and result.info["requested_model"] == "unirig_auto_rig"
    measured = measure_rig((tmp_path / "rigged.glb").read_bytes(), 1_000_000)
    assert measured["bone_count"] == body["bone_count"] == len(result.info["bones"])
    assert measured["unweighted_vertices"] == 0
    assert (tmp_path / "rigged.thumbnail.png").read_bytes().startswith(b"\x89PNG")
    assert {"fitting", "binding"} <= {progress.stage for progress in told}
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_the_command_line_rigs_too(mesh: RunningMesh, tmp_path: Path, person: Path) -> None:
    out = tmp_path / "joints.obj"
    command = [sys.executable, "-m", "maquette.cli", "rig", person, "-o", out, "--mode", "skeleton", "--url"]
    done = subprocess.run([*command, mesh.url], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert out.read_text().startswith("# Maquette")
    sidecar = json.loads((tmp_path / "model.rig.json").read_text())
    assert sidecar["weights"] == [] and len(sidecar["bones"]) > 10


def test_what_is_no_character_fails_with_the_reason(mesh: RunningMesh, tmp_path: Path) -> None:
    path = tmp_path / "triangle.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with mesh.client() as client, pytest.raises(ClientError, match="pose estimation failed: "):
        client.rig(path, Rigging(), lambda _: None)


@pytest.mark.skipif(bool(missing_parts(BLENDER)), reason=missing_parts(BLENDER) or "installed")
def test_an_fbx_is_made_inside_the_worker_s_limits(mesh: RunningMesh, tmp_path: Path, person: Path) -> None:
    with mesh.client() as client:
        result = client.rig(person, Rigging("fbx", "full"), lambda _: None)
        save(client, result, tmp_path / "rigged.fbx")
        assert (tmp_path / "rigged.fbx").read_bytes().startswith(b"Kaydara FBX Binary")
        again = client.rig(tmp_path / "rigged.fbx", Rigging("glb", "skin"), lambda _: None)
    names = [{bone["name"] for bone in one.info["bones"]} for one in (result, again)]
    assert names[0] == names[1]
