"""FBX out and in: what Blender finds in a file is the rig that was meant. Skipped without Blender."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from maquette.geometry.codecs import encode
from maquette.geometry.codecs.fbx import FbxWorker, missing_parts
from maquette.geometry.codecs.gltf_arrays import Arrays, split
from maquette.geometry.codecs.gltf_character import read_character
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile
from maquette.runtime.errors import InvalidArgument
from services.rigging.engines.limb_graph import LimbGraph
from tests.support.figures import humanoid

BLENDER = Path(__file__).resolve().parents[3] / "workers" / "blender"
MOST = 1_000_000
pytestmark = [
    pytest.mark.skipif(bool(missing_parts(BLENDER)), reason=missing_parts(BLENDER) or "installed"),
    pytest.mark.timeout(300),
]


def rig(folder: Path, data: bytes, name: str, **parameters: Any) -> EngineResult:
    folder.mkdir()
    source = folder / name
    source.write_bytes(data)
    files = (InputFile("mesh", source, "", name),)
    work = folder / "work"
    work.mkdir()
    return LimbGraph(FbxWorker(BLENDER)).run(EngineRequest("auto_rig", parameters, files, work), _quiet)


def _quiet(stage: str, fraction: float, message: str = "", **more: Any) -> None:
    """Report to nobody."""


@pytest.fixture(scope="module")
def glb(tmp_path_factory: pytest.TempPathFactory) -> EngineResult:
    person = encode(humanoid(), "glb")[0].data
    folder = tmp_path_factory.mktemp("fbx") / "glb"
    return rig(folder, person, "person.glb", rig_mode="full", output_format="glb")


@pytest.fixture(scope="module")
def fbx(tmp_path_factory: pytest.TempPathFactory, glb: EngineResult) -> EngineResult:
    folder = tmp_path_factory.mktemp("fbx") / "fbx"
    data = glb.outputs[0].path.read_bytes()
    return rig(folder, data, "rigged.glb", rig_mode="skin", output_format="fbx")


def weights_by_joint(glb: bytes) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return points, weights ``(n, j)`` and joint names of a GLB whose meshes stand where they are."""
    container = split(glb)
    arrays, document = Arrays(container, MOST), container.document
    joints = document["skins"][0]["joints"]
    points, rows = [], []
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            attributes = primitive["attributes"]
            points.append(arrays.accessor(attributes["POSITION"]))
            chosen = arrays.accessor(attributes["JOINTS_0"]).astype(int)
            row = np.zeros((len(chosen), len(joints)))
            np.add.at(
                row, (np.arange(len(chosen))[:, None], chosen), arrays.accessor(attributes["WEIGHTS_0"])
            )
            rows.append(row)
    names = [document["nodes"][joint]["name"] for joint in joints]
    return np.concatenate(points), np.concatenate(rows), names


def test_blender_finds_the_same_joints_hierarchy_and_weights(fbx: EngineResult, tmp_path: Path) -> None:
    # The GLB that the FBX was made of: weights renewed on the same joints.
    model = fbx.outputs[0].path
    arrays, facts = tmp_path / "weights.npz", tmp_path / "facts.json"
    python = BLENDER / ".venv" / "bin" / "python"
    program = [str(python), str(BLENDER / "convert.py"), "weights", str(model), str(arrays), str(facts)]
    subprocess.run(program, check=True, capture_output=True, timeout=120)
    found = np.load(arrays)
    same = rig(tmp_path / "same", _input_of(fbx), "rigged.glb", rig_mode="skin", output_format="glb")
    points, weights, names = weights_by_joint(same.outputs[0].path.read_bytes())
    assert sorted(found["bones"].tolist()) == sorted(names)
    distance, nearest = cKDTree(found["vertices"]).query(points)
    assert len(found["vertices"]) == len(points) and distance.max() < 1e-5
    order = [found["bones"].tolist().index(name) for name in names]
    assert np.abs(found["weights"][nearest][:, order] - weights).max() <= 1e-4

    told = {bone["name"]: bone for bone in fbx.info["bones"]}
    for bone in same.info["bones"]:
        assert told[bone["name"]]["parent"] == bone["parent"]
        assert np.allclose(told[bone["name"]]["position"], bone["position"], atol=1e-4)
    assert fbx.info["bone_count"] == len(names) and fbx.info["format"] == "fbx"


def _input_of(result: EngineResult) -> bytes:
    return (result.outputs[0].path.parents[1] / "rigged.glb").read_bytes()


def test_an_fbx_can_be_rigged_and_bound(fbx: EngineResult, tmp_path: Path) -> None:
    data = fbx.outputs[0].path.read_bytes()
    bound = rig(tmp_path / "bound", data, "in.fbx", rig_mode="skin", output_format="glb")
    assert {bone["name"] for bone in bound.info["bones"]} == {bone["name"] for bone in fbx.info["bones"]}
    assert bound.info["unweighted_vertices"] == 0
    document = GltfDocument(bound.outputs[0].path.read_bytes(), MOST)
    character = read_character(document, MOST)
    low, high = character.vertices.min(axis=0), character.vertices.max(axis=0)
    assert np.allclose(low, fbx.info["bounds_min"], atol=1e-3)
    assert np.allclose(high, fbx.info["bounds_max"], atol=1e-3)


def test_a_damaged_fbx_is_refused_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Blender could not read the FBX file") as failed:
        rig(tmp_path / "x", b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(200), "x.fbx", rig_mode="full",
            output_format="glb")  # fmt: skip
    assert failed.value.reason == "INVALID_INPUT_FILE"
    assert not list((tmp_path / "x" / "work").iterdir())
