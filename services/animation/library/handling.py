"""Dealing with things: lifting, pushing, drinking, telephoning."""

from __future__ import annotations

from services.animation.library.stances import ON_LEFT_HIP, ON_RIGHT_HIP, STAND
from services.animation.motion.channels import pose
from services.animation.motion.moves import Move, keyed

_AT_MOUTH = {"r_grip": 1, "r_hand_x": 0.06, "r_hand_y": 0.24, "r_hand_z": 0.42, "r_elbow_out": 18}
_AT_EAR = {"r_grip": 1, "r_hand_x": 0.24, "r_hand_y": 0.36, "r_hand_z": 0.16, "r_elbow_out": 10}

MOVES: tuple[Move, ...] = (
    keyed(
        "phone_call",
        "DailyActions",
        "a phone at the ear, shifting from foot to foot",
        (0, pose(ON_LEFT_HIP, **_AT_EAR, r_fist=0.7, tilt=-10)),
        (1.5, pose(STAND, **_AT_EAR, r_fist=0.7, tilt=-12, l_swing=24, l_elbow=78, l_palm=-50, look=12)),
        (2.6, pose(ON_RIGHT_HIP, **_AT_EAR, r_fist=0.7, tilt=-8, l_swing=10, nod=8)),
        (
            3.8,
            pose(
                STAND,
                **_AT_EAR,
                r_fist=0.7,
                tilt=-12,
                l_swing=30,
                l_elbow=66,
                l_spread=22,
                l_palm=-60,
                look=-10,
            ),
        ),
        (5.0, pose(ON_LEFT_HIP, **_AT_EAR, r_fist=0.7, tilt=-10)),
        loop=True,
    ),
    keyed(
        "drink",
        "DailyActions",
        "lifting a cup and drinking",
        (0, pose(STAND, r_swing=20, r_elbow=70, r_fist=0.8)),
        (0.8, pose(STAND, **_AT_MOUTH, r_fist=0.8, nod=2)),
        (1.2, pose(STAND, **_AT_MOUTH, r_fist=0.8, nod=-22, bend=-5, r_palm=50)),
        (2.1, pose(STAND, **_AT_MOUTH, r_fist=0.8, nod=-26, bend=-6, r_palm=60)),
        (2.7, pose(STAND, **_AT_MOUTH, r_fist=0.8, nod=4)),
        (3.6, pose(STAND, r_swing=20, r_elbow=70, r_fist=0.8)),
        loop=True,
    ),
    keyed(
        "pick_up",
        "DailyActions",
        "bending the knees and lifting something from the ground",
        (0, STAND),
        (
            0.9,
            pose(
                STAND,
                y=-0.58,
                z=-0.14,
                pitch=30,
                bend=34,
                nod=-10,
                foot_x=0.12,
                heel=22,
                swing=62,
                elbow=12,
                spread=2,
            ),
        ),
        (
            1.4,
            pose(
                STAND,
                y=-0.62,
                z=-0.12,
                pitch=34,
                bend=38,
                nod=-6,
                foot_x=0.12,
                heel=24,
                swing=66,
                elbow=6,
                spread=0,
                fist=0.7,
            ),
        ),
        (2.3, pose(STAND, bend=-4, swing=30, elbow=82, fist=0.7, foot_x=0.12)),
        (3.2, pose(STAND, bend=-4, swing=30, elbow=84, fist=0.7, foot_x=0.12)),
        tags=("lifting",),
    ),
    keyed(
        "push",
        "DailyActions",
        "leaning into something heavy and pushing it on",
        *(
            (
                0.9 * i,
                pose(
                    STAND,
                    z=0.02 + 0.05 * (i % 2),
                    y=-0.16,
                    pitch=24,
                    bend=16,
                    nod=-22,
                    l_foot_z=0.3,
                    r_foot_z=-0.42,
                    r_heel=34,
                    foot_x=0.04,
                    swing=(78, 74)[i % 2],
                    elbow=(34, 14)[i % 2],
                    spread=4,
                    wrist=-62,
                    fist=0,
                ),
            )
            for i in range(3)
        ),
        loop=True,
    ),
    keyed(
        "pull",
        "DailyActions",
        "hauling a rope towards the body",
        *(
            (
                0.8 * i,
                pose(
                    STAND,
                    z=(-0.02, -0.16)[i % 2],
                    y=-0.2,
                    pitch=(8, -18)[i % 2],
                    bend=(24, -2)[i % 2],
                    nod=4,
                    l_foot_z=0.34,
                    l_heel=-6,
                    r_foot_z=-0.3,
                    foot_x=0.06,
                    grip=1,
                    hand_x=0.05,
                    hand_y=(-0.12, -0.42)[i % 2],
                    l_hand_z=(0.95, 0.42)[i % 2],
                    r_hand_z=(0.78, 0.3)[i % 2],
                    fist=1,
                    elbow_out=20,
                ),
            )
            for i in range(3)
        ),
        loop=True,
    ),
)
