"""On ladders, in the water and on all fours."""

from __future__ import annotations

from services.animation.library.stances import FLOAT, LADDER, SWIM
from services.animation.motion.channels import mirrored, pose
from services.animation.motion.moves import Move, keyed

_RUNG_LEFT = pose(
    LADDER, l_hand_y=0.62, r_hand_y=0.05, l_foot_y=0.28, r_foot_y=0.62, y=0.42, roll=-5, lean=4, x=-0.03
)
_CRAWL = pose(
    y=-0.5,
    pitch=80,
    nod=-38,
    free=1,
    thigh=84,
    knee=88,
    ankle=60,
    swing=84,
    spread=2,
    elbow=10,
    wrist=-60,
    fist=0.05,
    palm=60,
)
_CRAWL_LEFT = pose(_CRAWL, l_swing=108, r_swing=62, l_thigh=66, r_thigh=102, l_knee=80, r_knee=98, twist=6)

MOVES: tuple[Move, ...] = (
    keyed(
        "climb_ladder",
        "BodyMovements",
        "climbing a ladder hand over hand",
        (0, _RUNG_LEFT),
        (0.6, mirrored(_RUNG_LEFT)),
        (1.2, _RUNG_LEFT),
        loop=True,
        lag=0.0,
        tags=("climbing",),
    ),
    keyed(
        "swim_crawl",
        "BodyMovements",
        "swimming the front crawl",
        *(
            (
                0.35 * i,
                pose(
                    SWIM,
                    roll=0,
                    l_swing=left,
                    r_swing=right,
                    l_spread=8,
                    r_spread=8,
                    l_elbow=le,
                    r_elbow=re,
                    l_thigh=lt,
                    r_thigh=-lt,
                    knee=10,
                    twist=tw,
                    look=tw,
                ),
            )
            for i, (left, right, le, re, lt, tw) in enumerate(
                (
                    (178, 10, 4, 20, 14, 14),
                    (120, -50, 50, 90, -14, 26),
                    (60, 60, 60, 100, 14, 8),
                    (10, 178, 20, 4, -14, -14),
                    (-50, 120, 90, 50, 14, -26),
                    (60, 60, 100, 60, -14, -8),
                    (178, 10, 4, 20, 14, 14),
                )
            )
        ),
        loop=True,
        lag=0.0,
        breath=0.0,
        tags=("swimming",),
    ),
    keyed(
        "tread_water",
        "BodyMovements",
        "keeping afloat, sculling with the hands",
        (0, pose(FLOAT, thigh=44, knee=80, l_thigh=60, swing=30, spread=60, elbow=40, y=0.0)),
        (0.5, pose(FLOAT, thigh=30, knee=30, r_thigh=64, r_knee=90, swing=40, spread=26, elbow=56, y=0.05)),
        (1.0, pose(FLOAT, thigh=44, knee=80, l_thigh=60, swing=30, spread=60, elbow=40, y=0.0)),
        loop=True,
        tags=("swimming",),
    ),
    keyed(
        "hover",
        "BodyMovements",
        "floating in the air, arms spread",
        (0, FLOAT),
        (1.2, pose(FLOAT, y=0.4, spread=54, l_thigh=22, l_knee=40)),
        (2.4, FLOAT),
        loop=True,
        breath=2.0,
        tags=("flying",),
    ),
    keyed(
        "crawl",
        "BodyMovements",
        "on hands and knees",
        (0, _CRAWL_LEFT),
        (0.6, mirrored(_CRAWL_LEFT)),
        (1.2, _CRAWL_LEFT),
        loop=True,
        lag=0.0,
        tags=("crawling",),
        rests=True,
    ),
)
