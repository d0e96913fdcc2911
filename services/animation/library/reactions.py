"""Blows taken, falls and deaths."""

from __future__ import annotations

from services.animation.library.stances import FALLEN_BACK, FALLEN_FRONT, GUARD
from services.animation.motion.channels import pose
from services.animation.motion.moves import Move, keyed

MOVES: tuple[Move, ...] = (
    keyed(
        "hit_head",
        "Fighting",
        "struck in the face",
        (0, GUARD),
        (0.12, pose(GUARD, nod=-34, look=-40, twist=-30, bend=-12, z=-0.08, grip=0.5, spread=30)),
        (0.4, pose(GUARD, nod=-14, look=-44, twist=-34, bend=-4, z=-0.12, y=-0.14, grip=0.6, spread=26)),
        (1.0, GUARD),
        (1.2, GUARD),
        loop=True,
        lag=1.6,
        tags=("hit",),
    ),
    keyed(
        "hit_body",
        "Fighting",
        "struck in the belly, doubling over",
        (0, GUARD),
        (0.14, pose(GUARD, bend=48, nod=24, z=-0.14, y=-0.16, hand_y=-0.4, hand_z=0.3)),
        (0.5, pose(GUARD, bend=54, nod=30, z=-0.16, y=-0.22, hand_x=0.02, hand_y=-0.62, hand_z=0.26)),
        (1.2, GUARD),
        (1.4, GUARD),
        loop=True,
        lag=1.2,
        tags=("hit",),
    ),
    keyed(
        "knockdown",
        "Fighting",
        "thrown onto the back by a blow",
        (0, GUARD),
        (0.15, pose(GUARD, bend=-20, nod=-20, z=-0.16, grip=0.3, spread=40)),
        (
            0.5,
            pose(
                y=-0.2,
                z=-0.6,
                pitch=-46,
                bend=6,
                swing=70,
                spread=50,
                elbow=30,
                nod=20,
                free=1,
                thigh=50,
                knee=50,
                ankle=20,
                foot_x=0.1,
            ),
        ),
        (
            0.75,
            pose(FALLEN_BACK, y=-0.93, z=-0.85, pitch=-84, swing=60, spread=60, thigh=40, knee=50, nod=22),
        ),
        (1.0, pose(FALLEN_BACK, y=-0.95, z=-0.9, thigh=20)),
        (1.3, pose(FALLEN_BACK, z=-0.9)),
        (1.8, pose(FALLEN_BACK, z=-0.9)),
        lag=0.0,
        tags=("hit", "falling"),
        rests=True,
    ),
    keyed(
        "die_backwards",
        "Fighting",
        "clutching the chest and falling back dead",
        (0, GUARD),
        (0.25, pose(GUARD, bend=-14, nod=-16, l_hand_x=-0.1, l_hand_y=-0.2, l_hand_z=0.3, z=-0.08)),
        (
            0.9,
            pose(
                GUARD, y=-0.26, z=-0.14, bend=10, nod=24, l_hand_x=-0.1, l_hand_y=-0.2, l_hand_z=0.3, r_grip=0
            ),
        ),
        (
            1.5,
            pose(
                y=-0.62,
                z=-0.5,
                pitch=-40,
                bend=16,
                nod=20,
                swing=20,
                spread=30,
                elbow=40,
                free=1,
                thigh=74,
                knee=110,
                ankle=10,
            ),
        ),
        (1.9, pose(FALLEN_BACK, y=-0.95, z=-0.8, thigh=26, knee=60)),
        (2.4, pose(FALLEN_BACK, z=-0.85)),
        (3.2, pose(FALLEN_BACK, z=-0.85)),
        lag=0.0,
        breath=0.0,
        tags=("dying",),
        rests=True,
    ),
    keyed(
        "die_forwards",
        "Fighting",
        "dropping to the knees and onto the face, dead",
        (0, GUARD),
        (0.5, pose(y=-0.2, bend=20, nod=24, foot_x=0.06, swing=6, elbow=30)),
        (
            1.0,
            pose(
                y=-0.5, z=0.1, pitch=0, bend=16, nod=34, free=1, thigh=0, knee=92, ankle=50, swing=4, elbow=16
            ),
        ),
        (
            1.6,
            pose(
                y=-0.5,
                z=0.12,
                pitch=6,
                bend=26,
                nod=40,
                free=1,
                thigh=2,
                knee=94,
                ankle=54,
                swing=4,
                elbow=10,
            ),
        ),
        (2.05, pose(FALLEN_FRONT, y=-0.86, z=0.36, pitch=62, knee=56, spread=60, elbow=60)),
        (2.3, pose(FALLEN_FRONT, z=0.5)),
        (3.2, pose(FALLEN_FRONT, z=0.5)),
        lag=0.0,
        breath=0.0,
        tags=("dying",),
        rests=True,
    ),
)
