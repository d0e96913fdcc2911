"""What holds for every motion: legs reach their feet, and nothing goes through the floor.

Both are met by the height of the pelvis alone, after style and mood have had their say, so no
choreography can break them. The corrections begin and end softly: each is spread over a short
window before it is smoothed, so that it is never smaller than needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from services.animation.motion.channels import INDEX
from services.animation.motion.figure import ANKLE, JOINTS, LEG
from services.animation.motion.keys import Curve
from services.animation.motion.limbs import Points
from services.animation.motion.pose import hip_reach, posed

_LONGEST_REACH = 0.998
"""Share of its length to which a standing leg may be stretched: knees are never locked."""
_ON_GROUND = 0.003
"""Height of the ankle over standing, leg lengths, up to which a foot carries."""
_WINDOW = 0.1
"""Seconds before and after a moment over which its correction is spread."""
_ROUNDS = 3
_FOLLOWS = 0.75
"""Share of freedom from which a leg hangs on the pelvis more than on its foot."""
_LOOSE, _LET_GO = 0.03, 0.15
"""Height over the floor, leg lengths, and share of freedom from which a foot no longer stands."""
_TOLERANCE = 0.004
"""Metres under the floor that are left alone."""

_SIDES = ("left", "right")
_HEEL = (0.0, -ANKLE, -0.05)
_TOES = ((0.0, -0.018, 0.0), (0.0, -0.018, 0.07))
_MIDDLE_FLESH = (
    ("hips", (0.0, 0.0, 0.0), 0.1),
    ("spine", (0.0, 0.0, 0.0), 0.09),
    ("chest", (0.0, 0.0, 0.0), 0.1),
    ("upperChest", (0.0, 0.0, 0.0), 0.1),
    ("neck", (0.0, 0.0, 0.0), 0.05),
    ("head", (0.0, 0.1, 0.02), 0.1),
)
_SIDE_FLESH = (
    ("UpperArm", (0.0, 0.0, 0.0), 0.045),
    ("LowerArm", (0.0, 0.0, 0.0), 0.035),
    ("Hand", (0.0, 0.0, 0.0), 0.02),
    ("MiddleProximal", (0.0, 0.0, 0.0), 0.012),
    ("MiddleDistal", (0.0, 0.0, 0.0), 0.008),
    ("LittleDistal", (0.0, 0.0, 0.0), 0.006),
    ("ThumbDistal", (0.0, 0.0, 0.0), 0.006),
    ("LowerLeg", (0.0, 0.0, 0.0), 0.05),
)
_FEET = (("Foot", _HEEL), ("Toes", _TOES[0]), ("Toes", _TOES[1]))
_BODY = [
    *_MIDDLE_FLESH,
    *((side + name, offset, thick) for side in _SIDES for name, offset, thick in _SIDE_FLESH),
    *((side + name, offset, 0.0) for side in _SIDES for name, offset in _FEET),
]
"""Points under the skin: joint, place in its axes and thickness of the flesh, metres."""
PARTS: tuple[str, ...] = tuple(name for name, _, _ in _BODY)
"""The joint of each column of ``lowest``."""
_JOINT = np.array([JOINTS[name] for name, _, _ in _BODY])
_OFFSET = np.array([offset for _, offset, _ in _BODY])
_THICK = np.array([thick for _, _, thick in _BODY])
_SOLES = {side: np.array([name in (f"{side}Foot", f"{side}Toes") for name, _, _ in _BODY]) for side in _SIDES}


def lowest(points: Points, turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the height of the underside of every part of the body, ``(t, p)`` metres.

    ``points (t, j, 3)`` and ``turns (t, j, 3, 3)`` are the joints as ``place_joints`` gives them.
    """
    places = points[:, _JOINT] + np.einsum("tpij,pj->tpi", turns[:, _JOINT], _OFFSET)
    return np.asarray(places[..., 1] - _THICK)


def grounded(curve: Curve, fps: float, *, loop: bool, rests: bool = False) -> Curve:
    """Return the channels with the pelvis so high that the legs reach and nothing is underground.

    With ``rests`` the body also sinks until it lies, kneels or leans on the floor: for what is
    done on the ground, where the keys give the pose and not its height.
    """
    steady = curve.copy()
    height = steady[:, INDEX["y"]]
    half = max(round(_WINDOW * fps), 1)
    for _ in range(_ROUNDS if rests else 0):
        height += _smooth(_under(steady, fps, sinks=True), half, loop)
    for _ in range(_ROUNDS):
        height -= 1.1 * _spread(_too_far(steady), half, loop)
    for _ in range(_ROUNDS):
        if not _lift_feet(steady, fps, max(half // 2, 1), loop):
            break
    for _ in range(_ROUNDS):
        under = _under(steady, fps)
        if not under.any():
            break
        height += _spread(under, half, loop)
    return steady


def _too_far(curve: Curve) -> NDArray[np.float64]:
    """Return by how much the more stretched standing leg is too far from its foot, ``(t,)``."""
    down = curve[:, [INDEX["l_foot_y"], INDEX["r_foot_y"]]] <= _ON_GROUND
    held = curve[:, [INDEX["l_free"], INDEX["r_free"]]] < 0.5
    excess = np.where(down & held, hip_reach(curve) - _LONGEST_REACH, 0.0)
    return np.asarray(np.maximum(excess, 0.0).max(axis=1))


def _heights(curve: Curve, fps: float) -> NDArray[np.float64]:
    return lowest(*posed(curve, fps))


def _under(curve: Curve, fps: float, *, sinks: bool = False) -> NDArray[np.float64]:
    """Return how far the pelvis has to rise, leg lengths ``(t,)``, or to sink where it may."""
    heights = _heights(curve, fps)
    for side in _SIDES:
        # A foot that steps where its target is does not follow the pelvis.
        steps = curve[:, INDEX[f"{side[0]}_free"]] < _FOLLOWS
        heights[np.ix_(steps, _SOLES[side])] = np.maximum(heights[np.ix_(steps, _SOLES[side])], 0.0)
    under = -heights.min(axis=1) / LEG
    return np.asarray(under if sinks else np.maximum(under - _TOLERANCE / LEG, 0.0))


def _lift_feet(curve: Curve, fps: float, half: int, loop: bool) -> bool:
    """Raise the targets of feet that are under the floor; tell whether there were any."""
    heights, any_lifted = _heights(curve, fps), False
    for side in _SIDES:
        free = curve[:, INDEX[f"{side[0]}_free"]]
        height = curve[:, INDEX[f"{side[0]}_foot_y"]]
        under = np.maximum(-heights[:, _SOLES[side]].min(axis=1) - _TOLERANCE, 0.0) / LEG
        under[free >= _FOLLOWS] = 0.0
        needed = under / np.maximum(1.0 - free, 0.4)
        # A foot that stands is not lifted for what it does before or after.
        loose = np.clip(height / _LOOSE + free / _LET_GO, 0.0, 1.0)
        height += np.maximum(needed * (1.0 - loose), _spread(needed, half, loop) * loose)
        any_lifted |= bool(under.any())
    return any_lifted


def _smooth(amount: NDArray[np.float64], half: int, loop: bool) -> NDArray[np.float64]:
    mode = "wrap" if loop else "nearest"
    if not loop:
        return np.asarray(uniform_filter1d(amount, half + 1, mode=mode))
    soft = uniform_filter1d(amount[:-1], half + 1, mode=mode)
    return np.append(soft, soft[0])


def _spread(amount: NDArray[np.float64], half: int, loop: bool) -> NDArray[np.float64]:
    """Widen and smooth a correction without making it smaller anywhere."""
    if not amount.any():
        return amount
    mode = "wrap" if loop else "nearest"
    body = amount[:-1] if loop else amount
    soft = uniform_filter1d(maximum_filter1d(body, 2 * half + 1, mode=mode), 2 * half + 1, mode=mode)
    return np.asarray(np.append(soft, soft[0]) if loop else soft)


def sole_points(points: Points, turns: NDArray[np.float64]) -> Points:
    """Return heel and ball of both feet on the ground side, ``(t, 2 sides, 2, 3)`` metres."""
    rows = []
    for side in _SIDES:
        foot, toes = JOINTS[f"{side}Foot"], JOINTS[f"{side}Toes"]
        rows.append(np.stack([points[:, foot] + turns[:, foot] @ np.array(_HEEL), points[:, toes]], axis=1))
    return np.stack(rows, axis=1)
