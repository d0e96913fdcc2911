"""A motion is the same motion on other bodies: directions, feet, loops, bones that keep their length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip, Skeleton
from services.animation.library import MOVES
from services.animation.motion.figure import FIGURE, JOINTS, LEG
from services.animation.motion.pose import place_joints
from services.animation.retarget import Flesh, Take, retarget, take_of_clip, take_of_motion

LIMBS = [
    (f"{side}{a}", f"{side}{b}")
    for side in ("left", "right")
    for a, b in (
        ("UpperArm", "LowerArm"),
        ("LowerArm", "Hand"),
        ("UpperLeg", "LowerLeg"),
        ("LowerLeg", "Foot"),
    )
]


def body(
    *,
    arms: float = 0.0,
    size: float = 1.0,
    legs: float = 1.0,
    turned: float = 0.0,
    axes: bool = False,
    root: bool = False,
) -> Skeleton:
    """The figure with hanging arms (degrees), another size, longer thighs, turned about the vertical,
    with joint axes of a tool's own, and with a root joint on the ground."""
    rest = FIGURE.rest.copy()
    offsets = FIGURE.local[:, :3, 3] * size
    for joint, name in enumerate(FIGURE.names):
        if "LowerLeg" in name:
            offsets[joint] = offsets[joint] * legs
    heads = offsets.copy()
    for joint, parent in enumerate(FIGURE.parents.tolist()):
        name, offset = FIGURE.names[joint], offsets[joint]
        above = FIGURE.names[parent] if parent >= 0 else ""
        if (
            arms
            and above.startswith(("left", "right"))
            and not any(w in above for w in ("Leg", "Foot", "Shou"))
        ):
            sign = 1.0 if above.startswith("left") else -1.0
            offset = Rotation.from_euler("z", -sign * arms, degrees=True).apply(offset)
        heads[joint] = offset + (heads[parent] if parent >= 0 else 0.0)
    heads[:, 1] -= heads[JOINTS["leftToes"], 1] - 0.02 * size
    rest[:, :3, 3] = heads
    if axes:
        turns = Rotation.random(len(rest), random_state=np.random.RandomState(3)).as_matrix()
        rest[:, :3, :3] = turns
    whole = np.eye(4)
    whole[:3, :3] = Rotation.from_euler("y", turned, degrees=True).as_matrix()
    rest = whole @ rest
    if not root:
        return Skeleton(FIGURE.names, FIGURE.parents, rest)
    return Skeleton(
        ("root", *FIGURE.names),
        np.concatenate([[-1], FIGURE.parents + 1]).astype(np.int32),
        np.concatenate([np.eye(4)[None], rest]),
    )


def play(name: str, fps: float = 30.0) -> Take:
    move = MOVES[name]
    return take_of_motion(move.perform(fps), loop=move.loop)


def places(skeleton: Skeleton, clip: Clip) -> dict[str, NDArray[np.float64]]:
    poses = world_poses(skeleton, clip)
    return {name: poses[:, joint, :3, 3] for joint, name in enumerate(skeleton.names)}


def direction(points: dict[str, NDArray[np.float64]], a: str, b: str) -> NDArray[np.float64]:
    span = points[b] - points[a]
    return np.asarray(span / np.linalg.norm(span, axis=1, keepdims=True))


def angle(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1.0, 1.0))))


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"arms": 45.0},
        {"arms": 80.0, "size": 0.4},
        {"axes": True, "arms": 30.0},
        {"root": True, "size": 3.0},
        {"legs": 1.2, "arms": 20.0},
    ],
)
def test_limbs_point_where_those_of_the_motion_do_whatever_the_rest_pose(shape: dict[str, Any]) -> None:
    take, skeleton = play("casual_walk"), body(**shape)
    done = places(skeleton, retarget(take, skeleton, name="walk").clip)
    meant = {name: take.points[:, joint] for name, joint in JOINTS.items()}
    for a, b in LIMBS:
        off = angle(direction(done, a, b), direction(meant, a, b))
        assert off.mean() < (6.0 if "legs" in shape and "Leg" in a else 1.0), (a, off.mean())


def test_a_target_that_looks_elsewhere_moves_where_it_looks() -> None:
    straight = places(body(), retarget(play("casual_walk"), body(), name="walk").clip)
    aside = body(turned=90.0)
    turned = places(aside, retarget(play("casual_walk"), aside, name="walk").clip)
    quarter = Rotation.from_euler("y", 90.0, degrees=True).as_matrix()
    assert np.allclose(straight["head"] @ quarter.T, turned["head"], atol=1e-6)


@pytest.mark.parametrize("shape", [{"size": 0.5, "arms": 40.0}, {"legs": 1.25}, {"legs": 0.8, "root": True}])
@pytest.mark.parametrize("move", ["casual_walk", "march"])
def test_standing_feet_stay_where_they_stand(shape: dict[str, Any], move: str) -> None:
    skeleton = body(**shape)
    result = retarget(play(move), skeleton, name=move)
    done = places(skeleton, result.clip)
    tall = float(np.ptp(skeleton.heads[:, 1]))
    slid = []
    for number, side in enumerate(("left", "right")):
        both = result.standing[1:, number] & result.standing[:-1, number]
        assert both.any()
        steps = [
            np.linalg.norm(np.diff(done[f"{side}{part}"][:, [0, 2]], axis=0), axis=1)[both]
            for part in ("Foot", "Toes")
        ]
        # While it rolls, either its heel or its ball is what stands.
        slid.append(np.minimum(*steps).mean() / tall)
    assert max(slid) < 0.001


def test_the_hips_are_scaled_by_the_legs() -> None:
    take = play("casual_walk")
    way = (take.points[-1, 0] - take.points[0, 0])[2] / LEG
    for size in (0.5, 2.0):
        skeleton = body(size=size)
        path = retarget(take, skeleton, name="walk").clip.translations[0]
        assert path[-1, 2] - path[0, 2] == pytest.approx(way * LEG * size, rel=0.02)
        assert path[:, 1].mean() == pytest.approx(take.points[:, 0, 1].mean() * size, rel=0.03)


@pytest.mark.parametrize("move", ["casual_walk", "idle"])
def test_loops_close(move: str) -> None:
    name = move if move in MOVES else next(name for name, m in MOVES.items() if m.loop and "idle" in name)
    skeleton = body(size=0.7, legs=1.1, arms=50.0)
    clip = retarget(play(name), skeleton, name=name, in_place=True).clip
    assert np.abs((clip.rotations[0] * clip.rotations[-1]).sum(axis=1)).min() > 1.0 - 1e-6
    assert np.allclose(clip.translations[0][0], clip.translations[0][-1], atol=1e-4)


@pytest.mark.parametrize("shape", [{}, {"size": 0.5, "legs": 0.7}])
def test_a_round_of_stairs_joins_the_next_a_climb_higher(shape: dict[str, Any]) -> None:
    skeleton, take = body(**shape), play("climb_stairs")
    clip = retarget(take, skeleton, name="stairs", flesh=soles(skeleton), ground=0.0).clip
    assert np.abs((clip.rotations[0] * clip.rotations[-1]).sum(axis=1)).min() > 1.0 - 1e-6
    path = clip.translations[0]
    climb = take.points[-1, 0, 1] - take.points[0, 0, 1]
    scale = shape.get("size", 1.0) * (1.0 if "legs" not in shape else 0.85)
    assert path[-1, 1] - path[0, 1] == pytest.approx(scale * climb, rel=0.03)


def soles(skeleton: Skeleton) -> Flesh:
    """Give a body the soles of its feet."""
    feet = [joint for joint, name in enumerate(skeleton.names) if name.endswith("Foot")]
    places = [
        skeleton.heads[joint] * [1, 0, 1] + [x, 0, z]
        for joint in feet
        for x in (-0.04, 0.04)
        for z in (-0.06, 0.2)
    ]
    return Flesh(np.repeat(feet, 4), np.array(places))


def test_in_place_takes_the_way_out_and_leaves_the_sway() -> None:
    skeleton = body()
    path = retarget(play("casual_walk"), skeleton, name="walk", in_place=True).clip.translations[0]
    far = retarget(play("casual_walk"), skeleton, name="walk").clip.translations[0]
    assert np.ptp(far[:, 2]) > 1.0
    assert np.ptp(path[:, 2]) < 0.2
    assert np.ptp(path[:, 0]) == pytest.approx(np.ptp(far[:, 0]), abs=1e-3)


def test_only_the_root_travels() -> None:
    for skeleton in (body(), body(root=True)):
        clip = retarget(play("casual_walk"), skeleton, name="walk").clip
        assert set(clip.translations) == {0}


@pytest.mark.parametrize("fps", [24.0, 25.0, 60.0])
def test_clips_have_the_rate_that_was_asked_for(fps: float) -> None:
    clip = retarget(play("casual_walk", fps), body(), name="walk").clip
    thirty = retarget(play("casual_walk", 30.0), body(), name="walk").clip
    assert np.allclose(np.diff(clip.times), 1.0 / fps)
    assert clip.seconds == pytest.approx(thirty.seconds, abs=1.0 / fps)


def bent_arms(degrees: float) -> Take:
    """The figure with both elbows bent, backwards where negative."""
    local = np.tile(np.eye(3), (2, len(FIGURE.names), 1, 1))
    for side, sign in (("left", -1.0), ("right", 1.0)):
        turn = Rotation.from_euler("y", sign * degrees, degrees=True).as_matrix()
        local[:, JOINTS[f"{side}LowerArm"]] = turn
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(2, -1, 4)
    return take_of_clip(FIGURE, Clip("bent", np.array([0.0, 0.1]), quaternions, {}), 30.0)


def test_elbows_do_not_bend_backwards() -> None:
    skeleton = body(arms=45.0)
    done = places(skeleton, retarget(bent_arms(-6.0), skeleton, name="x").clip)
    forearm, upper = (direction(done, a, b) for a, b in (LIMBS[1], LIMBS[0]))
    assert angle(forearm, upper).max() < 0.5
    done = places(skeleton, retarget(bent_arms(60.0), skeleton, name="x").clip)
    assert np.allclose(angle(direction(done, *LIMBS[1]), direction(done, *LIMBS[0])), 60.0, atol=0.5)


def test_knees_do_not_bend_backwards() -> None:
    local = np.tile(np.eye(3), (2, len(FIGURE.names), 1, 1))
    local[:, JOINTS["leftLowerLeg"]] = Rotation.from_euler("x", -6, degrees=True).as_matrix()
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(2, -1, 4)
    take = take_of_clip(FIGURE, Clip("x", np.array([0.0, 0.1]), quaternions, {}), 30.0)
    done = places(body(), retarget(take, body(), name="x").clip)
    bend = np.cross(
        direction(done, "leftUpperLeg", "leftLowerLeg"), direction(done, "leftLowerLeg", "leftFoot")
    )
    assert (bend[:, 0] >= -1e-6).all()


def test_clips_of_other_skeletons_are_resampled_by_slerp() -> None:
    turns = np.tile([0.0, 0.0, 0.0, 1.0], (2, len(FIGURE.names), 1))
    turns[1, JOINTS["head"]] = Rotation.from_euler("y", 90, degrees=True).as_quat()
    take = take_of_clip(FIGURE, Clip("look", np.array([0.0, 1.0]), turns, {}), 24.0)
    assert take.frames == 25
    angles = Rotation.from_matrix(take.turns[:, JOINTS["head"]]).magnitude()
    assert np.allclose(np.degrees(angles), np.linspace(0, 90, 25))


@pytest.mark.parametrize("fps", [0.0, -1.0, 10_000.0, float("nan")])
def test_rates_that_make_no_sense_are_refused(fps: float) -> None:
    turns = np.tile([0.0, 0.0, 0.0, 1.0], (2, len(FIGURE.names), 1))
    with pytest.raises(MeshError, match="frames per second"):
        take_of_clip(FIGURE, Clip("x", np.array([0.0, 1.0]), turns, {}), fps)


def test_the_figure_itself_is_left_as_it_is() -> None:
    motion = MOVES["casual_walk"].perform(30.0)
    points, _ = place_joints(motion)
    done = places(FIGURE, retarget(take_of_motion(motion, loop=True), FIGURE, name="walk").clip)
    for name in ("head", "leftHand", "rightFoot", "leftIndexDistal"):
        assert np.abs(done[name] - points[:, JOINTS[name]]).max() < 0.03, name
