"""Feelings that take hold of the whole body."""

from __future__ import annotations

from services.animation.library.stances import STAND
from services.animation.motion.channels import pose
from services.animation.motion.moves import Move, keyed

MOVES: tuple[Move, ...] = (
    keyed(
        "cheer",
        "BodyMovements",
        "cheering with both fists, hopping",
        (0, pose(STAND, spread=140, elbow=44, fist=1, y=-0.1, bend=4)),
        (
            0.24,
            pose(
                STAND, spread=160, swing=8, elbow=14, fist=1, y=0.14, foot_y=0.12, heel=30, bend=-8, nod=-14
            ),
        ),
        (0.48, pose(STAND, spread=140, elbow=44, fist=1, y=-0.1, bend=4)),
        loop=True,
        lag=0.4,
        tags=("joy",),
    ),
    keyed(
        "catch_breath",
        "BodyMovements",
        "bent over, hands on the knees, panting",
        *(
            (
                0.55 * i,
                pose(
                    y=-0.16,
                    z=-0.2,
                    pitch=(34, 30)[i % 2],
                    bend=(36, 28)[i % 2],
                    nod=(4, -8)[i % 2],
                    foot_x=0.12,
                    toe_out=14,
                    swing=(66, 62)[i % 2],
                    spread=10,
                    elbow=10,
                    shrug=(4, 12)[i % 2],
                    fist=0.3,
                ),
            )
            for i in range(5)
        ),
        loop=True,
        breath=2.0,
        tags=("tired",),
    ),
    keyed(
        "cry",
        "BodyMovements",
        "face in both hands, sobbing",
        *(
            (
                0.4 * i,
                pose(
                    STAND,
                    bend=(24, 18)[i % 2],
                    nod=(34, 28)[i % 2],
                    grip=1,
                    hand_x=0.1,
                    hand_y=0.3,
                    hand_z=0.34,
                    elbow_out=4,
                    palm=-10,
                    fist=0.2,
                    shrug=(16, 6)[i % 2],
                    y=-0.02,
                ),
            )
            for i in range(5)
        ),
        loop=True,
        tags=("sad",),
    ),
    keyed(
        "laugh",
        "BodyMovements",
        "laughing, holding the belly",
        *(
            (
                0.26 * i,
                pose(
                    STAND,
                    bend=(20, 4)[i % 2],
                    nod=(-4, -22)[i % 2],
                    grip=1,
                    hand_x=0.02,
                    hand_y=-0.6,
                    hand_z=0.34,
                    elbow_out=30,
                    shrug=(10, 2)[i % 2],
                    y=(-0.06, -0.02)[i % 2],
                ),
            )
            for i in range(7)
        ),
        loop=True,
        tags=("joy",),
    ),
    keyed(
        "shiver",
        "BodyMovements",
        "shivering with cold, arms wrapped round",
        *(
            (
                0.12 * i,
                pose(
                    STAND,
                    y=-0.04,
                    bend=(13, 11)[i % 2],
                    nod=8,
                    grip=1,
                    hand_x=-0.26,
                    hand_y=(-0.1, -0.14)[i % 2],
                    hand_z=0.32,
                    elbow_out=16,
                    shrug=(16, 20)[i % 2],
                    x=(0.006, -0.006)[i % 2],
                    knee_out=-8,
                ),
            )
            for i in range(9)
        ),
        loop=True,
        lag=0.0,
        tags=("cold",),
    ),
)
