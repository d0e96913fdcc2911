"""Walks and runs by parameters: feet that stay where they step, a pelvis carried over them.

The timing of stance and swing, the vaulting pelvis of walking and the bouncing one of running,
pelvic rotation, drop and sway, and the counter-swing of the arms follow Inman, Ralston and Todd,
*Human Walking* (1981), and Novacheck, *The biomechanics of running* (Gait & Posture 7, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from services.animation.motion.channels import INDEX, REST
from services.animation.motion.keys import Curve, sample_times
from services.animation.motion.pose import hip_reach

_LONGEST_REACH = 0.995
"""Share of the leg's length that hip and ankle may be apart: knees never lock."""
_ON_GROUND = 0.003
"""Height of the ankle over standing, leg lengths, up to which a foot carries."""
_ROUNDS = 4
_SMOOTHING = 0.025
"""Width of the filter on the pelvis' height, share of a cycle."""


@dataclass(frozen=True, slots=True)
class Gait:
    """What makes a walk this walk. Lengths in leg lengths, angles in degrees, times in seconds."""

    cycle: float = 1.08
    """Time of two steps."""
    stride: float = 1.55
    """Distance of two steps; negative walks backwards."""
    stance: float = 0.62
    """Share of the cycle a foot is on the ground; under a half is a run."""
    heading: float = 0.0
    """Direction of travel from where the body faces, left positive."""
    ahead: float = 0.45
    """Share of the stance's way that lies in front of the hip."""
    width: float = -0.03
    """How far the feet step outwards from under the hips."""
    toe_out: float = 6.0
    clearance: float = 0.10
    """Height of the ankle in mid-swing."""
    kick: float = 0.10
    """How much further the heel is flung up early in the swing."""
    strike: float = 16.0
    """Toes lifted as the heel comes down."""
    push: float = 38.0
    """Heel lifted as the toes leave."""
    bounce: float = 0.026
    """Half the rise and fall of the pelvis."""
    crouch: float = 0.0
    """How much lower the pelvis is carried."""
    sway: float = 0.035
    """Pelvis towards the standing leg."""
    hip_turn: float = 6.0
    hip_drop: float = 4.0
    chest_turn: float = 9.0
    """Shoulders against the pelvis."""
    lean: float = 3.0
    """Trunk forward."""
    nod: float = -2.0
    arms: float = 24.0
    """Half the swing of the arms."""
    arms_ahead: float = 2.0
    spread: float = 8.0
    elbow: float = 18.0
    elbow_swing: float = 14.0
    fist: float = 0.3
    head_bob: float = 1.5
    shoulder_roll: float = 1.5


def gait(form: Gait, fps: float, *, cycles: int = 1) -> Curve:
    """Return the channels of ``cycles`` whole cycles, which join end to end."""
    moments = sample_times(form.cycle * cycles, fps)
    cycle = moments / form.cycle
    curve = np.tile(REST, (len(moments), 1))
    turn = np.radians(form.heading)
    ahead, aside = np.cos(turn), np.sin(turn)
    _set(curve, "z", form.stride * cycle * ahead)
    _set(curve, "x", form.stride * cycle * aside)
    for side, sign, phase in (("l", 1.0, cycle), ("r", -1.0, cycle + 0.5)):
        along, height, pitch = _foot(form, phase)
        # The right foot's step begins half a cycle earlier.
        along = along - (0.5 * form.stride if side == "r" else 0.0)
        _set(curve, f"{side}_foot_z", along * ahead)
        _set(curve, f"{side}_foot_x", form.width + sign * along * aside)
        _set(curve, f"{side}_foot_y", height)
        _set(curve, f"{side}_heel", pitch)
        _set(curve, f"{side}_toe_out", np.full_like(cycle, form.toe_out))
        _arm(form, curve, side, phase)
    _trunk(form, curve, cycle)
    _carry(form, curve, cycle)
    return curve


def _set(curve: Curve, name: str, values: NDArray[np.float64]) -> None:
    curve[:, INDEX[name]] = values


def _foot(form: Gait, phase: NDArray[np.float64]) -> tuple[Curve, Curve, Curve]:
    """Return a foot's way, height and pitch; it comes down at whole phases."""
    step, part = np.floor(phase), np.mod(phase, 1.0)
    lead = form.ahead * form.stance * form.stride
    stance = part < form.stance
    swing = np.clip((part - form.stance) / (1.0 - form.stance), 0.0, 1.0)
    # Quickly off, or the pelvis would stretch the leg that is about to swing; softly down.
    even = swing - np.sin(2 * np.pi * swing) / (2 * np.pi)
    moved = 0.5 * (even + swing**2 * (6.0 - 8.0 * swing + 3.0 * swing**2))
    along = lead + form.stride * (step + moved)
    arc = np.sin(np.pi * swing) ** 2
    early = np.sin(np.pi * swing**0.65) ** 2 * (1.0 - swing)
    height = np.where(stance, 0.0, form.clearance * arc + form.kick * 1.6 * early)
    planted = np.clip(part / form.stance, 0.0, 1.0)
    forwards = form.stride >= 0
    down = _fade(planted, 0.0, 0.18) * -form.strike
    up = _rise(planted, 0.58, 1.0) * form.push
    on_ground = down + up if forwards else (_fade(planted, 0.0, 0.4) * form.push * 0.7)
    first, last = (form.push, -form.strike) if forwards else (0.0, form.push * 0.7)
    in_air = first + (last - first) * _rise(swing, 0.05, 0.8)
    return along, height, np.where(stance, on_ground, in_air)


def _rise(value: Curve, start: float, end: float) -> Curve:
    share = np.clip((value - start) / (end - start), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _fade(value: Curve, start: float, end: float) -> Curve:
    return 1.0 - _rise(value, start, end)


def _arm(form: Gait, curve: Curve, side: str, phase: Curve) -> None:
    # An arm is furthest back when the foot of its side comes down.
    ahead = -np.cos(2 * np.pi * phase) * np.sign(form.stride)
    _set(curve, f"{side}_swing", form.arms_ahead + form.arms * ahead)
    _set(curve, f"{side}_spread", np.full_like(phase, form.spread))
    _set(curve, f"{side}_elbow", form.elbow + form.elbow_swing * 0.5 * (1.0 + ahead))
    _set(curve, f"{side}_fist", np.full_like(phase, form.fist))
    _set(curve, f"{side}_rotate", 8.0 + 6.0 * ahead)
    _set(curve, f"{side}_shrug", form.shoulder_roll * np.cos(4 * np.pi * phase))


def _trunk(form: Gait, curve: Curve, cycle: Curve) -> None:
    stride = 2 * np.pi * cycle
    # The hip of the leading leg is in front, the one of the swinging leg drops.
    leading, standing = np.cos(stride), np.sin(stride - 2 * np.pi * (form.stance / 2 - 0.25))
    _set(curve, "turn", -form.hip_turn * leading * np.sign(form.stride))
    _set(curve, "twist", (form.hip_turn + form.chest_turn) * leading * np.sign(form.stride))
    _set(curve, "look", -form.chest_turn * leading * np.sign(form.stride))
    _set(curve, "roll", -form.hip_drop * standing)
    _set(curve, "lean", form.hip_drop * 1.1 * standing)
    curve[:, INDEX["x"]] += form.sway * standing
    _set(curve, "pitch", np.full_like(cycle, form.lean * 0.35))
    _set(curve, "bend", np.full_like(cycle, form.lean * 0.65))
    _set(curve, "nod", form.nod - form.lean * 0.6 + form.head_bob * np.cos(2 * stride))


def _carry(form: Gait, curve: Curve, cycle: Curve) -> None:
    """Set the pelvis' height: vaulting over the leg in a walk, bouncing on it in a run."""
    middle = 2 * np.pi * 2 * (cycle - form.stance / 2)
    # A walker's pelvis is at standing height over the standing leg, a runner's is higher in flight.
    vault = np.cos(middle) - 1.0 if form.stance >= 0.5 else -np.cos(middle)
    _set(curve, "y", form.bounce * vault)
    # As high as the more stretched leg on the ground allows; smoothed, for no body follows jerks.
    down = curve[:, [INDEX["l_foot_y"], INDEX["r_foot_y"]]] <= _ON_GROUND
    height = curve[:, INDEX["y"]]
    for _ in range(_ROUNDS):
        height -= 1.2 * _too_far(curve, down)
    turns = max(round(float(cycle[-1])), 1)
    sigma = _SMOOTHING * (len(curve) - 1) / turns
    height[:-1] = gaussian_filter1d(height[:-1], sigma, mode="wrap")
    height[-1] = height[0]
    height -= form.crouch


def _too_far(curve: Curve, down: NDArray[np.bool_]) -> Curve:
    """Return by how much the more stretched standing leg is too far from its foot, ``(t,)``."""
    excess = np.where(down, hip_reach(curve) - _LONGEST_REACH, 0.0)
    return np.asarray(np.maximum(excess, 0.0).max(axis=1))
