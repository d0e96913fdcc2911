"""The floor: nothing goes through it, and what rests on it in the motion rests on it on the target too.

Feet that stand are held by their own lock. Here the body as a whole is raised or lowered until the
first of what carries it touches, hands that carry are brought to the floor and held there, and no
hand and no swinging foot passes through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from services.animation.retarget.bone_map import SIDES
from services.animation.retarget.contacts import spans
from services.animation.retarget.feet import fade
from services.animation.retarget.flesh import Heights
from services.animation.retarget.take import Vectors

_TOUCHES, _CLEAR = 0.03, 0.09
"""Leg lengths over the floor at which a part rests on it for sure, and no more."""
_SURELY = 0.6
"""Share of resting from which a part has a say in how high the body is."""
_SOFT = 0.07
"""Seconds over which the body is raised or lowered."""
_QUICK = 0.07
"""Seconds over which a swinging foot is raised."""
_MOST_SINK = 0.35
"""Leg lengths that the body is lowered at most."""
_SLOW = 1.5
"""Leg lengths a second under which a hand that rests on the floor is held there."""
_LIMBS = tuple(f"{side}{part}" for side in SIDES for part in ("Hand", "Foot"))


@dataclass(frozen=True, slots=True)
class Meeting:
    """Heights over the floor of the parts of both bodies, in the target's unit, and its leg's length.

    ``source`` is None where nobody knows the source's flesh. ``standing (t, 2)`` are the feet.
    """

    source: Heights | None
    target: Heights
    standing: NDArray[np.bool_]
    leg: float
    fps: float


def resting(meeting: Meeting, part: str) -> Vectors:
    """Return how surely a part of the source rests on the floor, ``(t,)`` from 0 to 1."""
    if meeting.source is None or part not in meeting.source:
        return np.zeros(len(meeting.standing))
    height = meeting.source[part] / meeting.leg
    share = np.clip((_CLEAR - height) / (_CLEAR - _TOUCHES), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def lift_of_body(meeting: Meeting) -> Vectors:
    """Return how far the body has to rise, ``(t,)``, or to sink where that is less than 0."""
    frames = len(meeting.standing)
    deepest, wanted = np.full(frames, -np.inf), np.full(frames, -np.inf)
    by_hands, share = np.full(frames, -np.inf), np.zeros(frames)
    for part, height in meeting.target.items():
        rests = resting(meeting, part)
        limb = part in _LIMBS
        if part.endswith("Foot"):
            # A foot that stands is held; one that swings by says nothing.
            rests = np.where(meeting.standing[:, SIDES.index(part.removesuffix("Foot"))], 0.0, rests)
        theirs = np.zeros(frames) if meeting.source is None else meeting.source.get(part, np.zeros(frames))
        missing = np.where(rests > _SURELY, np.maximum(theirs, 0.0) - height, -np.inf)
        if part.endswith("Hand"):
            by_hands = np.maximum(by_hands, missing)
        else:
            wanted = np.maximum(wanted, missing)
        if not part.endswith("Foot"):
            share = np.maximum(share, rests)
        if not limb:
            deepest = np.maximum(deepest, -height)
    wanted = np.where(np.isfinite(wanted), wanted, by_hands)
    through = np.maximum(deepest, 0.0)
    # It sinks until the first part touches that has no lock of its own.
    settled = np.where(np.isfinite(wanted), np.maximum(wanted, deepest), through)
    settled = np.maximum(settled, -_MOST_SINK * meeting.leg)
    return _soft(share * settled, through * (1.0 - share), meeting.fps)


def lift_through(meeting: Meeting) -> Vectors:
    """Return how far the body has to rise, ``(t,)``, for what is through the floor."""
    depth = [np.maximum(-height, 0.0) for part, height in meeting.target.items() if part not in _LIMBS]
    return widened(np.max(depth, axis=0), meeting.fps) if depth else np.zeros(len(meeting.standing))


def _soft(settled: Vectors, through: Vectors, fps: float) -> Vectors:
    sigma = _SOFT * fps
    smooth = gaussian_filter1d(settled, sigma, mode="nearest") if settled.any() else settled
    return smooth + widened(through, fps)


def widened(amount: Vectors, fps: float, seconds: float = _SOFT) -> Vectors:
    """Widen and smooth a correction ``(t,)`` so that it is hardly smaller anywhere."""
    if not amount.any():
        return amount
    width = max(round(seconds * fps), 1)
    wide = maximum_filter1d(amount, 2 * width + 1, mode="nearest")
    return np.asarray(gaussian_filter1d(wide, 0.6 * width, mode="nearest"))


def depths_of_arms(meeting: Meeting) -> Mapping[str, Vectors]:
    """Return how far each arm that does not carry is under the floor, ``(t,)``, and the body is not."""
    frames = len(meeting.standing)
    trunk = [height for part, height in meeting.target.items() if not part.endswith(("Arm", "Hand", "Foot"))]
    sunk = np.maximum(-np.min(trunk, axis=0), 0.0) if trunk else np.zeros(frames)
    depths = {}
    for side in SIDES:
        own = [part for part in (f"{side}Arm", f"{side}Hand") if part in meeting.target]
        if own:
            height = np.min([meeting.target[part] for part in own], axis=0)
            rests = np.max([resting(meeting, part) for part in own], axis=0)
            depths[side] = np.maximum(-height - sunk, 0.0) * (1.0 - rests)
    return depths


def lifts_of_hands(meeting: Meeting) -> Mapping[str, Vectors]:
    """Return by how much each hand is moved up, ``(t,)``, or down where it carries."""
    moved = {}
    for side in SIDES:
        height = meeting.target.get(f"{side}Hand")
        if height is None:
            continue
        rests = resting(meeting, f"{side}Hand")
        lift = -height * rests
        moved[side] = lift + widened(np.maximum(-height - lift, 0.0), meeting.fps)
    return moved


def lifts_of_feet(meeting: Meeting) -> Mapping[str, Vectors]:
    """Return by how much each foot that does not stand is raised, ``(t,)``."""
    moved = {}
    for number, side in enumerate(SIDES):
        height = meeting.target.get(f"{side}Foot")
        if height is not None:
            through = np.where(meeting.standing[:, number], 0.0, np.maximum(-height, 0.0))
            raised = widened(through, meeting.fps, _QUICK)
            moved[side] = np.where(meeting.standing[:, number], 0.0, raised)
    return moved


def held(path: Vectors, rests: Vectors, up: Vectors, meeting: Meeting) -> Vectors:
    """Return what keeps a hand ``path (t, 3)`` where it came down, over the floor, while it rests there."""
    flat = path - (path @ up)[:, None] * up
    if len(flat) < 3:
        return np.zeros_like(flat)
    speed = np.linalg.norm(np.gradient(flat, axis=0), axis=1) * meeting.fps / meeting.leg
    offset, down = np.zeros_like(flat), np.zeros(len(flat))
    found = spans((rests > _SURELY) & (speed < _SLOW))
    for first, last in found:
        offset[first:last] = flat[(first + last) // 2] - flat[first:last]
        down[first:last] = 1.0
    fade(offset, found)
    return np.asarray(offset * widened(down, meeting.fps)[:, None])
