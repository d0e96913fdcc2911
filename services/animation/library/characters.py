"""Walks with something in hand or on the mind."""

from __future__ import annotations

from dataclasses import replace

from services.animation.library.overlay import Overlay, Wave
from services.animation.library.runs import JOG, SPRINT
from services.animation.library.walks import CASUAL
from services.animation.motion.moves import Move, stepping


def _right_hand(x: float, y: float, z: float, **more: float) -> dict[str, float]:
    return {"r_grip": 1, "r_hand_x": x, "r_hand_y": y, "r_hand_z": z, "r_fist": 0.8} | {
        f"r_{name}": value for name, value in more.items()
    }


_SLOW = replace(CASUAL, cycle=1.25, stride=1.15, arms=14)

MOVES: tuple[Move, ...] = (
    stepping(
        "confident_walk",
        "long sure strides, chest out and chin up",
        replace(
            CASUAL,
            cycle=1.0,
            stride=1.6,
            lean=-3,
            nod=-4,
            arms=35,
            spread=14,
            elbow=14,
            elbow_swing=22,
            chest_turn=14,
            hip_turn=8,
            toe_out=10,
            fist=0.4,
        ),
        over=Overlay(offset={"reach": -9, "bend": -4}),
        tags=("walk", "pride"),
    ),
    stepping(
        "umbrella_walk",
        "strolling under an umbrella",
        _SLOW,
        over=Overlay(held=_right_hand(0.22, -0.05, 0.42, palm=30), offset={"nod": -3}),
    ),
    stepping(
        "torch_walk",
        "lighting the way with a raised torch, looking about",
        replace(_SLOW, cycle=1.4, stride=0.95, lean=8, crouch=0.04),
        over=Overlay(
            held=_right_hand(0.36, 0.36, 0.62) | {"l_swing": 24, "l_elbow": 60, "l_spread": 16},
            waves=(Wave("look", 32, 1, 0), Wave("twist", 10, 1, -20)),
        ),
    ),
    stepping(
        "walker_walk",
        "short steps behind a walking frame",
        replace(
            CASUAL,
            cycle=1.5,
            stride=0.55,
            stance=0.72,
            clearance=0.03,
            kick=0.0,
            strike=2,
            push=12,
            lean=30,
            nod=-2,
            crouch=0.05,
            chest_turn=0,
            hip_turn=2,
        ),
        over=Overlay(
            held={"grip": 1, "hand_x": 0.4, "hand_y": -0.78, "hand_z": 0.5, "fist": 0.9, "palm": 30}
        ),
    ),
    stepping(
        "thinking_walk",
        "pacing slowly, a hand at the chin",
        replace(_SLOW, cycle=1.5, stride=1.0, lean=8),
        over=Overlay(
            held=_right_hand(0.03, 0.1, 0.34, palm=-20)
            | {"l_grip": 1, "l_hand_x": -0.2, "l_hand_y": -0.46, "l_hand_z": 0.36, "r_fist": 0.4},
            offset={"nod": 16, "tilt": -5},
        ),
    ),
    stepping(
        "bouncy_walk",
        "a springing walk on the toes, elbows swinging wide",
        replace(
            CASUAL,
            cycle=0.95,
            stride=1.3,
            stance=0.56,
            bounce=0.055,
            clearance=0.2,
            push=52,
            strike=4,
            lean=-4,
            nod=-8,
            arms=36,
            elbow=64,
            elbow_swing=30,
            spread=22,
            chest_turn=16,
        ),
        over=Overlay(waves=(Wave("tilt", 9, 2, 0), Wave("lean", 5, 2, 0))),
    ),
    stepping(
        "hurt_walk",
        "dragging along with both arms pressed to the belly",
        replace(
            CASUAL, cycle=1.6, stride=0.7, stance=0.72, clearance=0.03, kick=0.0, lean=46, crouch=0.1, nod=14
        ),
        over=Overlay(
            held={
                "grip": 1,
                "l_hand_x": -0.1,
                "r_hand_x": -0.06,
                "l_hand_y": -0.68,
                "r_hand_y": -0.56,
                "hand_z": 0.34,
                "elbow_out": 22,
                "fist": 0.5,
            },
            waves=(Wave("lean", 8, 2, 30), Wave("bend", 6, 2, 90)),
        ),
    ),
    stepping(
        "handbag_walk",
        "tripping along with a bag in the crook of the arm",
        replace(
            CASUAL, width=-0.09, hip_drop=8, hip_turn=9, sway=0.05, arms=22, cycle=0.98, stride=1.25, lean=0
        ),
        over=Overlay(
            held={
                "r_swing": 20,
                "r_spread": 16,
                "r_elbow": 108,
                "r_rotate": -20,
                "r_wrist": 40,
                "l_wrist": -26,
            }
        ),
    ),
    stepping(
        "bucket_walk",
        "leaning away from a full bucket in one hand",
        replace(CASUAL, cycle=1.2, stride=0.95, stance=0.66, lean=6, kick=0.02, crouch=0.03),
        over=Overlay(
            held={"r_swing": 2, "r_spread": 12, "r_elbow": 2, "r_fist": 1, "l_spread": 52, "l_elbow": 20},
            offset={"lean": 13, "r_shrug": -6},
            waves=(Wave("lean", 3, 2, 0),),
        ),
    ),
    stepping(
        "bow_walk",
        "advancing with a drawn bow",
        replace(CASUAL, cycle=1.3, stride=0.85, crouch=0.08, chest_turn=0, hip_turn=2, bounce=0.01, kick=0.0),
        over=Overlay(
            held={
                "l_grip": 1,
                "l_hand_x": 0.62,
                "l_hand_y": 0.0,
                "l_hand_z": 0.72,
                "r_grip": 1,
                "r_hand_x": 0.2,
                "r_hand_y": 0.1,
                "r_hand_z": 0.24,
                "r_elbow_out": 84,
                "fist": 0.9,
            },
            offset={"twist": -34, "look": 32},
        ),
        tags=("weapon",),
    ),
    stepping(
        "balance_walk",
        "foot before foot along a rope, arms out",
        replace(
            CASUAL,
            cycle=1.9,
            stride=0.62,
            stance=0.7,
            width=-0.12,
            toe_out=6,
            sway=0.09,
            clearance=0.06,
            kick=0.0,
            strike=-10,
            push=16,
            chest_turn=0,
            hip_turn=3,
            crouch=0.02,
        ),
        over=Overlay(
            held={"swing": 0, "spread": 88, "elbow": 6, "fist": 0.0},
            waves=(
                Wave("l_spread", 18, 3, 0),
                Wave("r_spread", 18, 3, 180),
                Wave("lean", 7, 3, 180),
            ),
            offset={"nod": 12},
        ),
    ),
    stepping(
        "sword_charge",
        "storming forward with a blade raised overhead",
        replace(SPRINT, cycle=0.6, stride=2.6, lean=14, arms=26),
        over=Overlay(
            held={"r_swing": 150, "r_spread": 24, "r_elbow": 56, "r_fist": 1.0},
            waves=(Wave("r_elbow", 10, 4, 0),),
        ),
        tags=("weapon",),
    ),
    stepping(
        "wave_run",
        "running up and waving an arm overhead",
        replace(JOG, cycle=0.72, stride=2.0, lean=6),
        over=Overlay(
            held={"r_swing": 20, "r_spread": 150, "r_elbow": 30, "r_fist": 0.0},
            waves=(Wave("r_spread", 22, 3, 0), Wave("r_elbow", 16, 3, 90)),
            offset={"nod": -6},
        ),
        tags=("greeting",),
    ),
)
