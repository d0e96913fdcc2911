"""When a foot stands: from what a motion says of its feet, and from heights and speeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.animation.retarget.bone_map import SIDES, BoneMap
from services.animation.retarget.frames import body_axes
from services.animation.retarget.take import Take, Vectors

_SLOW = 0.35
"""Leg lengths a second under which a foot stands."""
_LOW = 0.10
"""Leg lengths over its lowest that a foot may be to stand."""
_LEAST, _GAP = 0.07, 0.05
"""Seconds: shorter contacts are dropped, shorter gaps closed."""

Span = tuple[int, int]
"""Frames from the first to the one after the last."""


def find_contacts(take: Take, bones: BoneMap, leg: float) -> NDArray[np.bool_]:
    """Return when each foot stands, ``(t, 2)``, left first; ``leg`` is the source's leg in its own unit.

    A foot stands while its slowest point, ankle, heel or ball, hardly moves and, where the take says
    nothing of its feet, is near the lowest it gets.
    """
    up = body_axes(take.skeleton, bones)[:, 1]
    columns = []
    for number, side in enumerate(SIDES):
        points = _sole(take, bones, side, leg, up)
        speed = np.min([_speed(track, up, take.fps) for track in points], axis=0) / leg
        height = np.min([track @ up for track in points], axis=0)
        low = height < np.percentile(height, 5) + _LOW * leg
        said = low if take.planted is None else take.planted[:, number]
        columns.append(_settled(np.asarray(said & (speed < _SLOW)), take.fps))
    return np.stack(columns, axis=1)


def spans(standing: NDArray[np.bool_]) -> list[Span]:
    """Return the runs of True in ``(t,)``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], standing, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _sole(take: Take, bones: BoneMap, side: str, leg: float, up: Vectors) -> list[Vectors]:
    """Return the paths ``(t, 3)`` of ankle, heel and ball."""
    foot, toes = bones.roles[f"{side}Foot"], bones.roles.get(f"{side}Toes")
    front = body_axes(take.skeleton, bones)[:, 2]
    rest = take.skeleton.rest
    turned = take.turns[:, foot] @ rest[foot, :3, :3].T
    ankle = take.points[:, foot]
    heel = ankle - turned @ (0.09 * leg * up + 0.06 * leg * front)
    ball = ankle + turned @ (0.15 * leg * front - 0.07 * leg * up) if toes is None else take.points[:, toes]
    return [ankle, heel, ball]


def _speed(points: Vectors, up: Vectors, fps: float) -> Vectors:
    if len(points) < 2:
        return np.zeros(len(points))
    flat = points - (points @ up)[:, None] * up
    return np.asarray(np.linalg.norm(np.gradient(flat, axis=0), axis=1) * fps)


def _settled(standing: NDArray[np.bool_], fps: float) -> NDArray[np.bool_]:
    settled = standing.copy()
    for first, last in spans(~standing):
        if first > 0 and last < len(standing) and last - first < _GAP * fps:
            settled[first:last] = True
    for first, last in spans(settled):
        if first > 0 and last < len(standing) and last - first < _LEAST * fps:
            settled[first:last] = False
    return settled
