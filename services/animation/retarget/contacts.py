"""When a foot stands: from what a motion says of its feet, and from heights and speeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.animation.retarget.bone_map import SIDES, BoneMap
from services.animation.retarget.frames import body_axes
from services.animation.retarget.take import Take, Vectors

_SLOW = 0.35
"""Leg lengths a second under which a foot stands."""
_LANDING = 0.9
"""Leg lengths a second under which a foot that is down already comes to stand, or still does."""
_LOW, _DOWN = 0.10, 0.035
"""Leg lengths over its lowest that a foot may be to stand, and to come to stand."""
_BALL, _HEEL = 0.15, 0.06
"""Leg lengths that ball and heel are before and behind the ankle where nobody knows."""
_LEAST, _GAP = 0.07, 0.05
"""Seconds: shorter contacts are dropped, shorter gaps closed."""

_FLAT = 0.04
"""Leg lengths over its lowest up to which the ankle of a foot on its whole sole is."""
_STILL = 0.03
"""Leg lengths a second under which points of a foot are equally still."""

Span = tuple[int, int]
"""Frames from the first to the one after the last."""


@dataclass(frozen=True, slots=True)
class Contacts:
    """When each foot stands, ``standing (t, 2)``, left first, on what, and how high it is.

    ``on (t, 2, 3)`` are shares of ankle, heel and ball, which add up to one: the stiller a point, the
    more it carries. ``heights (t, 2, 2)`` are those of heel and ball over standing, in lengths of the leg.
    """

    standing: NDArray[np.bool_]
    on: Vectors
    heights: Vectors


def find_contacts(take: Take, bones: BoneMap, leg: float) -> Contacts:
    """Return when each foot stands and on what; ``leg`` is the source's leg in its own unit.

    A foot stands while its slowest point, ankle, heel or ball, hardly moves and, where the take says
    nothing of its feet, is near the lowest it gets.
    """
    up = body_axes(take.skeleton, bones)[:, 1]
    columns, shares, raised = [], [], []
    for number, side in enumerate(SIDES):
        points = _sole(take, bones, side, leg, up)
        speeds = np.stack([_speed(track, up, take.fps) for track in points], axis=1) / leg
        height = np.min([track @ up for track in points], axis=0)
        low = height < np.percentile(height, 5) + _LOW * leg
        said = low if take.planted is None else take.planted[:, number]
        slowest = speeds.min(axis=1)
        near = height < np.percentile(height, 5) + _DOWN * leg
        stands = _settled(said & (slowest < _SLOW), take.fps)
        columns.append(_grown(stands, said & near & (slowest < _LANDING)))
        still = 1.0 / (speeds**2 + _STILL**2)
        shares.append(still / still.sum(axis=1, keepdims=True))
        flat = whole_soles(points[0] @ up, columns[-1], leg)
        over = np.stack([track @ up for track in points[1:]], axis=1) / leg
        ground = np.median(over[flat], axis=0) if flat.any() else np.percentile(over, 5, axis=0)
        raised.append(np.maximum(over - ground, 0.0))
    return Contacts(np.stack(columns, axis=1), np.stack(shares, axis=1), np.stack(raised, axis=1))


def spans(standing: NDArray[np.bool_]) -> list[Span]:
    """Return the runs of True in ``(t,)``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], standing, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def whole_soles(heights: Vectors, standing: NDArray[np.bool_], leg: float) -> NDArray[np.bool_]:
    """Return when a foot stands on its whole sole, of those that stand, ``(t,)`` or ``(t, 2)``.

    ``heights`` are the ankles': one that is on its toes or rolls on its heel is higher.
    """
    if not standing.any():
        return standing
    return np.asarray(standing & (heights < np.percentile(heights[standing], 5) + _FLAT * leg))


def _sole(take: Take, bones: BoneMap, side: str, leg: float, up: Vectors) -> list[Vectors]:
    """Return the paths ``(t, 3)`` of ankle, heel and ball."""
    foot, toes = bones.roles[f"{side}Foot"], bones.roles.get(f"{side}Toes")
    front = body_axes(take.skeleton, bones)[:, 2]
    rest = take.skeleton.rest
    turned = take.turns[:, foot] @ rest[foot, :3, :3].T
    ankle = take.points[:, foot]
    heel = ankle - turned @ (0.09 * leg * up + _HEEL * leg * front)
    ball = ankle + turned @ (_BALL * leg * front - 0.07 * leg * up) if toes is None else take.points[:, toes]
    return [ankle, heel, ball]


def _speed(points: Vectors, up: Vectors, fps: float) -> Vectors:
    if len(points) < 2:
        return np.zeros(len(points))
    flat = points - (points @ up)[:, None] * up
    return np.asarray(np.linalg.norm(np.gradient(flat, axis=0), axis=1) * fps)


def _grown(standing: NDArray[np.bool_], may: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return contacts with the moments before and after them in which the foot may have stood already."""
    grown = standing.copy()
    for first, last in spans(standing | may):
        if standing[first:last].any():
            grown[first:last] = True
    return grown


def _settled(standing: NDArray[np.bool_], fps: float) -> NDArray[np.bool_]:
    settled = standing.copy()
    for first, last in spans(~standing):
        if first > 0 and last < len(standing) and last - first < _GAP * fps:
            settled[first:last] = True
    for first, last in spans(settled):
        if first > 0 and last < len(standing) and last - first < _LEAST * fps:
            settled[first:last] = False
    return settled
