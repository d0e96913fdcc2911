"""Joints that hang elsewhere than on what moves them go where that goes."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.rig import Skeleton
from services.animation.retarget.clip import build_clip, placed

NAMES = ("root", "foot", "toe", "hips", "shin")
PARENTS = np.array([-1, 0, 1, 0, 3], dtype=np.int32)
HEADS = np.array([[0.0, 0, 0], [0, 0.1, 0], [0, 0, 0.2], [0, 1, 0], [0, 0.5, 0]])


def loose_foot() -> Skeleton:
    """A foot and its toe hang on the root, before the shin that they belong to."""
    rest = np.tile(np.eye(4), (5, 1, 1))
    rest[:, :3, 3] = HEADS
    return Skeleton(NAMES, PARENTS, rest)


def test_a_foot_that_hangs_on_the_root_goes_with_its_shin() -> None:
    skeleton = loose_foot()
    shin = Rotation.from_rotvec(np.outer(np.linspace(0.0, 1.0, 5), [1.0, 0, 0])).as_matrix()
    hips = np.tile(HEADS[3], (5, 1)) + np.outer(np.linspace(0.0, 1.0, 5), [0.0, 0, 1])
    led = (3, hips)
    turned, places = placed(skeleton, {4: shin}, led, {1: 4})
    meant = places[:, 4] + shin @ (HEADS[1] - HEADS[4])
    assert np.allclose(places[:, 1], meant)
    assert np.allclose(places[:, 2], meant + turned[:, 1] @ (HEADS[2] - HEADS[1]))
    clip = build_clip(skeleton, "x", np.arange(5) / 30.0, {4: shin}, led, {1: 4})
    assert np.allclose(world_poses(skeleton, clip)[..., :3, 3], places)
