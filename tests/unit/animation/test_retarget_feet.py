"""Feet, hips and arms of other proportions: what stands is still, and limbs point where they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.rig import Skeleton
from services.animation.library import MOVES
from services.animation.motion.figure import FIGURE, HEIGHT, JOINTS, LEG
from services.animation.retarget import Flesh, Take, retarget, take_of_motion
from services.animation.retarget.feet import step_clear

Points = NDArray[np.float64]
UP = np.array([0.0, 1.0, 0.0])


def body(*, hips: float = 1.0, arms: float = 1.0, foot: float = 0.2) -> tuple[Skeleton, Flesh]:
    """The figure with wider hips, longer arms, and feet of one piece that reach ``foot`` metres ahead."""
    offsets = FIGURE.local[:, :3, 3].copy()
    for joint, name in enumerate(FIGURE.names):
        if name.endswith("UpperLeg"):
            offsets[joint, 0] *= hips
        if name.endswith(("LowerArm", "Hand")):
            offsets[joint] *= arms
    kept = [joint for joint, name in enumerate(FIGURE.names) if not name.endswith("Toes")]
    place = {joint: number for number, joint in enumerate(kept)}
    heads = np.zeros((len(kept), 3))
    parents = []
    for joint in kept:
        parent = int(FIGURE.parents[joint])
        heads[place[joint]] = offsets[joint] + (heads[place[parent]] if parent >= 0 else 0.0)
        parents.append(place.get(parent, -1))
    rest = np.tile(np.eye(4), (len(kept), 1, 1))
    rest[:, :3, 3] = heads
    skeleton = Skeleton(tuple(FIGURE.names[joint] for joint in kept), np.array(parents, np.int32), rest)
    joints, places = [], []
    for number, name in enumerate(skeleton.names):
        if name.endswith("Foot"):
            x = heads[number, 0]
            places.append(np.array([[x + w, 0.0, z] for w in (-0.04, 0.04) for z in (-0.06, foot)]))
        else:
            places.append(heads[number] + 0.01 * np.concatenate([np.eye(3), -np.eye(3)]))
        joints.append(np.full(len(places[-1]), number))
    return skeleton, Flesh(np.concatenate(joints), np.concatenate(places))


def played(take: Take, skeleton: Skeleton, flesh: Flesh) -> tuple[dict[str, Points], Points, Points]:
    """Retarget; return the joints' paths, their world poses and the lowest point of flesh ``(t,)``."""
    clip = retarget(take, skeleton, name="x", ground=0.0, flesh=flesh).clip
    world = world_poses(skeleton, clip)
    paths = {name: world[:, joint, :3, 3] for joint, name in enumerate(skeleton.names)}
    moved = (world @ np.linalg.inv(skeleton.rest))[:, flesh.joints, 1]
    points = np.concatenate([flesh.places, np.ones((len(flesh.places), 1))], axis=1)
    return paths, world, np.einsum("tpb,pb->tp", moved, points).min(axis=1)


def off(take: Take, paths: dict[str, Points], first: str, second: str) -> Points:
    """Return by how many degrees a bone points elsewhere than the motion's, ``(t,)``."""
    ours = paths[second] - paths[first]
    theirs = take.points[:, JOINTS[second]] - take.points[:, JOINTS[first]]
    cos = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cos, -1.0, 1.0))))


def move(name: str, fps: float = 30.0) -> Take:
    return take_of_motion(MOVES[name].perform(fps), loop=MOVES[name].loop)


@pytest.mark.parametrize("foot", [0.2, 0.45])
@pytest.mark.parametrize("name", ["casual_walk", "brisk_walk"])
def test_a_long_foot_rolls_less_and_its_leg_points_where_it_is_meant_to(name: str, foot: float) -> None:
    take, (skeleton, flesh) = move(name), body(foot=foot)
    paths, _, low = played(take, skeleton, flesh)
    for side in ("left", "right"):
        assert off(take, paths, f"{side}UpperLeg", f"{side}LowerLeg").mean() < 5.0
        assert off(take, paths, f"{side}LowerLeg", f"{side}Foot").mean() < 5.0
    assert low.min() > -0.01 * HEIGHT


def test_wide_hips_sway_less() -> None:
    take, (skeleton, flesh) = move("graceful_walk"), body(hips=4.0)
    paths, _, _ = played(take, skeleton, flesh)
    for side in ("left", "right"):
        assert off(take, paths, f"{side}UpperLeg", f"{side}LowerLeg").mean() < 3.0
    apart = paths["leftUpperLeg"] - paths["rightUpperLeg"]
    meant = take.points[:, JOINTS["leftUpperLeg"]] - take.points[:, JOINTS["rightUpperLeg"]]
    # Four times as wide, and not four times as far.
    assert np.ptp(apart[:, 2]) < 2.0 * np.ptp(meant[:, 2])


def test_arms_that_hang_below_the_floor_bend_at_the_elbow_alone() -> None:
    take, (skeleton, flesh) = move("casual_walk"), body(arms=2.8)
    paths, _, low = played(take, skeleton, flesh)
    for side in ("left", "right"):
        assert off(take, paths, f"{side}UpperArm", f"{side}LowerArm").max() < 1.0
        assert off(take, paths, f"{side}LowerArm", f"{side}Hand").max() > 10.0
    assert low.min() > -0.01 * HEIGHT


def standing(turned: Points) -> Take:
    """The figure, its left foot turned about its ankle by ``turned (t, 3, 3)``; nobody says it stands."""
    frames = len(turned)
    turns = np.tile(FIGURE.rest[:, :3, :3], (frames, 1, 1, 1))
    points = np.tile(FIGURE.heads, (frames, 1, 1))
    foot, toes = JOINTS["leftFoot"], JOINTS["leftToes"]
    turns[:, [foot, toes]] = turned[:, None]
    points[:, toes] = points[:, foot] + turned @ (FIGURE.heads[toes] - FIGURE.heads[foot])
    # An equal skeleton, which is not known to be the library's own.
    return Take(replace(FIGURE), 30.0, turns, points)


def test_a_foot_that_trembles_in_the_capture_stands_still() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0.0, np.radians(9.0), (60, 3)) * [0.3, 1.0, 0.3]
    take, (skeleton, flesh) = standing(Rotation.from_rotvec(noise).as_matrix()), body()
    paths, world, _ = played(take, skeleton, flesh)
    steps = np.linalg.norm(np.diff(paths["leftFoot"][:, [0, 2]], axis=0), axis=1)
    assert steps.mean() < 0.001 * HEIGHT
    foot = skeleton.names.index("leftFoot")
    left = Rotation.from_matrix(np.swapaxes(world[:-1, foot, :3, :3], 1, 2) @ world[1:, foot, :3, :3])
    before = Rotation.from_rotvec(noise[:-1]).inv() * Rotation.from_rotvec(noise[1:])
    assert left.magnitude().mean() < 0.3 * before.magnitude().mean()


@pytest.mark.parametrize("axis", ["x", "z"])
def test_a_standing_foot_that_was_measured_aslant_is_level(axis: str) -> None:
    aslant = np.tile(Rotation.from_euler(axis, 22.0, degrees=True).as_matrix(), (40, 1, 1))
    skeleton, flesh = body()
    _, world, low = played(standing(aslant), skeleton, flesh)
    up = world[:, skeleton.names.index("leftFoot"), :3, 1]
    assert np.degrees(np.arccos(np.clip(up @ UP, -1.0, 1.0))).max() < 2.0
    assert np.abs(low).max() < 0.005 * HEIGHT


def path(lift: float) -> tuple[Points, NDArray[np.bool_]]:
    """A foot that stands, moves ahead by a leg and a half, lifted early and low late, and stands."""
    share = np.clip((np.arange(40) - 10) / 20.0, 0.0, 1.0)
    height = lift * np.sin(np.pi * np.minimum(2.0 * share, 1.0)) + 0.005 * (share > 0.5) * (share < 1.0)
    ahead = 1.5 * LEG * share * share * (3.0 - 2.0 * share)
    stands = (share <= 0.0) | (share >= 1.0)
    return np.stack([np.zeros(40), height, ahead], axis=1), stands


def test_a_step_clears_the_floor_and_a_slide_stays_on_it() -> None:
    ankle, stands = path(0.15)
    rise = step_clear(ankle, stands, LEG, 0.05, 0.0, UP, 30.0)
    middle = slice(22, 26)
    assert (ankle[middle, 1] + rise[middle]).min() > 0.045
    assert not rise[stands].any()
    ankle, stands = path(0.02)
    assert not step_clear(ankle, stands, LEG, 0.05, 0.0, UP, 30.0).any()
