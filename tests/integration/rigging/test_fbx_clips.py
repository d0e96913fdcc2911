"""Clips go into FBX and come out of it, each with its name, length and rate. Skipped without Blender."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs import MeshLimits, decode, encode
from maquette.geometry.codecs.fbx import Blender, FbxWorker, missing_parts
from maquette.geometry.codecs.gltf_clips import strip_to_clips, world_poses, write_clips
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.codecs.gltf_rig import FileRig, read_rig
from maquette.geometry.errors import UnreadableMesh
from maquette.geometry.rig import Clip, Skeleton
from maquette.runtime.engine import EngineRequest, InputFile
from services.rigging.engines.limb_graph import LimbGraph
from tests.support.figures import humanoid

BLENDER = Path(__file__).resolve().parents[3] / "workers" / "blender"
MOST = 1_000_000
LONGEST = 600.0
pytestmark = [
    pytest.mark.skipif(bool(missing_parts(BLENDER)), reason=missing_parts(BLENDER) or "installed"),
    pytest.mark.timeout(300),
]


def swing(skeleton: Skeleton, name: str, fps: float, seconds: float) -> Clip:
    """Turn every joint to and fro about an axis of its own, and let the first one walk."""
    times = np.arange(round(seconds * fps) + 1) / fps
    random = np.random.default_rng(len(name))
    turns = np.empty((len(times), len(skeleton.names), 4))
    for joint, local in enumerate(skeleton.local):
        axis = random.normal(size=3)
        angle = 0.4 * np.sin(2.0 * np.pi * times / seconds + joint)
        turn = Rotation.from_rotvec(angle[:, None] * axis / np.linalg.norm(axis))
        turns[:, joint] = (Rotation.from_matrix(local[:3, :3]) * turn).as_quat()
    way = skeleton.local[0, :3, 3] + times[:, None] * np.array([0.0, 0.0, 0.8])
    return Clip(name, times, turns, {0: way})


@dataclass
class Moving:
    """A rigged figure with clips, as a document."""

    document: GltfDocument
    rig: FileRig
    clips: list[Clip]
    path: Path


@pytest.fixture(scope="module")
def blender() -> Blender:
    return Blender.open(BLENDER)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Moving:
    folder = tmp_path_factory.mktemp("moving")
    (folder / "person.glb").write_bytes(encode(humanoid(), "glb")[0].data)
    work = folder / "work"
    work.mkdir()
    files = (InputFile("mesh", folder / "person.glb", "", "person.glb"),)
    request = EngineRequest("auto_rig", {"rig_mode": "full", "output_format": "glb"}, files, work)
    rigged = LimbGraph(FbxWorker(BLENDER)).run(request, lambda *_, **__: None).outputs[0].path
    document = GltfDocument(rigged.read_bytes(), MOST)
    rig = read_rig(document)
    assert rig is not None
    clips = [swing(rig.skeleton, "walk", 24.0, 1.5), swing(rig.skeleton, "hop|high", 60.0, 0.75)]
    write_clips(document, rig, clips)
    (folder / "moving.glb").write_bytes(document.encode())
    return Moving(document, rig, clips, folder / "moving.glb")


@pytest.fixture(scope="module")
def fbx(blender: Blender, moving: Moving) -> tuple[Path, dict[str, Any]]:
    path = moving.path.with_suffix(".fbx")
    return path, blender.to_fbx(moving.path, path, lambda: None)


def read(path: Path, fps: float) -> tuple[GltfDocument, FileRig, tuple[Clip, ...]]:
    document = GltfDocument(path.read_bytes(), MOST)
    rig = read_rig(document)
    assert rig is not None
    return document, rig, read_clips(document, rig, fps, max_seconds=LONGEST)


def test_each_clip_is_a_take_with_its_name_length_and_rate(fbx: tuple[Path, dict[str, Any]]) -> None:
    told = fbx[1]["clips"]
    assert [clip["name"] for clip in told] == ["walk", "hop|high"]
    assert [clip["seconds"] for clip in told] == [1.5, 0.75]
    assert [(clip["fps"], clip["frames"]) for clip in told] == [(24.0, 37), (60.0, 46)]
    assert fbx[1]["clips_left_out"] == []


def test_blender_moves_the_skin_as_the_clip_says(
    fbx: tuple[Path, dict[str, Any]], moving: Moving, tmp_path: Path
) -> None:
    arrays, facts = tmp_path / "poses.npz", tmp_path / "facts.json"
    program = [str(BLENDER / ".venv" / "bin" / "python"), str(BLENDER / "convert.py"), "poses"]
    subprocess.run([*program, fbx[0], arrays, facts], check=True, capture_output=True, timeout=200)
    found, names = np.load(arrays), [clip["name"] for clip in json.loads(facts.read_text())["clips"]]
    asset = decode(moving.document.encode(), "glb", MeshLimits())
    puppet = Puppet(moving.document, moving.rig, asset, MOST)

    def points(pose: np.ndarray) -> np.ndarray:
        return np.concatenate([part.mesh.vertices for part in puppet.pose(pose).parts])

    rest = points(moving.rig.skeleton.rest)
    diagonal = float(np.linalg.norm(np.ptp(rest, axis=0)))
    distance, place = cKDTree(found["rest"]).query(rest)
    assert distance.max() < 1e-4 * diagonal
    for clip in moving.clips:
        number = names.index(clip.name)
        moments = found[f"times_{number}"]
        assert np.allclose(moments, np.linspace(0.0, clip.seconds, 5), atol=1e-4)
        # The moments lie on frames of a clip with 1000 frames.
        _, rig, sampled = read(moving.path, 1000.0 / clip.seconds)
        fine = next(one for one in sampled if one.name == clip.name)
        poses = world_poses(rig.skeleton, fine)
        for moment, shape in zip((0, 250, 500, 750, 1000), found[f"clip_{number}"], strict=True):
            off = np.linalg.norm(points(poses[moment]) - shape[place], axis=1).max()
            assert off < 1e-3 * diagonal


@pytest.mark.parametrize("whole", [True, False])
def test_a_client_s_own_fbx_is_a_source_of_motion(
    blender: Blender, fbx: tuple[Path, dict[str, Any]], moving: Moving, tmp_path: Path, whole: bool
) -> None:
    target = tmp_path / "back.glb"
    job = blender.to_glb if whole else blender.motion_to_glb
    told = job(fbx[0], target, lambda: None)
    assert [clip["name"] for clip in told["clips"]] == ["walk", "hop|high"]
    document, rig, clips = read(target, 120.0)
    assert ("meshes" in document.json) == whole
    size = float(np.ptp(rig.skeleton.heads, axis=0).max())
    for clip in read(moving.path, 120.0)[2]:
        again = next(one for one in clips if one.name == clip.name)
        assert abs(again.seconds - clip.seconds) < 1e-3
        order = [rig.skeleton.names.index(name) for name in moving.rig.skeleton.names]
        meant = world_poses(moving.rig.skeleton, clip)[..., :3, 3]
        found = world_poses(rig.skeleton, again)[..., :3, 3][:, order]
        assert np.abs(found - meant).max() < 2e-3 * size


def test_a_skeleton_without_a_mesh_keeps_its_clips(blender: Blender, moving: Moving, tmp_path: Path) -> None:
    bare, model, back = tmp_path / "bare.glb", tmp_path / "bare.fbx", tmp_path / "back.glb"
    bare.write_bytes(strip_to_clips(moving.document, moving.rig, moving.clips[:1]))
    told = blender.to_fbx(bare, model, lambda: None)
    assert [clip["name"] for clip in told["clips"]] == ["walk"]
    blender.motion_to_glb(model, back, lambda: None)
    _, rig, (clip,) = read(back, 24.0)
    assert set(rig.skeleton.names) == set(moving.rig.skeleton.names)
    assert (clip.name, round(clip.seconds, 3)) == ("walk", 1.5)
    with pytest.raises(UnreadableMesh, match="holds no mesh"):
        blender.to_glb(model, back, lambda: None)


def test_a_clip_of_ten_hours_is_left_out_and_told(blender: Blender, moving: Moving, tmp_path: Path) -> None:
    document = GltfDocument(moving.path.read_bytes(), MOST)
    slow = moving.clips[0]
    times = np.linspace(0.0, 36_000.0, len(slow.times))
    write_clips(document, moving.rig, [Clip("endless", times, slow.rotations, slow.translations)])
    (tmp_path / "long.glb").write_bytes(document.encode())
    told = blender.to_fbx(tmp_path / "long.glb", tmp_path / "long.fbx", lambda: None)
    assert told["clips_left_out"] == ["endless"]
    assert [clip["name"] for clip in told["clips"]] == ["walk", "hop|high"]
