"""Clips go into a rigged GLB beside what is there, and come out as they went in."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maquette.geometry.codecs.gltf_clips import strip_to_clips, world_poses, write_clips
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig, read_rig
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip
from services.animation.library import MOVES
from services.animation.motion.figure import FIGURE
from services.animation.retarget import retarget, take_of_motion
from tests.support.characters import splinters

ROOT = Path(__file__).resolve().parents[3]
VALIDATOR = ROOT / "node_modules" / "gltf-validator"
MOST = 1000
LONGEST = 600.0


def rigged(scale: float = 1.0) -> GltfDocument:
    return GltfDocument(splinters(FIGURE, scale=scale), MOST)


def rig_of(document: GltfDocument) -> FileRig:
    rig = read_rig(document)
    assert rig is not None
    return rig


def clip(rig: FileRig, name: str = "casual_walk") -> Clip:
    move = MOVES[name]
    return retarget(take_of_motion(move.perform(30.0), loop=move.loop), rig.skeleton, name=name).clip


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_a_clip_is_read_as_it_was_written(scale: float) -> None:
    document = rigged(scale)
    rig = rig_of(document)
    written = clip(rig)
    write_clips(document, rig, [written])
    again = GltfDocument(document.encode(), MOST)
    (read,) = read_clips(again, rig_of(again), 30.0, max_seconds=LONGEST)
    assert read.name == "casual_walk"
    assert np.allclose(read.times, written.times, atol=1e-5)
    first, second = (world_poses(rig.skeleton, c)[..., :3, 3] for c in (written, read))
    assert np.abs(first - second).max() < 1e-4


def test_everything_else_stays_as_it_was_to_the_byte() -> None:
    document = rigged()
    before = copy.deepcopy(document.json)
    size = before["buffers"][0]["byteLength"]
    bytes_before = document.arrays.buffer(0)[:size]
    rig = rig_of(document)
    write_clips(document, rig, [clip(rig), clip(rig, "march")])
    after = GltfDocument(document.encode(), MOST)
    assert after.arrays.buffer(0)[:size] == bytes_before
    for name in before:
        if name not in ("buffers", "accessors", "bufferViews"):
            assert after.json[name] == before[name]
    assert after.json["accessors"][: len(before["accessors"])] == before["accessors"]
    assert [entry["name"] for entry in after.json["animations"]] == ["casual_walk", "march"]


def test_only_what_moves_has_a_channel() -> None:
    document = rigged()
    rig = rig_of(document)
    turns = np.tile([0.0, 0.0, 0.0, 1.0], (3, len(FIGURE.names), 1))
    head = FIGURE.names.index("head")
    turns[1, head] = [0.0, np.sin(0.2), 0.0, np.cos(0.2)]
    path = np.tile(FIGURE.heads[0], (3, 1))
    write_clips(document, rig, [Clip("nod", np.array([0.0, 0.5, 1.0]), turns, {0: path})])
    (animation,) = document.json["animations"]
    (channel,) = animation["channels"]
    assert channel["target"] == {"node": rig.nodes[head], "path": "rotation"}
    assert animation["samplers"][0]["interpolation"] == "LINEAR"


def test_the_skeleton_and_its_clip_can_be_had_without_the_mesh() -> None:
    document = rigged(0.01)
    rig = rig_of(document)
    written = clip(rig)
    bare = GltfDocument(strip_to_clips(document, rig, [written]), MOST)
    assert "meshes" not in bare.json
    found = rig_of(bare)
    assert found.skeleton.names == rig.skeleton.names
    assert np.allclose(found.skeleton.rest, rig.skeleton.rest, atol=1e-5)
    (read,) = read_clips(bare, found, 30.0, max_seconds=LONGEST)
    poses = [world_poses(rig.skeleton, c)[..., :3, 3] for c in (written, read)]
    assert np.abs(poses[0] - poses[1]).max() < 1e-4


@pytest.mark.skipif(
    not VALIDATOR.is_dir() or not shutil.which("node"), reason="needs node and gltf-validator"
)
@pytest.mark.parametrize("bare", [False, True])
def test_the_khronos_validator_finds_no_error(tmp_path: Path, bare: bool) -> None:
    document = rigged(0.01)
    rig = rig_of(document)
    clips = [clip(rig), clip(rig, "march")]
    file = tmp_path / "model.glb"
    if bare:
        file.write_bytes(strip_to_clips(document, rig, clips))
    else:
        write_clips(document, rig, clips)
        file.write_bytes(document.encode())
    run = subprocess.run(
        ["node", str(ROOT / "tests" / "gltf_validator.mjs"), str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    issues = json.loads(run.stdout)
    assert issues["numErrors"] == 0, issues["messages"]


def animated(values: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[GltfDocument, FileRig]:
    document = rigged()
    rig = rig_of(document)
    sampler = {
        "input": document.add_array(times.astype("<f4")[:, None], "SCALAR"),
        "output": document.add_array(values.astype("<f4"), "VEC4"),
    }
    channel = {"sampler": 0, "target": {"node": rig.nodes[5], "path": "rotation"}}
    document.json["animations"] = [{"channels": [channel], "samplers": [sampler]}]
    again = GltfDocument(document.encode(), MOST)
    return again, rig_of(again)


STILL = np.tile([0.0, 0.0, 0.0, 1.0], (2, 1))


@pytest.mark.parametrize(
    ("values", "times", "reason"),
    [
        (STILL * np.nan, np.array([0.0, 1.0]), "no numbers"),
        (STILL, np.array([0.0, np.inf]), "no numbers"),
        (STILL, np.array([1.0, 0.0]), "do not rise"),
        (STILL, np.array([0.0, 36_000.0]), "36000 seconds long"),
        (STILL[:1], np.array([0.0, 1.0]), "do not fit"),
        (STILL * 0, np.array([0.0, 1.0]), "no direction"),
    ],
)
def test_broken_clips_are_refused(
    values: NDArray[np.float64], times: NDArray[np.float64], reason: str
) -> None:
    document, rig = animated(values, times)
    with pytest.raises(MeshError, match=reason):
        read_clips(document, rig, 30.0, max_seconds=LONGEST)
