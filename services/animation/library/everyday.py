"""What people do standing about: wait, look, stretch."""

from __future__ import annotations

from services.animation.library.stances import ON_LEFT_HIP, ON_RIGHT_HIP, STAND
from services.animation.motion.channels import pose
from services.animation.motion.moves import Move, keyed

_FOLDED = {
    "grip": 1,
    "l_hand_x": -0.26,
    "r_hand_x": -0.2,
    "l_hand_y": -0.34,
    "r_hand_y": -0.42,
    "l_hand_z": 0.44,
    "r_hand_z": 0.36,
    "elbow_out": 34,
    "palm": 30,
}

MOVES: tuple[Move, ...] = (
    keyed(
        "idle",
        "DailyActions",
        "standing at ease, breathing",
        (0, STAND),
        (2.2, ON_LEFT_HIP),
        (4.4, STAND),
        (6.6, ON_RIGHT_HIP),
        (8.8, STAND),
        loop=True,
        breath=1.3,
        tags=("idle",),
    ),
    keyed(
        "look_around",
        "DailyActions",
        "turning the head and body to look left and right",
        (0, STAND),
        (0.8, pose(STAND, look=62, twist=18, turn=6, nod=-4)),
        (1.7, pose(STAND, look=58, twist=20, turn=6, nod=6)),
        (2.7, pose(STAND, look=-60, twist=-18, turn=-6)),
        (3.6, pose(STAND, look=-64, twist=-22, turn=-6, nod=-8)),
        (4.5, STAND),
        loop=True,
        tags=("idle", "looking"),
    ),
    keyed(
        "alert",
        "DailyActions",
        "tense on bent knees, searching for a danger",
        (
            0,
            pose(
                STAND, y=-0.09, bend=12, nod=-8, spread=20, elbow=48, foot_x=0.14, fist=0.6, look=30, twist=8
            ),
        ),
        (
            0.7,
            pose(
                STAND,
                y=-0.11,
                bend=14,
                nod=-10,
                spread=20,
                elbow=52,
                foot_x=0.14,
                fist=0.6,
                look=-46,
                twist=-16,
            ),
        ),
        (
            1.6,
            pose(
                STAND,
                y=-0.1,
                bend=14,
                nod=-6,
                spread=22,
                elbow=52,
                foot_x=0.14,
                fist=0.6,
                look=-40,
                twist=-16,
            ),
        ),
        (
            2.2,
            pose(
                STAND,
                y=-0.08,
                bend=12,
                nod=-14,
                spread=20,
                elbow=48,
                foot_x=0.14,
                fist=0.6,
                look=52,
                twist=18,
            ),
        ),
        (
            3.1,
            pose(
                STAND, y=-0.09, bend=12, nod=-8, spread=20, elbow=48, foot_x=0.14, fist=0.6, look=30, twist=8
            ),
        ),
        loop=True,
        tags=("looking",),
    ),
    keyed(
        "arms_crossed",
        "DailyActions",
        "waiting with folded arms, tapping a foot",
        (0, pose(ON_LEFT_HIP, **_FOLDED)),
        (0.5, pose(ON_LEFT_HIP, **_FOLDED, r_toes=0, r_heel=-14)),
        (1.0, pose(ON_LEFT_HIP, **_FOLDED)),
        (1.5, pose(ON_LEFT_HIP, **_FOLDED, r_heel=-14, look=24)),
        (2.0, pose(ON_LEFT_HIP, **_FOLDED, look=26, nod=4)),
        (3.0, pose(ON_LEFT_HIP, **_FOLDED)),
        loop=True,
        tags=("idle",),
    ),
    keyed(
        "stretch",
        "DailyActions",
        "stretching both arms high and yawning",
        (0, STAND),
        (1.0, pose(STAND, spread=150, elbow=50, bend=-12, nod=-16, fist=0.9)),
        (1.9, pose(STAND, spread=172, elbow=10, bend=-18, nod=-24, fist=0.9, heel=14, shrug=18)),
        (2.5, pose(STAND, spread=120, elbow=30, bend=-6, nod=-6)),
        (3.3, STAND),
        loop=True,
    ),
)
