"""Turning: on the spot, about, and round a corner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.animation.library.overlay import Overlay
from services.animation.library.runs import JOG
from services.animation.library.stances import STAND
from services.animation.library.walks import CASUAL
from services.animation.motion.channels import pose
from services.animation.motion.figure import FIGURE, JOINTS, LEG
from services.animation.motion.keys import Curve
from services.animation.motion.moves import Move, keyed, stepping
from services.animation.motion.path import round_curve

_HIP = float(FIGURE.heads[JOINTS["leftUpperLeg"], 0]) / LEG
_WIDE = _HIP + 0.03


def _feet(left: float, right: float) -> dict[str, float]:
    """Place each foot as it stands after a turn on the spot by so many degrees."""
    return {
        "l_foot_x": _WIDE * float(np.cos(np.radians(left))) - _HIP,
        "l_foot_z": -_WIDE * float(np.sin(np.radians(left))),
        "l_toe_out": 8 + left,
        "r_foot_x": _WIDE * float(np.cos(np.radians(right))) - _HIP,
        "r_foot_z": _WIDE * float(np.sin(np.radians(right))),
        "r_toe_out": 8 - right,
    }


def _corner(degrees: float, tip: float) -> Callable[[Curve], Curve]:
    around, into = round_curve(degrees), Overlay(offset={"roll": tip, "look": 22})
    return lambda curve: into(around(curve))


MOVES: tuple[Move, ...] = (
    keyed(
        "turn_left",
        "WalkAndRun",
        "turning a quarter to the left on the spot",
        (0, STAND),
        (0.25, pose(STAND, look=40, twist=10, x=-0.03, y=-0.02)),
        (0.6, pose(STAND, **_feet(60, 0), turn=34, look=38, twist=12, x=-0.03, y=-0.04)),
        (0.95, pose(STAND, **_feet(60, 70), turn=68, look=20, x=0.02, y=-0.04)),
        (1.25, pose(STAND, **_feet(90, 90), turn=90, y=-0.01)),
        (1.6, pose(STAND, **_feet(90, 90), turn=90)),
        tags=("turning",),
    ),
    keyed(
        "turn_about",
        "WalkAndRun",
        "turning right round to face the other way, head first",
        (0, STAND),
        (0.25, pose(STAND, look=60, twist=26, y=-0.05, bend=6, elbow=30)),
        (0.55, pose(STAND, **_feet(96, 0), turn=50, look=56, twist=22, y=-0.09, elbow=40, spread=18)),
        (0.85, pose(STAND, **_feet(96, 130), turn=118, look=34, twist=10, y=-0.08, elbow=40, spread=18)),
        (1.15, pose(STAND, **_feet(180, 130), turn=164, y=-0.05, elbow=24)),
        (1.4, pose(STAND, **_feet(180, 180), turn=180, y=-0.02)),
        (1.8, pose(STAND, **_feet(180, 180), turn=180)),
        tags=("turning",),
    ),
    replace(
        stepping(
            "walk_turn", "walking round a corner to the left", CASUAL, over=_corner(90, 3), tags=("turning",)
        ),
        loop=False,
    ),
    replace(
        stepping(
            "run_turn",
            "running round a sharp bend to the left",
            JOG,
            over=_corner(130, 10),
            tags=("turning",),
        ),
        loop=False,
    ),
)
