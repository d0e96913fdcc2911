"""Choreography: poses at moments, drawn together into smooth channel curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from services.animation.motion.channels import CHANNELS, INDEX, sideless

Curve = NDArray[np.float64]
"""Channels over time: ``(t, c)``."""

_LAG = {
    "twist": 0.02,
    "nod": 0.05,
    "look": -0.04,
    "elbow": 0.03,
    "palm": 0.04,
    "wrist": 0.07,
    "fist": 0.05,
    "tilt": 0.05,
}
"""Seconds by which a channel follows (or leads) the keys: follow-through and overlapping action
(Lasseter, *Principles of Traditional Animation Applied to 3D Computer Animation*, 1987)."""


def play(keys: Sequence[tuple[float, Curve]], fps: float, *, loop: bool, lag: float = 1.0) -> Curve:
    """Draw curves through ``keys`` (seconds, pose ``(c,)``) and sample them at ``fps``.

    Monotone cubics (Fritsch and Carlson 1980) rest at every extreme and never overshoot, so a
    planted foot stays where it is. A loop's last key is its first pose again. Feet and the pelvis
    never lag; ``lag`` scales how much the rest does. Raises ValueError for keys out of order and
    for a loop that does not close.
    """
    times = np.array([time for time, _ in keys])
    poses = np.stack([pose for _, pose in keys])
    if len(times) < 2 or times[0] != 0 or (np.diff(times) <= 0).any():
        raise ValueError("The keys of a motion begin at 0 and rise.")
    if loop and not np.allclose(_without_travel(poses[0]), _without_travel(poses[-1])):
        raise ValueError("The last key of a loop is its first pose.")
    poses = _legs_kept(times, poses, loop)
    moments = sample_times(times[-1], fps)
    curve = np.empty((len(moments), len(CHANNELS)))
    for index, channel in enumerate(CHANNELS):
        shift = lag * _LAG.get(sideless(channel.name), 0.0)
        curve[:, index] = _draw(times, poses[:, index], moments - shift, loop)
    for side in ("l", "r"):
        curve[:, INDEX[f"{side}_foot_y"]] += _steps(times, poses, moments, side)
    return curve


def _legs_kept(times: Curve, poses: Curve, loop: bool) -> Curve:
    """Take what a key does not use of a leg, its angles or its foot's target, from the key next to it.

    Else it would draw the leg somewhere in passing, while one fades into the other.
    """
    kept = poses.copy()
    apart = np.abs(times[:, None] - times)
    for side in ("l", "r"):
        free = poses[:, INDEX[f"{side}_free"]]
        for channels, used in ((_HANGING, free > 0.0), (_STANDING, free < 1.0)):
            if used.all() or not used.any():
                continue
            # Angles do not travel, so a loop's may come from over its seam.
            away = np.minimum(apart, times[-1] - apart) if loop and channels is _HANGING else apart
            nearest = np.where(used, away, np.inf).argmin(axis=1)
            columns = [INDEX[f"{side}_{name}"] for name in channels]
            kept[:, columns] = poses[nearest][:, columns]
    return kept


_HANGING = ("thigh", "thigh_out", "thigh_turn", "knee", "ankle")
_STANDING = ("foot_x", "foot_y", "foot_z", "toe_out", "heel", "knee_out")


def _steps(times: Curve, poses: Curve, moments: Curve, side: str) -> Curve:
    """Return how high a foot is lifted where the keys move it over the ground, ``(t,)``.

    Feet step, they do not slide: between two keys that have the foot on the ground in different
    places, or turned far, it rises in an arc. Keys that lift the foot themselves are left alone.
    """
    place = poses[:, [INDEX[f"{side}_foot_x"], INDEX[f"{side}_foot_z"]]]
    on_ground = (poses[:, INDEX[f"{side}_foot_y"]] < _ON_GROUND) & (poses[:, INDEX[f"{side}_free"]] < 0.5)
    way = np.linalg.norm(np.diff(place, axis=0), axis=1)
    heel, turned = poses[:, INDEX[f"{side}_heel"]], np.abs(np.diff(poses[:, INDEX[f"{side}_toe_out"]]))
    spun = (turned > _LARGEST_PIVOT) & (np.minimum(heel[:-1], heel[1:]) < _ON_THE_BALL)
    moving = ((way > _SMALLEST_STEP) | spun) & on_ground[:-1] & on_ground[1:]
    lifted = np.zeros(len(moments))
    start = 0
    while start < len(moving):
        end = start
        while end < len(moving) and moving[end]:
            end += 1
        if end > start:
            share = np.clip((moments - times[start]) / (times[end] - times[start]), 0.0, 1.0)
            height = min(_STEP_HEIGHT + 0.12 * way[start:end].sum(), 0.16)
            lifted += height * np.sin(np.pi * share) ** 2
        start = end + 1
    return lifted


_ON_GROUND = 0.02
_SMALLEST_STEP = 0.015
"""Leg lengths a foot may be moved by between two keys without being lifted."""
_STEP_HEIGHT = 0.035
_LARGEST_PIVOT = 40.0
"""Degrees a foot may turn on the ground between two keys without being lifted."""
_ON_THE_BALL = 40.0
"""Degrees of lifted heel from which a foot spins as far as it likes."""


def sample_times(seconds: float, fps: float) -> NDArray[np.float64]:
    """Return the moments of the frames of a motion, the first at 0 and the last at its end."""
    frames = max(round(seconds * fps), 1)
    return np.linspace(0.0, seconds, frames + 1)


def sway(curve: Curve, fps: float, *, seconds: float = 4.0, breath: float = 1.0) -> Curve:
    """Lay breathing and a small shift of weight over a motion, in whole periods of its length."""
    whole = (len(curve) - 1) / fps
    turns = max(round(whole / seconds), 1)
    phase = np.linspace(0.0, 2.0 * np.pi * turns, len(curve))
    living = curve.copy()
    for name, size, shift in _BREATH:
        living[:, INDEX[name]] += breath * size * np.sin(phase + shift)
    return living


_BREATH = (
    ("bend", -1.1, 0.0),
    ("nod", 0.9, 0.6),
    ("l_shrug", 1.3, 0.2),
    ("r_shrug", 1.3, 0.2),
    ("l_spread", 0.8, 0.4),
    ("r_spread", 0.8, 0.4),
    ("y", -0.0025, 1.2),
)
_TRAVEL = ("x", "z", "l_foot_x", "r_foot_x", "l_foot_z", "r_foot_z", "turn", "l_toe_out", "r_toe_out")


def _without_travel(pose: Curve) -> Curve:
    kept = pose.copy()
    kept[[INDEX[name] for name in _TRAVEL]] = 0.0
    return kept


def _draw(times: Curve, values: Curve, moments: Curve, loop: bool) -> Curve:
    if np.ptp(values) == 0.0:
        return np.full(len(moments), values[0])
    if not loop:
        return np.asarray(PchipInterpolator(times, values)(np.clip(moments, times[0], times[-1])))
    # Two keys of the neighbouring rounds on either side make the slope at the seam the loop's own.
    length, travel = times[-1], values[-1] - values[0]
    reach = min(3, len(times) - 1)
    wide_times = np.concatenate([times[-1 - reach : -1] - length, times, times[1 : 1 + reach] + length])
    wide_values = np.concatenate([values[-1 - reach : -1] - travel, values, values[1 : 1 + reach] + travel])
    return np.asarray(PchipInterpolator(wide_times, wide_values)(moments))
