"""Bending a straight gait: round a curve, up a stair."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.animation.motion.channels import INDEX
from services.animation.motion.figure import FIGURE, JOINTS, LEG
from services.animation.motion.keys import Curve

_HIP = float(FIGURE.heads[JOINTS["leftUpperLeg"], 0]) / LEG
_SIDES = (("l", 1.0), ("r", -1.0))
_CLEAR = 0.07
"""Height of the first stair over the floor: no foot on a stair counts as on the floor."""


def round_curve(degrees: float) -> Callable[[Curve], Curve]:
    """Return what leads a gait that goes straight ahead through a turn, left positive.

    The ground itself is bent: a foot that stays on the straight stays on the curve.
    """

    def bent(curve: Curve) -> Curve:
        changed = curve.copy()
        z = curve[:, INDEX["z"]]
        radius = (z[-1] - z[0]) / np.radians(degrees)
        angle = _onto_arc(changed, "x", "z", curve[:, INDEX["x"]], radius)
        changed[:, INDEX["turn"]] += angle
        for side, sign in _SIDES:
            across = sign * (_HIP + curve[:, INDEX[f"{side}_foot_x"]])
            angle = _onto_arc(changed, f"{side}_foot_x", f"{side}_foot_z", across, radius)
            place = changed[:, INDEX[f"{side}_foot_x"]]
            changed[:, INDEX[f"{side}_foot_x"]] = sign * place - _HIP
            changed[:, INDEX[f"{side}_toe_out"]] += sign * angle
        return changed

    return bent


def _onto_arc(curve: Curve, across: str, ahead: str, aside: Curve, radius: float) -> Curve:
    """Move a point from the straight onto the arc and return how far round it is, degrees."""
    angle = curve[:, INDEX[ahead]] / radius
    curve[:, INDEX[across]] = radius - (radius - aside) * np.cos(angle)
    curve[:, INDEX[ahead]] = (radius - aside) * np.sin(angle)
    return np.asarray(np.degrees(angle))


def up_stairs(rise: float, stride: float) -> Callable[[Curve], Curve]:
    """Return what lifts a gait onto stairs that rise by ``rise`` with every half ``stride``."""

    def climbed(curve: Curve) -> Curve:
        changed = curve.copy()
        slope = 2.0 * rise / stride
        feet = [INDEX[f"{side}_foot_z"] for side, _ in _SIDES]
        lowest = float(curve[0, feet].min())
        changed[:, INDEX["y"]] += slope * (curve[:, INDEX["z"]] - lowest) + _CLEAR
        for side, _ in _SIDES:
            along = curve[:, INDEX[f"{side}_foot_z"]]
            changed[:, INDEX[f"{side}_foot_y"]] += slope * (along - lowest) + _CLEAR
        return changed

    return climbed
