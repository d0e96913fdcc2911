"""Every base move stands on the ground, keeps its feet where they are, and closes its loop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from services.animation.library import MOVES
from services.animation.library.distance import at_least, distance, signature
from services.animation.motion.channels import HIGH, INDEX, LOW
from services.animation.motion.figure import FIGURE, HEIGHT, JOINTS, LEG
from services.animation.motion.ground import sole_points
from services.animation.motion.moods import MOODS
from services.animation.motion.moves import CATEGORIES, PLAIN, Move, Style
from services.animation.motion.pose import Motion, place_joints

FPS = 15.0
LOWEST = -0.02
"""Metres a joint may be under the floor."""
SLIP = 0.105
"""Metres a second that the stiller end of a planted foot may move (0.2 % of stature a frame at 30 fps)."""
CLOSEST = 4.0
"""Degrees between two moves."""
JUMP = 30.0
"""Degrees that a joint may turn in one frame of 30 a second beyond both frames beside it."""
JERK = 0.5
"""Metres by which a joint's step may change from one frame of 30 a second to the next."""
EVERY = sorted(MOVES)


@cache
def played(name: str) -> tuple[Motion, NDArray[np.float64], NDArray[np.float64]]:
    """Play a move once for all tests: the motion, its joints and their world rotations."""
    motion = MOVES[name].perform(FPS)
    return motion, *place_joints(motion)


def bend(points: NDArray[np.float64], joints: tuple[str, str, str]) -> NDArray[np.float64]:
    first, middle, last = (points[:, JOINTS[joint]] for joint in joints)
    upper, lower = middle - first, last - middle
    cosine = (upper * lower).sum(1) / np.linalg.norm(upper, axis=1) / np.linalg.norm(lower, axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def test_there_are_moves_of_every_category() -> None:
    assert len(MOVES) >= 60
    assert {move.category for move in MOVES.values()} == set(CATEGORIES)


@pytest.mark.parametrize("name", EVERY)
def test_no_joint_goes_below_the_ground(name: str) -> None:
    _, points, _ = played(name)
    assert np.isfinite(points).all()
    assert points[..., 1].min() >= LOWEST


@pytest.mark.parametrize("name", EVERY)
def test_planted_feet_do_not_slide(name: str) -> None:
    motion, points, turns = played(name)
    soles = sole_points(points, turns)
    for side in (0, 1):
        planted = motion.planted[:, side]
        speed = np.linalg.norm(np.diff(soles[:, side][..., [0, 2]], axis=0), axis=2).min(axis=1) * FPS
        still = planted[1:] & planted[:-1]
        assert not still.any() or speed[still].max() <= SLIP
        assert np.abs(soles[planted, side, :, 1].min(axis=1)).max(initial=0.0) <= 0.04


@pytest.mark.parametrize("name", EVERY)
def test_knees_and_elbows_bend_one_way_and_not_too_far(name: str) -> None:
    motion, points, _ = played(name)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        for limb in (("UpperLeg", "LowerLeg", "Foot"), ("UpperArm", "LowerArm", "Hand")):
            first, middle, last = (f"{side}{part}" for part in limb)
            assert bend(points, (first, middle, last)).max() <= 160
        knee = motion.rotations[:, JOINTS[f"{side}LowerLeg"]]
        # A knee turns its shin backwards: the shin's down axis never swings to the front.
        assert (knee @ np.array([0.0, -1.0, 0.0]))[:, 2].max() <= 0.02
        elbow = motion.rotations[:, JOINTS[f"{side}LowerArm"]]
        outwards = elbow @ np.array([-sign, 0.0, 0.0])
        assert outwards[:, 2].min() >= -0.02


@pytest.mark.parametrize("name", [name for name in EVERY if MOVES[name].loop])
def test_loops_close_up_to_their_travel(name: str) -> None:
    motion, _, _ = played(name)
    assert np.abs(motion.rotations[0] - motion.rotations[-1]).max() <= 0.02
    changes = np.linalg.norm(np.diff(motion.rotations, 2, axis=0), axis=(2, 3)).max()
    seam = (motion.rotations[1] - motion.rotations[0]) - (motion.rotations[-1] - motion.rotations[-2])
    # Legs that straighten at the seam alone turn there quicker than anywhere else.
    assert np.linalg.norm(seam, axis=(1, 2)).max() <= max(1.5 * changes, 0.6)


def test_a_walk_keeps_its_pace_over_the_seam() -> None:
    motion, _, _ = played("casual_walk")
    step = np.diff(motion.root[:, 2])
    assert step.min() > 0
    assert step[0] == pytest.approx(step[-1], rel=0.15)


def test_who_tosses_and_turns_rolls_the_pelvis_to_both_sides() -> None:
    _, _, turns = played("toss_and_turn")
    front, up = turns[:, JOINTS["hips"], :, 2], turns[:, JOINTS["hips"], :, 1]
    assert front[:, 0].max() > 0.85 and front[:, 0].min() < -0.85
    # It rolls about its length, and never sits up.
    assert np.abs(up[:, 1]).max() < 0.2


@pytest.mark.parametrize("name", ["casual_walk", "graceful_walk"])
def test_knees_that_leave_the_ground_bend_on_into_the_swing(name: str) -> None:
    motion = MOVES[name].perform(60.0)
    points, _ = place_joints(motion)
    for number, side in enumerate(("left", "right")):
        knee = bend(points, (f"{side}UpperLeg", f"{side}LowerLeg", f"{side}Foot"))
        for off in np.flatnonzero(motion.planted[:-1, number] & ~motion.planted[1:, number]):
            before, after = knee[max(off - 12, 0) : off + 1], knee[off : off + 16]
            assert before.max() - min(before[-1], after.min()) < 10.0


def test_no_two_moves_look_the_same() -> None:
    signatures = np.stack([signature(played(name)[0]) for name in EVERY])
    close = []
    for index, first in enumerate(signatures):
        for other in np.flatnonzero(at_least(first, signatures) < CLOSEST):
            if other > index and distance(first, signatures[other]) < CLOSEST:
                close.append((EVERY[index], EVERY[other]))
    assert close == []


def test_the_bound_is_never_above_the_distance() -> None:
    some = np.stack([signature(played(name)[0]) for name in EVERY[::16]])
    for first in some:
        bounds = at_least(first, some)
        assert all(bound <= distance(first, other) + 1e-9 for bound, other in zip(bounds, some, strict=True))


def test_a_move_is_nearest_to_itself() -> None:
    walk, run = (signature(played(name)[0]) for name in ("casual_walk", "run"))
    assert distance(walk, walk) == pytest.approx(0.0, abs=1e-3)
    assert distance(walk, np.roll(walk, 5, axis=0)) == pytest.approx(0.0, abs=1e-3)
    assert distance(walk, run) == pytest.approx(distance(run, walk)) != 0.0


def test_the_same_style_is_played_the_same_every_time() -> None:
    style = Style(speed=1.2, energy=1.3, mood="happy", left_handed=True)
    first, second = (MOVES["groove"].perform(FPS, style) for _ in range(2))
    assert (first.rotations == second.rotations).all() and (first.root == second.root).all()


def test_speed_makes_a_gesture_shorter_and_a_walk_faster_over_the_ground() -> None:
    slow, fast = Style(speed=0.8), Style(speed=1.25)
    assert MOVES["wave"].perform(FPS, fast).seconds < MOVES["wave"].perform(FPS, slow).seconds
    walks = [MOVES["casual_walk"].perform(FPS, style) for style in (slow, fast)]
    paces = [float(motion.root[-1, 2]) / motion.seconds for motion in walks]
    assert paces[1] > 1.4 * paces[0]


def test_energy_makes_movements_bigger() -> None:
    hand = JOINTS["rightHand"]
    ways = [
        np.ptp(place_joints(MOVES["big_wave"].perform(FPS, Style(energy=size)))[0][:, hand], axis=0).sum()
        for size in (0.5, 1.0)
    ]
    assert ways[1] > 1.2 * ways[0]


@pytest.mark.parametrize("mood", [mood for mood in MOODS if mood != "neutral"])
def test_every_mood_changes_how_a_walk_is_carried(mood: str) -> None:
    moody = MOVES["casual_walk"].perform(FPS, Style(mood=mood))
    assert distance(signature(moody), signature(played("casual_walk")[0])) > 0.5
    points, _ = place_joints(moody)
    assert points[..., 1].min() >= LOWEST


def test_a_left_handed_wave_is_the_mirror_image() -> None:
    _, points, _ = played("wave")
    other, _ = place_joints(MOVES["wave"].perform(FPS, Style(left_handed=True)))
    twin = [JOINTS[swapped(name)] for name in FIGURE.names]
    assert other[:, twin] * np.array([-1.0, 1.0, 1.0]) == pytest.approx(points, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"mood": "bored"}, {"speed": 0.0}, {"speed": 9.0}, {"energy": -1.0}])
def test_an_impossible_style_is_refused(wrong: Mapping[str, float]) -> None:
    with pytest.raises(ValueError, match="no style"):
        Style(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EVERY)
def test_channels_stay_within_their_limits(name: str) -> None:
    curve = MOVES[name].draw(FPS, PLAIN)
    spare = 0.05 * (HIGH - LOW)
    assert (curve >= LOW - spare).all() and (curve <= HIGH + spare).all()


def test_the_most_energetic_style_stays_above_the_ground() -> None:
    for name in ("squat", "push_up", "ground_slam", "die_forwards"):
        points, _ = place_joints(MOVES[name].perform(FPS, Style(energy=1.4, mood="tired")))
        assert points[..., 1].min() >= LOWEST


def test_standing_is_as_tall_as_the_figure() -> None:
    _, points, _ = played("idle")
    assert 0.85 * HEIGHT < points[0, JOINTS["head"], 1] < HEIGHT
    assert points[0, 0, 1] == pytest.approx(0.96, abs=0.05 * LEG)
    assert INDEX["y"] == 1


def swapped(name: str) -> str:
    for side, other in (("left", "right"), ("right", "left")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


def moves_that_travel() -> list[Move]:
    return [move for move in MOVES.values() if move.category == "WalkAndRun"]


def test_walks_and_runs_get_somewhere() -> None:
    still = {"turn_left", "turn_about"}
    for move in moves_that_travel():
        root = played(move.name)[0].root
        assert move.name in still or np.linalg.norm(root[-1, [0, 2]] - root[0, [0, 2]]) > 0.3


def extra_turn(motion: Motion, *, loop: bool) -> NDArray[np.float64]:
    """Return by how much each joint turns further in one frame than in both of its neighbours, degrees."""
    relative = np.swapaxes(motion.rotations[:-1], 2, 3) @ motion.rotations[1:]
    cosine = (np.trace(relative, axis1=2, axis2=3) - 1.0) / 2.0
    turn = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    if loop:
        turn = np.concatenate([turn, turn[:2]])
    return np.asarray(turn[1:-1] - np.maximum(turn[:-2], turn[2:]))


def acceleration(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much a joint's step changes from one frame to the next, metres."""
    return np.asarray(np.linalg.norm(np.diff(points, 2, axis=0), axis=2))


@pytest.mark.parametrize("name", EVERY)
def test_no_joint_jumps_in_a_single_frame(name: str) -> None:
    motion = MOVES[name].perform(30.0)
    assert extra_turn(motion, loop=MOVES[name].loop).max() <= JUMP
    assert acceleration(place_joints(motion)[0]).max() <= JERK
    assert np.linalg.det(motion.rotations) == pytest.approx(1.0, abs=1e-6)


def test_a_jump_of_a_single_frame_is_found() -> None:
    motion = MOVES["idle"].perform(30.0)
    flipped = motion.rotations.copy()
    about = np.array([[np.cos(1.0), 0.0, np.sin(1.0)], [0.0, 1.0, 0.0], [-np.sin(1.0), 0.0, np.cos(1.0)]])
    flipped[40:, JOINTS["leftUpperArm"]] = flipped[40:, JOINTS["leftUpperArm"]] @ about
    jumping = Motion(motion.fps, flipped, motion.root, motion.planted)
    assert extra_turn(jumping, loop=False).max() > JUMP
