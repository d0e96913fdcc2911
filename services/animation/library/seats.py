"""Sitting among others, and lying awake."""

from __future__ import annotations

from services.animation.library.stances import FALLEN_FRONT, LYING, SIT
from services.animation.motion.channels import mirrored, pose
from services.animation.motion.moves import Move, keyed

_DAILY = "DailyActions"
_BODY = "BodyMovements"
_FLOOR_SIT = pose(
    y=-0.98,
    pitch=-12,
    bend=20,
    nod=4,
    free=1,
    thigh=86,
    thigh_out=46,
    thigh_turn=66,
    knee=132,
    ankle=20,
    swing=34,
    spread=22,
    elbow=38,
    fist=0.2,
)
_ASLEEP = pose(SIT, bend=20, nod=44, tilt=10, swing=22, elbow=46)
_ON_BACK = pose(LYING, turn=90, roll=90)
"""Lying so that ``pitch`` rolls the body about its length: -90 on the back, 0 on the left side."""
_CURLED = pose(
    _ON_BACK,
    thigh=44,
    knee=72,
    bend=18,
    elbow=86,
    swing=56,
    spread=-8,
    l_swing=72,
    l_elbow=104,
    l_thigh_out=8,
    r_thigh=60,
    r_thigh_out=-20,
    r_knee=84,
)
"""Curled up on the left side."""
_ON_LEFT = pose(_CURLED, pitch=-16, x=0.12, nod=12, look=8)
_ON_RIGHT = pose(mirrored(_CURLED), turn=90, roll=90, pitch=-164, x=-0.12, nod=12, look=-8)
_CRAWLING = pose(
    FALLEN_FRONT, r_spread=110, r_rotate=-86, r_elbow=84, nod=-36, look=0, bend=-14, r_knee=40, l_knee=6
)

MOVES: tuple[Move, ...] = (
    keyed(
        "sit_clap",
        _DAILY,
        "clapping while sitting",
        *(
            (
                0.22 * i,
                pose(
                    SIT,
                    grip=1,
                    hand_x=(0.03, 0.26)[i % 2],
                    hand_y=-0.24,
                    hand_z=0.56,
                    elbow_out=16,
                    fist=0,
                    bend=(4, 0)[i % 2],
                ),
            )
            for i in range(9)
        ),
        loop=True,
        lag=0.0,
        tags=("sitting", "joy"),
    ),
    keyed(
        "sit_talk",
        _DAILY,
        "sitting and explaining with both hands",
        (0, pose(SIT, swing=40, elbow=80)),
        (0.7, pose(SIT, swing=46, elbow=84, l_spread=34, r_spread=10, palm=-60, fist=0, look=20, bend=12)),
        (1.4, pose(SIT, swing=56, elbow=70, spread=30, palm=-70, fist=0, nod=-6, bend=2)),
        (2.1, pose(SIT, swing=44, elbow=90, l_spread=6, r_spread=36, palm=-40, fist=0, look=-20, bend=12)),
        (2.8, pose(SIT, swing=40, elbow=80)),
        loop=True,
        tags=("sitting", "talking"),
    ),
    keyed(
        "sit_cheer",
        _DAILY,
        "jumping for joy in the seat, a fist in the air",
        (0, pose(SIT, r_swing=60, r_elbow=110, r_fist=1)),
        (0.3, pose(SIT, r_swing=168, r_elbow=10, r_fist=1, bend=-10, nod=-16, l_elbow=70)),
        (0.55, pose(SIT, r_swing=120, r_elbow=80, r_fist=1, bend=4)),
        (0.8, pose(SIT, r_swing=168, r_elbow=10, r_fist=1, bend=-10, nod=-16, l_elbow=70)),
        (1.4, pose(SIT, r_swing=60, r_elbow=110, r_fist=1)),
        loop=True,
        tags=("sitting", "joy"),
    ),
    keyed(
        "sit_doze",
        _DAILY,
        "nodding off on a chair, starting awake",
        (0, _ASLEEP),
        (1.8, pose(_ASLEEP, bend=26, nod=52, tilt=14)),
        (2.1, pose(SIT, nod=-8, bend=0, shrug=6)),
        (2.8, pose(SIT, nod=8, bend=8)),
        (4.2, _ASLEEP),
        loop=True,
        tags=("sitting", "sleeping"),
    ),
    keyed(
        "sit_crossed",
        _DAILY,
        "leaning back in a chair, one leg over the other",
        (0, pose(SIT, bend=-6, l_free=1, l_thigh=100, l_thigh_out=-16, l_knee=70, l_ankle=24, look=12)),
        (1.2, pose(SIT, bend=-4, l_free=1, l_thigh=102, l_thigh_out=-16, l_knee=62, l_ankle=40, look=-14)),
        (2.4, pose(SIT, bend=-6, l_free=1, l_thigh=100, l_thigh_out=-16, l_knee=70, l_ankle=24, look=12)),
        loop=True,
        tags=("sitting", "idle"),
    ),
    keyed(
        "sit_on_floor",
        _DAILY,
        "cross-legged on the floor",
        (0, _FLOOR_SIT),
        (1.5, pose(_FLOOR_SIT, bend=24, look=24, twist=8)),
        (3.0, _FLOOR_SIT),
        (4.5, pose(_FLOOR_SIT, bend=16, look=-24, twist=-8, nod=-4)),
        (6.0, _FLOOR_SIT),
        loop=True,
        rests=True,
        tags=("sitting", "floor"),
    ),
    keyed(
        "toss_and_turn",
        _DAILY,
        "sleeping badly, rolling from side to side",
        (0, _ON_BACK),
        (1.1, pose(_ON_LEFT, pitch=-24, twist=-10)),
        (2.1, _ON_LEFT),
        (3.2, pose(_ON_BACK, thigh=14, l_thigh=30, knee=26, l_knee=56, spread=30)),
        (4.3, pose(_ON_RIGHT, pitch=-156, twist=10)),
        (5.3, _ON_RIGHT),
        (6.4, _ON_BACK),
        loop=True,
        rests=True,
        tags=("lying", "sleeping"),
    ),
    keyed(
        "cough_asleep",
        _DAILY,
        "lying down, shaken by coughs, a fist at the mouth",
        (0, LYING),
        (
            0.5,
            pose(LYING, r_grip=1, r_hand_x=0.06, r_hand_y=0.22, r_hand_z=0.36, r_fist=0.9, thigh=16, knee=30),
        ),
        *(
            (
                0.7 + 0.22 * i,
                pose(
                    LYING,
                    r_grip=1,
                    r_hand_x=0.06,
                    r_hand_y=0.22,
                    r_hand_z=0.36,
                    r_fist=0.9,
                    thigh=20,
                    knee=36,
                    bend=(34, 14)[i % 2],
                    nod=(28, 10)[i % 2],
                ),
            )
            for i in range(6)
        ),
        (2.6, LYING),
        loop=True,
        rests=True,
        tags=("lying", "sleeping"),
    ),
    keyed(
        "crawl_for_help",
        _BODY,
        "lying on the belly, an arm stretched out for help",
        (0, _CRAWLING),
        (
            0.8,
            pose(_CRAWLING, bend=-28, r_spread=170, r_rotate=-60, r_elbow=6, r_fist=0, nod=-48, r_swing=12),
        ),
        (
            1.6,
            pose(
                _CRAWLING,
                bend=-32,
                r_spread=174,
                r_rotate=-60,
                r_elbow=4,
                r_fist=0,
                nod=-52,
                look=10,
                r_swing=16,
            ),
        ),
        (2.4, _CRAWLING),
        loop=True,
        rests=True,
        tags=("lying", "pain"),
    ),
)
