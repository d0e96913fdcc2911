"""BVH files are read strictly, and their motion can be taken over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maquette.geometry.codecs.bvh import UnreadableMotion, read_bvh
from maquette.geometry.codecs.gltf_clips import world_poses
from services.animation.motion.figure import FIGURE, JOINTS
from services.animation.retarget import NoHumanoid, retarget, take_of_clip

CAPTURED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "animation"
LONGEST = 600.0
HEAD = """HIERARCHY
ROOT Hips
{
  OFFSET 0 1 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Chest
  {
    OFFSET 0 0.5 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 0.25 0
    }
  }
}
"""
ROW = "0 1 0 0 0 0 0 0 0\n"


def bvh(head: str = HEAD, frames: str = "2", step: str = "0.04", rows: str = ROW * 2) -> bytes:
    return f"{head}MOTION\nFrames: {frames}\nFrame Time: {step}\n{rows}".encode()


def test_rotations_are_applied_in_the_order_of_their_channels() -> None:
    skeleton, clip = read_bvh(bvh(rows="0 1 0 90 90 0 0 0 0\n" * 2), max_seconds=LONGEST)
    assert skeleton.names == ("Hips", "Chest", "Chest_end")
    # About z by 90 degrees, and in what that has turned about x: the chest comes to lie in front.
    assert np.allclose(world_poses(skeleton, clip)[0, 1, :3, 3], [0.0, 1.0, 0.5], atol=1e-9)
    assert clip.seconds == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no BVH file"),
        (b"\x00\x01\x02MOTION", "no BVH file"),
        (HEAD.encode(), "no BVH file"),
        (bvh(step="0"), "no frames per second"),
        (bvh(step="0.0001"), "1e\\+04 frames per second"),
        (bvh(step="nan"), "no numbers"),
        (bvh(frames="0", rows=""), "no frames"),
        (bvh(frames="-3"), "no frames"),
        (bvh(frames="900001"), "36000 seconds long"),
        (bvh(frames="3"), "holds 18 values"),
        (bvh(rows=ROW + "0 1 0 0 0 0 0 0 nan\n"), "no numbers"),
        (bvh(rows=ROW + "0 1 0 0 0 0 0 0 wrong\n"), "words where numbers"),
        (bvh(HEAD.replace("CHANNELS 3", "CHANNELS 4")), "channels of Chest"),
        (
            bvh(
                HEAD.replace(
                    "Zrotation Xrotation Yrotation\n    End", "Zrotation Zrotation Yrotation\n    End"
                )
            ),
            "twice",
        ),
        (bvh(HEAD.replace("OFFSET 0 0.5 0", "OFFSET 0 0.5")), "offset of Chest"),
        (bvh(HEAD.replace("  }\n}\n", "  }\n")), "not complete"),
        (bvh(HEAD + HEAD.removeprefix("HIERARCHY\n")), "several skeletons"),
        (bvh(HEAD.replace("JOINT Chest", "JOINT")), "no name"),
    ],
)
def test_a_malformed_file_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableMotion, match=reason):
        read_bvh(data, max_seconds=LONGEST)


def test_a_skeleton_that_is_no_body_cannot_be_taken_over() -> None:
    skeleton, clip = read_bvh(bvh(), max_seconds=LONGEST)
    with pytest.raises(NoHumanoid):
        retarget(take_of_clip(skeleton, clip, 30.0), FIGURE, name="x")


@pytest.mark.skipif(not CAPTURED.is_dir(), reason="the captured motions are not here")
@pytest.mark.parametrize("name", ["bvhtoolbox_walk01", "cmu_02_01"])
def test_captured_walks_point_limbs_where_they_did(name: str) -> None:
    skeleton, clip = read_bvh((CAPTURED / f"{name}.bvh").read_bytes(), max_seconds=LONGEST)
    take = take_of_clip(skeleton, clip, 24.0)
    poses = world_poses(FIGURE, retarget(take, FIGURE, name="x").clip)[..., :3, 3]
    limbs = {"LowerArm": ("ForeArm", "Arm"), "Hand": ("Hand", "ForeArm"), "Foot": ("Foot", "Leg")}
    limbs["LowerLeg"] = ("Leg", "UpLeg")
    above = {"LowerArm": "UpperArm", "Hand": "LowerArm", "Foot": "LowerLeg", "LowerLeg": "UpperLeg"}
    for side in ("left", "right"):
        for part, (end, start) in limbs.items():
            mine = poses[:, JOINTS[side + part]] - poses[:, JOINTS[side + above[part]]]
            ends = [skeleton.names.index(side.title() + word) for word in (end, start)]
            theirs = take.points[:, ends[0]] - take.points[:, ends[1]]
            cos = (mine * theirs).sum(axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
            off = np.degrees(np.arccos(np.clip(cos, -1.0, 1.0))).mean()
            assert off < 5.0, (side + part, off)
