"""A run of `limb_graph`: what it delivers, what it tells, what it refuses, and that it can be stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maquette.geometry.asset import Asset, Mesh, Part
from maquette.geometry.codecs import decode, encode
from maquette.geometry.codecs.gltf_arrays import split
from maquette.geometry.codecs.gltf_rig import measure_rig
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile
from maquette.runtime.errors import Cancelled, InvalidArgument, MaquetteError
from services.rigging.engines import engines
from tests.support import capsules
from tests.support.figures import humanoid

MALFORMED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "malformed"
MOST = 1_000_000


def quiet(stage: str, fraction: float, message: str = "", **more: Any) -> None:
    """Report to nobody."""


def rig(
    folder: Path, data: bytes, name: str = "model.glb", report: Callable[..., None] = quiet, **parameters: Any
) -> EngineResult:
    folder.mkdir(exist_ok=True)
    source = folder / f"in-{name}"
    source.write_bytes(data)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    given = {"rig_mode": "full", "output_format": "glb", **parameters}
    request = EngineRequest("auto_rig", given, (InputFile("mesh", source, "", name),), work)
    (engine,) = engines()
    return engine.run(request, report)


def files(result: EngineResult) -> dict[str, bytes]:
    return {output.role: output.path.read_bytes() for output in result.outputs}


@pytest.fixture(scope="module")
def person() -> bytes:
    return encode(humanoid(), "glb")[0].data


@pytest.fixture(scope="module")
def stages() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, person: bytes, stages: list[Any]) -> EngineResult:
    return rig(
        tmp_path_factory.mktemp("full"),
        person,
        report=lambda stage, share, *_, **__: stages.append((stage, share)),
    )


def test_a_person_gets_a_skeleton_and_weights(full: EngineResult) -> None:
    info = full.info
    assert info["rig_info"] == {
        "rig_type": "humanoid",
        "has_skinning": True,
        "skeleton_only": False,
        "bone_count": info["bone_count"],
        "rig_mode": "full",
    }
    assert info["animation_ready"] and info["unweighted_vertices"] == 0
    assert info["pose"]["kind"] == "T"
    names = {bone["name"] for bone in info["bones"]}
    assert {"hips", "head", "leftUpperArm", "rightLowerLeg"} <= names
    assert len(names) == info["bone_count"] == len(info["bones"])
    assert all(bone["parent"] in names for bone in info["bones"][1:]) and info["bones"][0]["parent"] is None


def test_what_is_told_is_what_is_in_the_file(full: EngineResult) -> None:
    delivered = files(full)
    assert measure_rig(delivered["mesh"], MOST)["bones"] == full.info["bones"]
    assert decode(delivered["mesh"], "glb").vertex_count == full.info["vertex_count"]
    assert len(delivered["mesh"]) == full.info["file_size_bytes"]
    assert delivered["thumbnail"].startswith(b"\x89PNG")


def test_progress_rises_through_every_stage(full: EngineResult, stages: list[tuple[str, float]]) -> None:
    assert list(dict.fromkeys(stage for stage, _ in stages)) == [
        "reading",
        "fitting",
        "binding",
        "writing",
        "rendering",
    ]
    shares = [share for _, share in stages]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1


def test_a_rigged_model_is_rigged_anew_and_told_so(full: EngineResult, tmp_path: Path) -> None:
    again = rig(tmp_path, files(full)["mesh"])
    assert any("was replaced" in warning for warning in again.warnings)
    assert again.info["bone_count"] == full.info["bone_count"]
    first, second = (split(files(result)["mesh"]).document for result in (full, again))
    assert len(second["skins"]) == 1
    assert sorted(node.get("name", "") for node in first["nodes"]) == sorted(
        node.get("name", "") for node in second["nodes"]
    )


def test_joints_alone_can_be_had_and_bound_later(tmp_path: Path, person: bytes) -> None:
    joints = rig(tmp_path / "a", person, rig_mode="skeleton")
    assert joints.info["rig_info"]["skeleton_only"] and not joints.info["animation_ready"]
    bound = rig(tmp_path / "b", files(joints)["mesh"], rig_mode="skin")
    assert bound.info["bones"] == joints.info["bones"]
    assert bound.info["rig_info"]["has_skinning"] and bound.info["unweighted_vertices"] == 0
    assert bound.info["rig_info"]["rig_type"] == "existing"


def test_an_obj_has_its_rig_beside_it(full: EngineResult, tmp_path: Path) -> None:
    result = rig(tmp_path, files(full)["mesh"], rig_mode="skin", output_format="obj")
    delivered = files(result)
    sidecar = json.loads(delivered["rig"])
    lines = [line for line in delivered["mesh"].splitlines() if line.startswith(b"v ")]
    assert len(sidecar["weights"]) == len(lines)
    assert np.allclose(np.sum(sidecar["weights"], axis=1), 1, atol=1e-5)
    assert sidecar["bones"] == result.info["bones"]
    assert any("model.rig.json" in warning for warning in result.warnings)


@pytest.mark.parametrize("stage", ["reading", "fitting", "binding", "writing", "rendering"])
def test_it_stops_at_the_next_stage_when_cancelled(
    tmp_path: Path, full: EngineResult, person: bytes, stage: str
) -> None:
    def report(now: str, *_: Any, **__: Any) -> None:
        if now == stage:
            raise Cancelled("the task was cancelled")

    # What has joints is bound without being fitted, which is the long part.
    mode, data = ("full", person) if stage == "fitting" else ("skin", files(full)["mesh"])
    with pytest.raises(Cancelled):
        rig(tmp_path, data, report=report, rig_mode=mode)


def test_a_mesh_of_three_points_is_no_character(tmp_path: Path) -> None:
    triangle = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    data = encode(Asset("t", (Part("t", triangle),)), "glb")[0].data
    with pytest.raises(InvalidArgument, match=r"^pose estimation failed: ") as failed:
        rig(tmp_path, data)
    assert failed.value.reason == "RIGGING_FAILED"


def test_a_character_of_another_type_than_asked_for_gets_no_rig(tmp_path: Path) -> None:
    character = capsules.cow()
    mesh = Mesh(character.vertices.astype(np.float32), character.faces.astype(np.int32))
    data = encode(Asset("c", (Part("c", mesh),)), "glb")[0].data
    with pytest.raises(InvalidArgument, match=r"^pose estimation failed: it stands on four ") as failed:
        rig(tmp_path, data, character_type="humanoid")
    assert failed.value.reason == "RIGGING_FAILED"
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"rig_mode": "dance"}, "rig_mode"),
        ({"character_type": "dragon"}, "character_type"),
        ({"output_format": "fbx"}, "output_format"),  # without Blender
        ({"bone_count": 1}, "bone_count"),
        ({"rig_mode": "skin"}, "no joints"),
        ({"rig_mode": "skin", "include_weights": False}, "include_weights"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    tmp_path: Path, person: bytes, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words):
        rig(tmp_path, person, **parameters)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("points.ply", b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
         b"property float z\nend_header\n0 0 0\n1 0 0\n0 1 0\n", "no faces"),
        ("empty.glb", b"", "empty"),
        ("text.fbx", b"; FBX 7.4.0 project file\n", "binary FBX"),
        ("one-place.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "one place"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_rigged_is_refused_in_words(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words) as failed:
        rig(tmp_path, data, name)
    assert failed.value.reason == "INVALID_INPUT_FILE"


def test_more_than_a_million_faces_are_refused_at_once(tmp_path: Path) -> None:
    side = 720
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([corner[:, None] + (0, 1, side), corner[:, None] + (1, side + 1, side)])
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1).astype(np.float32)
    sheet = Asset("s", (Part("s", Mesh(points, faces.astype(np.int32))),))
    with pytest.raises(InvalidArgument, match="at most 1,000,000"):
        rig(tmp_path, encode(sheet, "glb")[0].data)


@pytest.mark.skipif(not MALFORMED.is_dir(), reason="the folder of malformed files is not here")
def test_every_malformed_file_is_refused_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    """None of them has joints, so none can be bound; to fit skeletons to them all would take minutes."""
    for path in sorted(MALFORMED.iterdir()):
        with pytest.raises(MaquetteError) as failed:
            rig(tmp_path, path.read_bytes(), path.name, rig_mode="skin")
        assert failed.value.reason == "INVALID_INPUT_FILE", path.name
        assert failed.value.message.endswith(".") and len(failed.value.message) > 15, path.name
        assert not list((tmp_path / "work").iterdir()), path.name
