"""Nothing goes through the floor, and what lies, kneels or stands on its hands rests on it."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.rig import Skeleton
from services.animation.library import MOVES
from services.animation.motion.figure import FIGURE, HEIGHT, JOINTS
from services.animation.retarget import Flesh, flesh_of, retarget, take_of_motion

THICK = {
    "head": 0.1,
    "hips": 0.12,
    "spine": 0.1,
    "chest": 0.11,
    "upperChest": 0.11,
    "Leg": 0.06,
    "Arm": 0.045,
}
DIRECTIONS = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z])


def built(*, head: float = 1.0, arms: float = 1.0) -> tuple[Skeleton, Flesh]:
    """The figure with a bigger head and other arms, and balls of flesh round its joints."""
    offsets = FIGURE.local[:, :3, 3].copy()
    for joint, name in enumerate(FIGURE.names):
        if name.endswith(("LowerArm", "Hand")):
            offsets[joint] *= arms
    heads = offsets.copy()
    for joint, parent in enumerate(FIGURE.parents.tolist()):
        heads[joint] += heads[parent] if parent >= 0 else 0.0
    rest = FIGURE.rest.copy()
    rest[:, :3, 3] = heads
    joints, places = [], []
    for joint, name in enumerate(FIGURE.names):
        thick = next((size for part, size in THICK.items() if part in name), 0.012)
        middle = heads[joint] + (np.array([0.0, 0.09 * head, 0.0]) if name == "head" else 0.0)
        reach = thick * (head if name == "head" else 1.0)
        if name.endswith(("Foot", "Toes")):
            places.append(np.array([heads[joint] * [1, 0, 1], heads[joint] * [1, 0, 1] + [0, 0, 0.05]]))
        else:
            places.append(middle + reach * DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True))
        joints.append(np.full(len(places[-1]), joint))
    return Skeleton(FIGURE.names, FIGURE.parents, rest), Flesh(np.concatenate(joints), np.concatenate(places))


def lowest(name: str, skeleton: Skeleton, flesh: Flesh) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Play a move and return the height of the lowest point of flesh, ``(t,)`` metres."""
    move = MOVES[name]
    take = take_of_motion(move.perform(15.0), loop=move.loop)
    clip = retarget(take, skeleton, name=name, ground=0.0, flesh=flesh).clip
    world = world_poses(skeleton, clip) @ np.linalg.inv(skeleton.rest)
    points = np.concatenate([flesh.places, np.ones((len(flesh.places), 1))], axis=1)
    return np.asarray(np.einsum("tpb,pb->tp", world[:, flesh.joints, 1], points).min(axis=1))


BUILDS = [{}, {"head": 2.2, "arms": 0.7}, {"arms": 1.3}]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(
    "name", ["push_up", "sleep", "crawl", "handstand", "die_forwards", "kneel", "pick_up"]
)
def test_nothing_goes_through_the_floor(name: str, build: dict[str, float]) -> None:
    assert lowest(name, *built(**build)).min() > -0.03 * HEIGHT


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", ["push_up", "sleep", "crawl", "sit_on_floor"])
def test_what_rests_on_the_floor_does_not_float(name: str, build: dict[str, float]) -> None:
    assert lowest(name, *built(**build)).max() < 0.03 * HEIGHT


def test_hands_that_carry_are_brought_to_the_floor_and_stay_there() -> None:
    skeleton, flesh = built(arms=1.2)
    move = MOVES["push_up"]
    clip = retarget(
        take_of_motion(move.perform(15.0), loop=True), skeleton, name="x", ground=0.0, flesh=flesh
    ).clip
    points = world_poses(skeleton, clip)[..., :3, 3]
    for hand in ("leftHand", "rightHand"):
        path = points[:, JOINTS[hand]]
        assert path[:, 1].max() < 0.1
        assert np.ptp(path[:, [0, 2]], axis=0).max() < 0.02


def test_flesh_is_what_reaches_farthest_of_what_a_joint_owns() -> None:
    vertices = np.array([[0.0, 1, 0], [0, -1, 0], [0, 0.1, 0], [5, 5, 5]])
    joints = np.array([[0, 1], [0, 1], [0, 1], [0, 1]])
    weights = np.array([[1.0, 0], [1, 0], [1, 0], [0.45, 0.4]])
    flesh = flesh_of(vertices, joints, weights)
    assert set(flesh.joints.tolist()) == {0}
    assert {1.0, -1.0} <= set(flesh.places[:, 1].tolist())
    assert 5.0 not in flesh.places
