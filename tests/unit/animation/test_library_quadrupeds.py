"""A body on four legs stands on its paws, keeps them where they step, and closes its loops."""

from __future__ import annotations

import numpy as np
import pytest

from services.animation.library.quadrupeds import QUADRUPED_MOVES as MOVES
from services.animation.motion.quadruped import JOINTS, LEGS, QUADRUPED

FPS = 30.0
PAWS = [JOINTS[f"{leg}Foot"] for leg in LEGS]


def test_there_are_the_motions_of_a_body_on_four_legs() -> None:
    assert set(MOVES) == {f"quadruped_{name}" for name in ("idle", "walk", "trot", "gallop", "sit")}


@pytest.mark.parametrize("name", sorted(MOVES))
def test_nothing_goes_below_the_ground(name: str) -> None:
    assert MOVES[name].perform(FPS).points[..., 1].min() >= 0.0


@pytest.mark.parametrize("name", sorted(MOVES))
def test_planted_paws_do_not_slide_or_lift(name: str) -> None:
    motion = MOVES[name].perform(FPS)
    paws = motion.points[:, PAWS]
    still = motion.planted[1:] & motion.planted[:-1]
    assert still.any()
    speed = np.linalg.norm(np.diff(paws, axis=0), axis=2) * FPS
    assert speed[still].max() <= 0.1
    assert paws[..., 1][motion.planted].max() <= 0.055


@pytest.mark.parametrize("name", sorted(MOVES))
def test_the_rotations_place_the_joints(name: str) -> None:
    motion = MOVES[name].perform(FPS)
    offsets = QUADRUPED.local[:, :3, 3]
    points, turns = motion.points.copy(), motion.rotations.copy()
    points[:, 0] = motion.root
    for joint in range(1, len(QUADRUPED.names)):
        above = int(QUADRUPED.parents[joint])
        points[:, joint] = points[:, above] + turns[:, above] @ offsets[joint]
        turns[:, joint] = turns[:, above] @ motion.rotations[:, joint]
    assert points == pytest.approx(motion.points, abs=1e-9)


@pytest.mark.parametrize("name", [name for name, move in MOVES.items() if move.loop])
def test_loops_close_up_to_their_travel(name: str) -> None:
    motion = MOVES[name].perform(FPS)
    assert np.abs(motion.rotations[0] - motion.rotations[-1]).max() <= 1e-6


def test_a_trot_moves_diagonal_legs_together_and_a_walk_has_three_paws_down() -> None:
    trot, walk = MOVES["quadruped_trot"].perform(FPS), MOVES["quadruped_walk"].perform(FPS)
    left_back, left_front, right_back, right_front = trot.planted.T
    assert (left_back == right_front).mean() > 0.9 and (right_back == left_front).mean() > 0.9
    assert walk.planted.sum(axis=1).mean() > 2.0 > trot.planted.sum(axis=1).mean()


def test_faster_gaits_cover_more_ground() -> None:
    paces = []
    for name in ("walk", "trot", "gallop"):
        motion = MOVES[f"quadruped_{name}"].perform(FPS)
        paces.append(float(motion.root[-1, 2] - motion.root[0, 2]) * FPS / (len(motion.root) - 1))
    assert paces[0] < 0.6 * paces[1] and paces[1] < 0.6 * paces[2]
