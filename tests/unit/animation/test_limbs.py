"""Limbs bend steadily: no hinge flips where the reach passes its pole, no blend changes its way."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from services.animation.motion.limbs import blend, evened, two_bones

FPS = 30.0


def steps(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle from each direction to the next, degrees."""
    cosine = (directions[1:] * directions[:-1]).sum(axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def solved(
    reach: NDArray[np.float64], pole: NDArray[np.float64], easing: float = 0.02
) -> NDArray[np.float64]:
    """Return the directions ``(t, 3)`` of the second bone's joint, across the reach."""
    frames = len(reach)
    body = np.tile(np.eye(3), (frames, 1, 1))
    _, upper, _ = two_bones(
        reach,
        np.tile(pole, (frames, 1)),
        (0.3, 0.3),
        np.zeros(frames),
        body,
        FPS,
        easing=np.full(frames, easing),
    )
    return upper


def test_an_elbow_does_not_flip_where_the_hand_passes_its_pole() -> None:
    # From in front over straight down, where the pole points, to behind.
    angle = np.radians(np.linspace(-60.0, 60.0, 31))
    reach = 0.4 * np.stack([np.full_like(angle, 0.01), -np.cos(angle), -np.sin(angle)], axis=1)
    assert steps(solved(reach, np.array([0.0, -1.0, 0.0]))).max() < 30.0


def test_a_pole_aside_is_followed() -> None:
    reach = np.tile([0.0, -0.4, 0.0], (10, 1))
    upper = solved(reach, np.array([0.0, 0.0, 1.0]))
    assert (upper[:, 2] > 0.5).all() and np.abs(upper[:, 0]).max() < 1e-9


def test_a_limb_slows_down_before_it_is_straight() -> None:
    reach = np.outer(np.linspace(0.5, 0.7, 41), [0.0, -1.0, 0.0])
    eased, abrupt = (steps(solved(reach, np.array([0.0, 0.0, 1.0]), share)) for share in (0.1, 1e-6))
    assert eased.max() < 0.5 * abrupt.max()


def test_a_blend_keeps_to_one_way_round() -> None:
    # The second turns past half a circle from the first while one fades into the other.
    share = np.linspace(0.0, 1.0, 21)
    first = np.tile(np.eye(3), (21, 1, 1))
    second = Rotation.from_rotvec(np.outer(np.radians(np.linspace(120, 240, 21)), [0, 1, 0])).as_matrix()
    mixed = blend(first, second, share)
    turns = Rotation.from_matrix(np.swapaxes(mixed[:-1], 1, 2) @ mixed[1:]).magnitude()
    assert np.degrees(turns).max() < 30.0
    assert mixed[0] == pytest.approx(first[0]) and mixed[-1] == pytest.approx(second[-1])


def test_what_is_evened_stays_closed() -> None:
    values = np.sin(np.linspace(0.0, 2.0 * np.pi, 31)) + (np.arange(31) == 0) + (np.arange(31) == 30)
    smooth = evened(values, 5)
    assert smooth[0] == smooth[-1]
    assert np.abs(np.diff(smooth)).max() < np.abs(np.diff(values)).max()
