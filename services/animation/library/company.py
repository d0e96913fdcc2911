"""Among people: doors, tempers and replies."""

from __future__ import annotations

from services.animation.library.stances import ON_LEFT_HIP, ON_RIGHT_HIP, STAND
from services.animation.motion.channels import mirrored, pose
from services.animation.motion.moves import Move, keyed

_DAILY = "DailyActions"
_BODY = "BodyMovements"
_RIGHT_HIP_HAND = {"r_grip": 1, "r_hand_x": 0.4, "r_hand_y": -0.9, "r_hand_z": 0.04, "r_elbow_out": 60}
_HEAD_IN_HANDS = {"grip": 1, "hand_x": 0.2, "hand_y": 0.52, "hand_z": 0.12, "elbow_out": 50, "fist": 0.2}
_HIPS_HANDS = {"grip": 1, "hand_x": 0.4, "hand_y": -0.9, "hand_z": 0.04, "elbow_out": 62}
_POINTING_UP = {"r_grip": 1, "r_hand_y": 0.16, "r_hand_z": 0.6, "r_fist": 1, "r_point": 1, "r_elbow_out": 10}
_SHOUTING = {"grip": 1, "hand_x": 0.14, "hand_y": 0.26, "hand_z": 0.4, "elbow_out": 34, "fist": 0.3}

MOVES: tuple[Move, ...] = (
    keyed(
        "open_door",
        _DAILY,
        "turning a handle, pushing a door open and stepping through",
        (0, STAND),
        (0.5, pose(STAND, r_grip=1, r_hand_x=0.12, r_hand_y=-0.56, r_hand_z=0.72, r_fist=0.8, bend=6, nod=8)),
        (
            0.8,
            pose(STAND, r_grip=1, r_hand_x=0.12, r_hand_y=-0.6, r_hand_z=0.72, r_fist=0.9, r_palm=60, bend=6),
        ),
        (1.3, pose(STAND, z=0.16, y=-0.04, l_foot_z=0.4, r_swing=74, r_elbow=8, r_fist=0.8, twist=10)),
        (
            1.8,
            pose(
                STAND,
                z=0.52,
                y=-0.03,
                l_foot_z=0.4,
                r_foot_z=0.74,
                r_swing=50,
                r_spread=50,
                r_elbow=20,
                twist=-14,
            ),
        ),
        (2.3, pose(STAND, z=0.76, l_foot_z=0.8, r_foot_z=0.74, r_swing=-10, r_spread=34)),
        (2.8, pose(STAND, z=0.78, l_foot_z=0.8, r_foot_z=0.74)),
        tags=("door",),
    ),
    keyed(
        "shout",
        _DAILY,
        "shouting through cupped hands",
        (0, STAND),
        (0.5, pose(STAND, **_SHOUTING, bend=-10, nod=-8)),
        (0.75, pose(STAND, **_SHOUTING, bend=14, nod=-16, y=-0.04)),
        (1.5, pose(STAND, **_SHOUTING, bend=12, nod=-14, y=-0.04, look=12)),
        (2.1, STAND),
        loop=True,
        tags=("gesture",),
    ),
    keyed(
        "stomp",
        _DAILY,
        "stamping a foot in anger, fists clenched",
        (0, pose(STAND, fist=1, elbow=40, spread=16, bend=8)),
        (
            0.3,
            pose(
                STAND, fist=1, elbow=70, spread=24, bend=4, x=0.07, r_free=1, r_thigh=64, r_knee=86, y=-0.01
            ),
        ),
        (0.5, pose(STAND, fist=1, elbow=30, spread=22, bend=20, nod=4, y=-0.06)),
        (0.8, pose(STAND, fist=1, elbow=40, spread=16, bend=10)),
        (
            1.1,
            pose(
                STAND, fist=1, elbow=70, spread=24, bend=4, x=-0.07, l_free=1, l_thigh=64, l_knee=86, y=-0.01
            ),
        ),
        (1.3, pose(STAND, fist=1, elbow=30, spread=22, bend=20, nod=4, y=-0.06)),
        (1.7, pose(STAND, fist=1, elbow=40, spread=16, bend=8)),
        loop=True,
        lag=0.4,
        tags=("anger",),
    ),
    keyed(
        "shrug_off",
        _DAILY,
        "a shrug, palms turned up",
        (0, STAND),
        (0.4, pose(STAND, shrug=26, elbow=88, spread=26, rotate=-40, palm=-80, fist=0, tilt=14, nod=-4)),
        (1.0, pose(STAND, shrug=28, elbow=92, spread=30, rotate=-44, palm=-80, fist=0, tilt=16, nod=-4)),
        (1.6, STAND),
        loop=True,
        tags=("gesture",),
    ),
    keyed(
        "finger_wag",
        _DAILY,
        "wagging a raised finger: no, no",
        (0, pose(STAND, **_RIGHT_HIP_HAND)),
        *(
            (
                0.5 + 0.28 * i,
                mirrored(
                    pose(
                        ON_RIGHT_HIP,
                        **_POINTING_UP,
                        r_hand_x=(0.06, 0.36)[i % 2],
                        l_elbow=30,
                        tilt=(-6, 6)[i % 2],
                    )
                ),
            )
            for i in range(6)
        ),
        (2.6, pose(STAND, **_RIGHT_HIP_HAND)),
        loop=True,
        tags=("gesture",),
    ),
    keyed(
        "hip_talk",
        _DAILY,
        "talking with one hand, the other on the hip",
        (0, pose(ON_LEFT_HIP, **_RIGHT_HIP_HAND, l_swing=20, l_elbow=80)),
        (
            0.7,
            pose(
                ON_LEFT_HIP,
                **_RIGHT_HIP_HAND,
                l_swing=36,
                l_elbow=70,
                l_spread=30,
                l_palm=-70,
                l_fist=0,
                look=14,
            ),
        ),
        (1.3, pose(ON_LEFT_HIP, **_RIGHT_HIP_HAND, l_swing=50, l_elbow=96, l_spread=6, nod=8)),
        (
            2.0,
            pose(
                ON_RIGHT_HIP,
                **_RIGHT_HIP_HAND,
                l_swing=30,
                l_elbow=60,
                l_spread=40,
                l_palm=-70,
                look=-12,
                tilt=8,
            ),
        ),
        (2.8, pose(ON_LEFT_HIP, **_RIGHT_HIP_HAND, l_swing=20, l_elbow=80)),
        loop=True,
        tags=("gesture", "talking"),
    ),
    keyed(
        "listen",
        _DAILY,
        "leaning forward with a hand cupped at the ear",
        (0, STAND),
        (
            0.6,
            pose(
                STAND,
                r_grip=1,
                r_hand_x=0.3,
                r_hand_y=0.4,
                r_hand_z=0.14,
                r_elbow_out=50,
                bend=14,
                twist=20,
                look=30,
                lean=-8,
            ),
        ),
        (
            1.8,
            pose(
                STAND,
                r_grip=1,
                r_hand_x=0.3,
                r_hand_y=0.4,
                r_hand_z=0.14,
                r_elbow_out=50,
                bend=18,
                twist=24,
                look=34,
                lean=-12,
            ),
        ),
        (2.5, STAND),
        loop=True,
        tags=("gesture",),
    ),
    keyed(
        "rub_hands",
        _DAILY,
        "scheming: rubbing the hands, hunched",
        *(
            (
                0.3 * i,
                pose(
                    STAND,
                    bend=20,
                    nod=6,
                    shrug=14,
                    y=-0.05,
                    grip=1,
                    hand_x=0.02,
                    l_hand_y=(-0.34, -0.42)[i % 2],
                    r_hand_y=(-0.42, -0.34)[i % 2],
                    hand_z=0.46,
                    elbow_out=36,
                    fist=0.3,
                    look=(10, -10)[i // 4],
                ),
            )
            for i in range(8)
        ),
        (
            2.4,
            pose(
                STAND,
                bend=20,
                nod=6,
                shrug=14,
                y=-0.05,
                grip=1,
                hand_x=0.02,
                l_hand_y=-0.34,
                r_hand_y=-0.42,
                hand_z=0.46,
                elbow_out=36,
                fist=0.3,
                look=10,
            ),
        ),
        loop=True,
        tags=("gesture",),
    ),
    keyed(
        "chest_pound",
        _BODY,
        "drumming on the chest with both fists",
        *(
            (
                0.18 * i,
                pose(
                    STAND,
                    foot_x=0.16,
                    y=-0.1,
                    bend=-8,
                    nod=-16,
                    fist=1,
                    grip=1,
                    l_hand_x=(-0.02, 0.3)[i % 2],
                    r_hand_x=(0.3, -0.02)[i % 2],
                    hand_y=-0.26,
                    l_hand_z=(0.3, 0.56)[i % 2],
                    r_hand_z=(0.56, 0.3)[i % 2],
                    elbow_out=60,
                ),
            )
            for i in range(9)
        ),
        loop=True,
        lag=0.2,
        tags=("anger",),
    ),
    keyed(
        "flex",
        _BODY,
        "showing off the muscles of both arms",
        (0, STAND),
        (0.6, pose(STAND, foot_x=0.03, spread=88, elbow=60, rotate=-90, fist=1, bend=-6)),
        (1.0, pose(STAND, spread=86, elbow=128, rotate=-92, fist=1, wrist=40, bend=-4, look=34, y=-0.05)),
        (1.7, pose(STAND, spread=90, elbow=124, rotate=-92, fist=1, wrist=40, bend=-6, look=-34, y=-0.05)),
        (2.4, STAND),
        loop=True,
        tags=("pride",),
    ),
    keyed(
        "headache",
        _BODY,
        "holding the head in both hands, bowed with pain",
        (0, pose(STAND, **_HEAD_IN_HANDS, bend=20, nod=24)),
        (0.7, pose(STAND, **_HEAD_IN_HANDS, bend=34, nod=30, lean=10, tilt=10, y=-0.08)),
        (1.4, pose(STAND, **_HEAD_IN_HANDS, bend=26, nod=10, lean=-10, tilt=-10, y=-0.04)),
        (2.1, pose(STAND, **_HEAD_IN_HANDS, bend=20, nod=24)),
        loop=True,
        tags=("pain",),
    ),
    keyed(
        "hands_on_hips",
        _DAILY,
        "standing with both hands on the hips",
        (0, pose(ON_LEFT_HIP, **_HIPS_HANDS)),
        (1.6, pose(ON_LEFT_HIP, **_HIPS_HANDS, look=30, nod=-4)),
        (3.0, pose(ON_RIGHT_HIP, **_HIPS_HANDS, nod=4)),
        (4.4, pose(ON_RIGHT_HIP, **_HIPS_HANDS, look=-26)),
        (5.8, pose(ON_LEFT_HIP, **_HIPS_HANDS)),
        loop=True,
        tags=("idle",),
    ),
    keyed(
        "collect",
        _DAILY,
        "stooping to gather something with one hand and putting it away",
        (0, STAND),
        (
            0.7,
            pose(
                STAND,
                y=-0.26,
                z=-0.12,
                l_foot_z=0.2,
                r_foot_z=-0.16,
                pitch=44,
                bend=44,
                nod=-14,
                r_swing=100,
                r_elbow=4,
                l_swing=30,
                l_elbow=40,
            ),
        ),
        (
            1.0,
            pose(
                STAND,
                y=-0.3,
                z=-0.12,
                l_foot_z=0.2,
                r_foot_z=-0.16,
                pitch=48,
                bend=48,
                nod=-10,
                r_swing=104,
                r_elbow=4,
                r_fist=0.9,
                l_swing=30,
                l_elbow=40,
            ),
        ),
        (1.7, pose(STAND, l_foot_z=0.2, r_foot_z=-0.16, r_swing=40, r_elbow=100, r_fist=0.8, nod=14)),
        (2.3, pose(STAND, r_grip=1, r_hand_x=0.38, r_hand_y=-0.9, r_hand_z=0, r_fist=0.8, lean=-6)),
        (2.9, STAND),
        loop=True,
        tags=("lifting",),
    ),
)
