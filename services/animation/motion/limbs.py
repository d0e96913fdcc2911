"""Two-bone limbs: inverse kinematics with a steady hinge, and blends that never flip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import uniform_filter1d
from scipy.spatial.transform import Rotation

Rotations = NDArray[np.float64]
Points = NDArray[np.float64]

_STRAIGHTEST = 0.9995
"""Share of its length to which a limb may be stretched: the rest keeps the bend's plane known."""
_MOST_BENT = np.radians(155.0)
"""How far knees and elbows bend."""
_STEADY = 0.055
"""Seconds over which the direction of a knee or an elbow is evened out."""
_UNSURE = 0.45
"""Sine of the angle from reach to pole under which the pole says less and less."""
_SECOND = (1.0, -2.0, 1.0)
"""Second difference."""
_CLOSED = 0.03
"""How far apart the ends of a loop may be, as unit vectors or degrees."""
_AROUND = 1.2
"""Seconds of a loop's other end that are looked at over its seam."""


def turned(rotations: Rotations, points: Points) -> Points:
    """Turn vectors ``(t, 3)`` by rotations ``(t, 3, 3)``."""
    return np.asarray(np.einsum("tij,tj->ti", rotations, points))


def unit(vectors: Points) -> Points:
    """Scale vectors ``(…, 3)`` to length one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def two_bones(
    reach: Points,
    pole: Points,
    lengths: tuple[float, float],
    swivel: NDArray[np.float64],
    body: Rotations,
    fps: float,
    *,
    easing: NDArray[np.float64],
) -> tuple[Points, Points, Points]:
    """Solve a two-bone chain that spans ``reach (t, 3)`` with its middle joint towards the pole.

    Returns the hinge's axis (reach × pole) and the directions of both bones. The law of cosines
    gives the bend; a target out of reach is met as far as the chain goes. ``easing (t,)`` is the
    share of the length over which the chain slows down before it is straight: what snaps straight
    in one frame does so where the bend's slope is endless. ``body (t, 3, 3)`` is what carries the
    limb; seen from there the hinge turns steadily, however the reach passes its pole.
    """
    first, second = lengths
    span = _eased(np.linalg.norm(reach, axis=1), (first + second) * _STRAIGHTEST, easing)
    span = np.maximum(span, np.sqrt(first**2 + second**2 + 2 * first * second * np.cos(_MOST_BENT)))
    along = unit(reach)
    inwards = np.swapaxes(body, 1, 2)
    towards = turned(body, _steady(turned(inwards, along), turned(inwards, unit(pole)), fps))
    angle = np.radians(swivel)[:, None]
    towards = np.cos(angle) * towards + np.sin(angle) * np.cross(along, towards)
    cos = np.clip((first**2 + span**2 - second**2) / (2 * first * span), -1.0, 1.0)[:, None]
    upper = cos * along + np.sqrt(1.0 - cos**2) * towards
    lower = unit(along * span[:, None] - upper * first)
    return np.cross(along, towards), upper, lower


def _eased(span: NDArray[np.float64], most: float, easing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let distances ``(t,)`` near ``most`` only gradually, over the last ``easing (t,)`` of it."""
    room = np.maximum(easing, 1e-6) * most
    start = most - room
    return np.asarray(np.where(span > start, most - room * np.exp(-(span - start).clip(0.0) / room), span))


def _steady(along: Points, pole: Points, fps: float) -> Points:
    """Return the directions across ``along (t, 3)`` nearest to the pole that turn steadily.

    A pole nearly in line with the reach says nothing, and flips where the reach passes it. So the
    direction is an angle in a frame carried along with the reach, and the angle a smoothing spline
    through what the poles say, each as heavy as it is sure.
    """
    count = len(along)
    around = min(round(_AROUND * fps), count - 1)
    apart = max(np.abs(along[0] - along[-1]).max(), np.abs(pole[0] - pole[-1]).max())
    closed = around > 0 and apart < _CLOSED
    if closed:
        ends = np.r_[count - 1 - around : count - 1, 0:count, 1 : 1 + around]
        along, pole = along[ends], pole[ends]
    across = pole - along * (pole * along).sum(axis=1, keepdims=True)
    sure = np.clip(np.linalg.norm(across, axis=1) / _UNSURE, 0.0, 1.0) ** 4
    start, side = _carried(along, across[int(sure.argmax())], int(sure.argmax()))
    angle = _smooth(np.arctan2((across * side).sum(axis=1), (across * start).sum(axis=1)), sure, fps)[:, None]
    chosen = np.cos(angle) * start + np.sin(angle) * side
    return chosen[around : around + count] if closed else np.asarray(chosen)


def _carried(along: Points, first: Points, origin: int) -> tuple[Points, Points]:
    """Carry a direction across ``along`` from one moment to all others without turning it about ``along``."""
    start = np.empty_like(along)
    if np.linalg.norm(first) < 1e-9:
        first = np.cross(along[origin], np.eye(3)[int(np.abs(along[origin]).argmin())])
    start[origin] = unit(first)
    for step in (1, -1):
        for moment in range(origin + step, len(along) if step > 0 else -1, step):
            before, now, carried = along[moment - step], along[moment], start[moment - step]
            # The smallest rotation from one to the next, of a vector that stands on the first.
            carried = carried - (carried @ now) / max(1.0 + before @ now, 1e-6) * (before + now)
            start[moment] = unit(carried - now * (carried @ now))
    return start, np.cross(along, start)


def evened(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average values ``(t,)`` over ``width`` moments, round the seam where the end is the beginning."""
    if len(values) < 2 or abs(values[0] - values[-1]) > _CLOSED:
        return np.asarray(uniform_filter1d(values, width, mode="nearest"))
    round_about = uniform_filter1d(values[:-1], width, mode="wrap")
    return np.append(round_about, round_about[0])


def _smooth(angle: NDArray[np.float64], sure: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """Draw a smoothing spline through angles ``(t,)``, radians, weighted by ``sure (t,)``."""
    count = len(angle)
    known = np.flatnonzero(sure > 0.01)
    if count < 3 or not len(known):
        return angle if len(known) else np.zeros(count)
    wanted = np.interp(np.arange(count), known, np.unwrap(angle[known]))
    stiff = (_STEADY * fps) ** 4
    weight = sure + 1e-4
    bands = np.zeros((3, count))
    for shift in range(3):
        for other in range(shift, 3):
            weighed = stiff * _SECOND[shift] * _SECOND[other]
            bands[2 - (other - shift), other : count - 2 + other] += weighed
    bands[2] += weight
    return np.asarray(solveh_banded(bands, weight * wanted))


def arm_frame(bone: Points, hinge: Points, sign: float) -> Rotations:
    """Return the world rotation of an arm bone: its length along ±X, its hinge along ±Y."""
    return _axes(sign * bone, sign * hinge)


def leg_frame(bone: Points, hinge: Points) -> Rotations:
    """Return the world rotation of a leg bone: its length along -Y, its hinge along -X."""
    return _axes(-hinge, -bone)


def _axes(x: Points, y: Points) -> Rotations:
    return np.stack([x, y, np.cross(x, y)], axis=2)


def blend_limb(
    first: tuple[Rotations, Rotations], second: tuple[Rotations, Rotations], share: NDArray[np.float64]
) -> tuple[Rotations, Rotations]:
    """Blend the world rotations of a limb's two bones; the joint between them only ever bends."""
    upper = blend(first[0], second[0], share)
    bends = [np.swapaxes(above, 1, 2) @ below for above, below in (first, second)]
    return upper, upper @ blend(bends[0], bends[1], share)


def blend(first: Rotations, second: Rotations, share: NDArray[np.float64]) -> Rotations:
    """Blend rotations ``(t, 3, 3)``; ``share (t,)`` 0 gives the first.

    While a blend lasts it keeps to one way round, the shorter where both are closest: which way is
    shorter may change in the middle of it.
    """
    between = Rotation.from_matrix(np.swapaxes(first, 1, 2) @ second).as_quat()
    partly = (share > 0.0) & (share < 1.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], partly, [False]]).astype(np.int8)))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        within = between[begin:end]
        closest = int(np.abs(within[:, 3]).argmax())
        flips = np.concatenate([[1.0], np.where((within[1:] * within[:-1]).sum(axis=1) < 0, -1.0, 1.0)])
        signs = np.cumprod(flips)
        within *= (signs * signs[closest] * (1.0 if within[closest, 3] >= 0 else -1.0))[:, None]
    size = np.linalg.norm(between[:, :3], axis=1)
    # Not the canonical half angle: a quaternion with the other sign goes the long way.
    half = np.arctan2(size, between[:, 3])
    half = np.where(partly, half, np.where(between[:, 3] < 0, half - np.pi, half))
    step = between[:, :3] / np.maximum(size, 1e-12)[:, None] * (2.0 * half * share)[:, None]
    return np.asarray(first @ Rotation.from_rotvec(step).as_matrix())
