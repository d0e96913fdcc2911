"""What the four-legged figure does, done by another body on four legs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from maquette.geometry.rig import Clip, Skeleton
from services.animation.motion.quadruped import JOINTS, LEGS, QUADRUPED
from services.animation.retarget.clip import build_clip
from services.animation.retarget.four_legs import FourLegs
from services.animation.retarget.frames import unit
from services.animation.retarget.take import Take, Vectors
from services.animation.retarget.transfer import spread, swing
from services.animation.retarget.tree import path_down

_TRUNK = ("hips", "spine", "chest")
_NECK = ("chest", "upperChest", "neck1", "neck2", "head")
_TAIL = ("hips", "tail1", "tail2", "tail3")
_STRAIGHTEST = 0.998
_CLEARLY_BENT = 0.04
"""Share of a leg that its joint is beside the line from end to end to tell by itself how it bends."""
_TUCK = 1.1
"""Radians that a paw hangs when it is lifted by a fifth of its leg."""
_SOFT = 0.06
"""Seconds over which the body gives way to a leg that does not reach."""


@dataclass(frozen=True, slots=True)
class _Leg:
    """A leg of the target: two bones, a foot of any number of joints, and where it bends to at rest."""

    joints: tuple[int, ...]
    upper: float
    lower: float
    bend: Vectors
    source: str

    @property
    def end(self) -> int:
        """The joint that the two bones end in."""
        return self.joints[2]

    @property
    def paw(self) -> int:
        """The last joint, which stands on the ground."""
        return self.joints[-1]


def perform(take: Take, skeleton: Skeleton, bones: FourLegs, name: str) -> tuple[Clip, NDArray[np.bool_]]:
    """Return the clip in which ``skeleton`` does what the four-legged figure does, and when paws stand.

    The way of hips and paws is scaled by the height of the legs, so that a paw that stands stays.
    """
    axes, up = bones.axes, bones.axes[:, 1]
    heads, rest = skeleton.heads, skeleton.rest[:, :3, :3]
    legs = tuple(_leg(skeleton, bones, number) for number in range(4))
    theirs = QUADRUPED.heads[[JOINTS[f"{leg}UpperLeg"] for leg in LEGS], 1].mean()
    lowest = min(float(heads[leg.paw] @ up) for leg in legs)
    scale = float(np.mean([heads[leg.joints[0]] @ up for leg in legs]) - lowest) / float(theirs)
    turns = _turned_trunk(take, skeleton, bones)
    hips = heads[bones.trunk[0]] + scale * (take.points[:, 0] - QUADRUPED.heads[0]) @ axes.T
    paws, lifted = _paws(take, skeleton, legs, scale, axes)
    starts = [_follow(skeleton, bones, turns, hips, leg.joints[0]) for leg in legs]
    ends = []
    for leg, paw, lift in zip(legs, paws, lifted, strict=True):
        turned = _pitched(_TUCK * np.clip(lift / (0.2 * (leg.upper + leg.lower)), 0.0, 1.0), axes)
        hock = _delta(take, f"{leg.source}Hock", axes) if len(leg.joints) > 3 else turned
        turns[leg.paw] = turned @ rest[leg.paw]
        if len(leg.joints) > 3:
            turns[leg.end] = hock @ rest[leg.end]
        ends.append(paw + hock @ (heads[leg.end] - heads[leg.paw]) if len(leg.joints) > 3 else paw)
    drop = _give_way(legs, starts, ends, up, take.fps)[:, None] * up
    for leg, start, end in zip(legs, starts, ends, strict=True):
        _bend(leg, skeleton, turns, start - drop, end)
    carriers = {
        low: high
        for leg in legs
        for high, low in zip(leg.joints, leg.joints[1:], strict=False)
        if not path_down(skeleton.parents, high, low)
    }
    times = np.arange(take.frames) / take.fps
    planted = np.zeros((take.frames, 4), bool) if take.planted is None else take.planted
    return build_clip(skeleton, name, times, turns, (bones.trunk[0], hips - drop), carriers), planted


def _leg(skeleton: Skeleton, bones: FourLegs, number: int) -> _Leg:
    joints, heads = bones.legs[number], skeleton.heads
    first, second = heads[joints[1]] - heads[joints[0]], heads[joints[2]] - heads[joints[1]]
    upper, lower = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    along = unit(first + second)
    bend = first - along * float(first @ along)
    if np.linalg.norm(bend) < _CLEARLY_BENT * (upper + lower):
        front = bones.axes[:, 2] if LEGS[number].endswith("Back") else -bones.axes[:, 2]
        bend = front - along * float(front @ along)
    return _Leg(joints, upper, lower, unit(bend), LEGS[number])


def _delta(take: Take, name: str, axes: Vectors) -> Vectors:
    """Return what a joint of the figure, whose axes at rest are the world's, is turned by."""
    return np.asarray(axes @ take.turns[:, JOINTS[name]] @ axes.T)


def _turned_trunk(take: Take, skeleton: Skeleton, bones: FourLegs) -> dict[int, Vectors]:
    turns: dict[int, Vectors] = {}
    hips, chest = bones.trunk[0], bones.trunk[-1]
    turns[hips] = _delta(take, "hips", bones.axes) @ skeleton.rest[hips, :3, :3]
    chains: tuple[tuple[Sequence[str], tuple[int, ...]], ...] = (
        (_TRUNK, bones.trunk),
        (_NECK, (chest, *bones.neck)),
        (_TAIL, (hips, *bones.tail)),
    )
    for names, joints in chains:
        deltas = [_delta(take, name, bones.axes) for name in names]
        spread(deltas, skeleton, joints, turns)
    return turns


def _paws(
    take: Take, skeleton: Skeleton, legs: tuple[_Leg, ...], scale: float, axes: Vectors
) -> tuple[list[Vectors], list[Vectors]]:
    """Return where each paw goes, ``(t, 3)``, and how high it is lifted, ``(t,)``."""
    places, lifted = [], []
    for leg in legs:
        joint = JOINTS[f"{leg.source}Foot"]
        way = scale * (take.points[:, joint] - QUADRUPED.heads[joint]) @ axes.T
        places.append(skeleton.heads[leg.paw] + way)
        lifted.append(np.maximum(way @ axes[:, 1], 0.0))
    return places, lifted


def _pitched(angle: Vectors, axes: Vectors) -> Vectors:
    """Return rotations ``(t, 3, 3)`` about the body's left, toes down and backwards positive."""
    turns = np.tile(np.eye(3), (len(angle), 1, 1))
    turns[:, 1, 1] = turns[:, 2, 2] = np.cos(angle)
    turns[:, 1, 2], turns[:, 2, 1] = -np.sin(angle), np.sin(angle)
    return np.asarray(axes @ turns @ axes.T)


def _follow(
    skeleton: Skeleton, bones: FourLegs, turns: dict[int, Vectors], hips: Vectors, joint: int
) -> Vectors:
    """Return the path of a joint that hangs on the trunk."""
    chain = path_down(skeleton.parents, bones.trunk[0], joint)
    place, above = hips.copy(), turns[bones.trunk[0]]
    for link in chain[1:]:
        place = place + above @ skeleton.local[link, :3, 3]
        above = turns.get(link, above @ skeleton.local[link, :3, :3])
    return np.asarray(place)


def _give_way(
    legs: tuple[_Leg, ...], starts: list[Vectors], ends: list[Vectors], up: Vectors, fps: float
) -> Vectors:
    """Return how far the body must sink, ``(t,)``, for every paw to be in reach."""
    needed = np.zeros(len(starts[0]))
    for leg, start, end in zip(legs, starts, ends, strict=True):
        span = start - end
        rise = span @ up
        aside = ((span - rise[:, None] * up) ** 2).sum(axis=1)
        reach = np.sqrt(np.maximum(((leg.upper + leg.lower) * _STRAIGHTEST) ** 2 - aside, 0.0))
        needed = np.maximum(needed, np.clip(rise - reach, 0.0, 0.25 * (leg.upper + leg.lower)))
    width = max(round(_SOFT * fps), 1)
    wide = maximum_filter1d(needed, 2 * width + 1, mode="nearest")
    return np.asarray(gaussian_filter1d(wide, 0.6 * width, mode="nearest"))


def _bend(leg: _Leg, skeleton: Skeleton, turns: dict[int, Vectors], start: Vectors, end: Vectors) -> None:
    """Turn the two bones of a leg so that they end where they should; they bend as they do at rest."""
    heads, rest = skeleton.heads, skeleton.rest[:, :3, :3]
    first, second, third = leg.joints[:3]
    upper, lower = unit(heads[second] - heads[first]), unit(heads[third] - heads[second])
    reach = end - start
    far = np.linalg.norm(reach, axis=1, keepdims=True)
    along = reach / np.maximum(far, 1e-12)
    far = np.clip(far, abs(leg.upper - leg.lower) * 1.02 + 1e-9, (leg.upper + leg.lower) * _STRAIGHTEST)
    straight = unit(heads[third] - heads[first])
    whole = swing(straight, along)
    aside = whole @ leg.bend
    cos = np.clip((leg.upper**2 + far**2 - leg.lower**2) / (2 * leg.upper * far), -1.0, 1.0)
    knee = leg.upper * (cos * along + np.sqrt(1.0 - cos**2) * aside)
    # The leg is turned as a whole to its new line, then its bones in its own plane.
    for joint, bone, now in ((first, upper, unit(knee)), (second, lower, unit(along * far - knee))):
        turns[joint] = swing(whole @ bone, now) @ whole @ rest[joint]
