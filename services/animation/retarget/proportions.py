"""What other proportions ask for before feet are locked.

A foot that is longer than the motion's, in lengths of the leg, rolls less, so that its ankle rises as it
is meant to; hips that are wider turn and drop less, so that hip joints go as far as they are meant to;
and feet of captured motions, which tremble, are calmed while they stand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from services.animation.retarget.feet import Leg
from services.animation.retarget.frames import unit
from services.animation.retarget.take import Vectors

_CALM = 0.1
"""Seconds over which a standing foot is calmed."""
_SOFT = 0.05
"""Seconds over which that begins and ends."""
_QUICK = 0.03
"""Seconds over which a foot is pitched less."""
_HEADING = 0.5
"""Seconds over which the pelvis' way of facing is smoothed."""
_SWAY = 18.0
"""Degrees up to which a turn or drop of the pelvis is the sway of a step, and not a turn of the body."""
_SHORTEST = 0.08
"""Leg lengths that a sole reaches at least."""
_BROAD = 0.06
"""Leg lengths from the middle to the edge of a foot that is not broad."""
_NEAR = 0.2
"""Leg lengths up to which a foot is near the ground."""
_NEARLY = 0.8
"""Share of the height at which a foot can point straight down from which it rolls less freely."""
_TIP = 0.5
"""Share of the ball's height that the tip of the toes may be lower."""
_AHEAD = 0.6
"""Cosine from which a foot leans over its toes."""
_HANGING, _UPRIGHT = 0.1, 0.5
"""Cosine from and at which a shin stands on its foot."""


def smoothstep(value: Vectors) -> Vectors:
    """Return 0 up to 0, 1 from 1, and a soft rise between."""
    share = np.clip(value, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def calmed(turned: Vectors, standing: NDArray[np.bool_], fps: float) -> Vectors:
    """Return the turns ``(t, 3, 3)`` of a foot, smoothed while it stands, ``standing (t,)``."""
    if not standing.any() or len(turned) < 3:
        return turned
    smooth = gaussian_filter1d(turned, _CALM * fps, axis=0, mode="nearest")
    # The nearest rotation to a mean of rotations (Markley et al. 2007, as matrices).
    left, _, right = np.linalg.svd(smooth)
    left[..., -1] *= np.linalg.det(left @ right)[:, None]
    step = Rotation.from_matrix(np.swapaxes(turned, 1, 2) @ (left @ right)).as_rotvec()
    share = gaussian_filter1d(standing.astype(np.float64), _SOFT * fps, mode="nearest")
    return np.asarray(turned @ Rotation.from_rotvec(share[:, None] * step).as_matrix())


def rolled_less(
    turned: Vectors, leg: Leg, height: Vectors, ends: Vectors, shin: Vectors, body: Vectors, fps: float
) -> Vectors:
    """Return the turns ``(t, 3, 3)`` of a foot that rolls no further than lifts its ankle as it is meant to.

    ``height (t,)`` is the ankle's over standing, ``ends (t, 2)`` how high heel and ball are meant to be,
    ``shin (t, 3)`` where the shin points: one that lies has its heel on the floor and its toes up.
    """
    ball, heel = height - ends[:, 1], height - ends[:, 0]
    pitch, stands = _pitch(turned, body), upright(shin, body)
    down, near_ball = _rolled_by(float(leg.ball @ body[:, 2]), float(leg.ball @ body[:, 1]), ball)
    up, near_heel = _rolled_by(-float(leg.heel @ body[:, 2]), float(leg.heel @ body[:, 1]), heel)
    back = near_ball * np.maximum(pitch - down, 0.0) - near_heel * np.maximum(-pitch - up, 0.0)
    back = gaussian_filter1d(stands * back, _QUICK * fps, mode="nearest")
    turned = _pitched(turned, -back, body)
    # On their edges broad feet would lift their ankles as well.
    share = 1.0 - min(_BROAD * leg.length / max(leg.width, 1e-6), 1.0)
    near = 1.0 - smoothstep((height / leg.length - _NEAR) / _NEAR)
    roll = np.arcsin(np.clip((turned @ body[:, 0]) @ body[:, 1], -1.0, 1.0))
    ahead = (-share * near * stands * roll)[:, None] * (turned @ body[:, 2])
    return np.asarray(Rotation.from_rotvec(ahead).as_matrix() @ turned)


def toes_less(turned: Vectors, leg: Leg, foot: Vectors, height: Vectors, body: Vectors) -> Vectors:
    """Return the turns ``(t, 3, 3)`` of toes whose tip stays over the floor.

    ``foot (t, 3, 3)`` is what the foot is turned by and ``height (t,)`` how high its ankle is over standing.
    """
    up = body[:, 1]
    ball = height + (foot @ leg.ball - leg.ball) @ up
    down, near = _rolled_by(leg.toes, 0.0, _TIP * ball)
    return _pitched(turned, -near * np.maximum(_pitch(turned, body) - down, 0.0), body)


def _pitch(turned: Vectors, body: Vectors) -> Vectors:
    """Return how far toes point down, ``(t,)`` radians: beyond a right angle they point backwards."""
    ahead = unit(np.cross(turned @ body[:, 0], body[:, 1]))
    front = turned @ body[:, 2]
    return np.asarray(np.arctan2(-(front @ body[:, 1]), (front * ahead).sum(axis=1)))


def _pitched(turned: Vectors, angle: Vectors, body: Vectors) -> Vectors:
    """Return turns with the toes lower by an angle ``(t,)``, about the horizontal."""
    up, left = body[:, 1], turned @ body[:, 0]
    flat = left - (left @ up)[:, None] * up
    # A foot that lies on its side has no pitch.
    share = smoothstep((np.linalg.norm(flat, axis=1) - _HANGING) / (_UPRIGHT - _HANGING))
    return np.asarray(Rotation.from_rotvec((share * angle)[:, None] * unit(flat)).as_matrix() @ turned)


def _rolled_by(ahead: float, below: float, height: Vectors) -> tuple[Vectors, Vectors]:
    """Return the pitch ``(t,)`` at which a foot that rolls on a point has its ankle at a height.

    And how surely the point is near the ground at all, 0 to 1.
    """
    ahead, below = max(ahead, 1e-6), max(-below, 0.0)
    share = (np.maximum(height, 0.0) + below) / np.hypot(ahead, below)
    pitch = np.arcsin(np.clip(share, 0.0, 1.0)) - np.arctan2(below, ahead)
    return np.asarray(pitch), 1.0 - smoothstep((share - _NEARLY) / (1.0 - _NEARLY))


def upright(shin: Vectors, body: Vectors) -> Vectors:
    """Return how surely a shin that points along ``shin (t, 3)`` stands on its foot, 0 to 1."""
    return smoothstep((-(shin @ body[:, 1]) - _HANGING) / (_UPRIGHT - _HANGING))


def levelled(turned: Vectors, leg: Leg, through: Vectors, shin: Vectors, body: Vectors) -> Vectors:
    """Return the turns ``(t, 3, 3)`` of a foot that is ``through (t,)`` the floor, at most made level."""
    up, least = body[:, 1], _SHORTEST * leg.length
    # Where the foot's own up leans to, and how far the sole reaches to the side that goes down.
    lean = turned @ up - up
    lean -= (lean @ up)[:, None] * up
    local = np.einsum("tji,tj->ti", turned, unit(lean))
    along = local @ body[:, 2]
    reach = np.where(along > 0.0, leg.ball @ body[:, 2], -leg.heel @ body[:, 2])
    reach = np.maximum(reach * np.abs(along), least)
    tilt = np.arccos(np.clip((turned @ up) @ up, -1.0, 1.0))
    # Toes of what lies on its face are lifted as well; all else only of what stands upright.
    share = np.maximum(smoothstep((along - _AHEAD) / (1.0 - _AHEAD)), upright(shin, body))
    angle = np.minimum(tilt, through / reach) * share
    axis = unit(np.cross(turned @ up, up))
    return np.asarray(Rotation.from_rotvec(angle[:, None] * axis).as_matrix() @ turned)


def swayed_less(turned: Vectors, ratio: float, body: Vectors, fps: float) -> Vectors:
    """Return the turns ``(t, 3, 3)`` of a pelvis whose hip joints go as far as those of a slimmer one.

    ``ratio`` is the motion's width of the hips over the target's, in lengths of their legs. What turns
    the whole body is left, and so is what bends it forwards.
    """
    if ratio >= 1.0:
        return turned
    up, front = body[:, 1], body[:, 2]
    ahead = turned @ front
    yaw = np.unwrap(np.arctan2(ahead @ body[:, 0], ahead @ front))
    heading = gaussian_filter1d(yaw, _HEADING * fps, mode="nearest")
    facing = Rotation.from_rotvec(heading[:, None] * up)
    # In the axes of a body that faces ahead: bend, turn, drop.
    sway = (facing.inv() * Rotation.from_matrix(turned)).as_rotvec() @ body
    stands = upright(-(turned @ up), body)
    small = np.exp(-((np.degrees(sway[:, 1:]) / _SWAY) ** 2))
    sway[:, 1:] *= 1.0 - (1.0 - ratio) * small * stands[:, None]
    return np.asarray((facing * Rotation.from_rotvec(sway @ body.T)).as_matrix())
