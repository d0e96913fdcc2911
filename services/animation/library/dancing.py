"""Dances, on a beat of half a second."""

from __future__ import annotations

from services.animation.motion.channels import mirrored, pose
from services.animation.motion.keys import Curve
from services.animation.motion.moves import Move, keyed

_DANCE = "Dancing"
_BEAT = 0.5


def on_the_beat(*poses: Curve, beat: float = _BEAT) -> tuple[tuple[float, Curve], ...]:
    """Give each pose a beat and come back to the first."""
    return tuple((index * beat, each) for index, each in enumerate((*poses, poses[0])))


def both_sides(*poses: Curve) -> tuple[Curve, ...]:
    """Dance the poses, then their mirror images."""
    return (*poses, *(mirrored(each) for each in poses))


_GROOVE = pose(foot_x=0.1, toe_out=12, elbow=80, swing=10, spread=18, fist=0.5)

MOVES: tuple[Move, ...] = (
    keyed(
        "groove",
        _DANCE,
        "bouncing from side to side on the beat",
        *on_the_beat(
            *both_sides(
                pose(_GROOVE, y=-0.09, x=0.05, lean=8, roll=5, twist=10, nod=6),
                pose(_GROOVE, y=-0.01, x=0.02, nod=-4),
            )
        ),
        loop=True,
    ),
    keyed(
        "disco_point",
        _DANCE,
        "pointing high to the side and low across",
        *on_the_beat(
            pose(
                _GROOVE,
                x=-0.06,
                y=-0.02,
                r_swing=20,
                r_spread=150,
                r_elbow=4,
                r_fist=1,
                r_point=1,
                l_elbow=100,
                l_spread=40,
                l_rotate=50,
                look=-30,
                nod=-14,
                l_heel=24,
            ),
            pose(
                _GROOVE,
                x=0.05,
                y=-0.1,
                r_swing=40,
                r_spread=-36,
                r_elbow=10,
                r_fist=1,
                r_point=1,
                l_elbow=100,
                l_spread=40,
                l_rotate=50,
                twist=24,
                look=26,
                nod=12,
                bend=12,
            ),
        ),
        loop=True,
    ),
    keyed(
        "twist_dance",
        _DANCE,
        "hips and shoulders twisting against each other",
        *on_the_beat(
            *both_sides(
                pose(
                    _GROOVE,
                    y=-0.16,
                    turn=26,
                    twist=-48,
                    l_toe_out=-14,
                    r_toe_out=38,
                    heel=40,
                    lean=5,
                    l_swing=34,
                    r_swing=-14,
                )
            ),
            beat=0.4,
        ),
        loop=True,
        tags=("sliding",),
    ),
    keyed(
        "wave_arms",
        _DANCE,
        "both arms swaying overhead",
        *on_the_beat(
            *both_sides(
                pose(
                    _GROOVE,
                    x=0.08,
                    lean=14,
                    roll=4,
                    swing=6,
                    l_spread=146,
                    r_spread=176,
                    elbow=18,
                    fist=0.1,
                    y=-0.04,
                    tilt=10,
                )
            )
        ),
        loop=True,
    ),
    keyed(
        "jumping_dance",
        _DANCE,
        "jumping on the spot with arms thrown up",
        *on_the_beat(
            pose(_GROOVE, y=-0.22, bend=18, swing=-10, elbow=60, heel=6),
            pose(_GROOVE, y=0.2, foot_y=0.2, heel=34, spread=140, swing=10, elbow=20, bend=-6, nod=-10),
            beat=0.34,
        ),
        loop=True,
        lag=0.4,
    ),
    keyed(
        "shuffle",
        _DANCE,
        "kicking the heels out in quick steps",
        *on_the_beat(
            *both_sides(
                pose(
                    _GROOVE,
                    y=-0.06,
                    r_foot_z=0.34,
                    r_foot_y=0.14,
                    r_heel=-24,
                    z=-0.04,
                    l_swing=34,
                    r_swing=-26,
                    twist=14,
                    bend=6,
                ),
                pose(_GROOVE, y=-0.1, z=0.02, twist=0),
            ),
            beat=0.25,
        ),
        loop=True,
        lag=0.5,
    ),
    keyed(
        "robot_dance",
        _DANCE,
        "arms at right angles, moving in jerks",
        *(
            (
                time,
                pose(
                    foot_x=0.06,
                    lean=lean,
                    twist=twist,
                    l_swing=left,
                    r_swing=right,
                    l_spread=8,
                    r_spread=8,
                    l_elbow=90,
                    r_elbow=90,
                    fist=0.05,
                    look=look,
                ),
            )
            for time, lean, twist, left, right, look in (
                (0, 0, 20, 70, -10, 0),
                (0.34, 0, 20, 70, -10, 0),
                (0.42, 8, -20, -10, 70, 30),
                (0.8, 8, -20, -10, 70, 30),
                (0.88, -8, -20, 0, 0, -30),
                (1.24, -8, -20, 0, 0, -30),
                (1.32, 0, 20, 90, 90, 0),
                (1.66, 0, 20, 90, 90, 0),
                (1.74, 0, 20, 70, -10, 0),
            )
        ),
        loop=True,
        lag=0.0,
        breath=0.0,
    ),
    keyed(
        "hip_hop",
        _DANCE,
        "low and loose, crossing and opening the arms",
        *on_the_beat(
            pose(
                _GROOVE, y=-0.2, bend=22, nod=14, grip=0, swing=50, spread=-24, elbow=60, fist=1, foot_x=0.18
            ),
            pose(
                _GROOVE, y=-0.08, bend=2, spread=60, swing=10, elbow=30, fist=1, foot_x=0.18, twist=12, lean=8
            ),
            pose(
                _GROOVE,
                y=-0.22,
                x=0.1,
                bend=24,
                nod=16,
                l_swing=70,
                r_swing=-20,
                elbow=70,
                fist=1,
                foot_x=0.18,
                twist=-20,
                lean=10,
            ),
            pose(
                _GROOVE,
                y=-0.22,
                x=-0.1,
                bend=24,
                nod=16,
                r_swing=70,
                l_swing=-20,
                elbow=70,
                fist=1,
                foot_x=0.18,
                twist=20,
                lean=-10,
            ),
        ),
        loop=True,
    ),
    keyed(
        "ballet_turn",
        _DANCE,
        "a pirouette on one leg",
        (0, pose(foot_x=0.02, toe_out=30, swing=40, spread=20, elbow=50, fist=0.1)),
        (
            0.5,
            pose(
                y=-0.16,
                foot_x=0.02,
                toe_out=36,
                l_swing=60,
                r_spread=84,
                r_swing=0,
                elbow=24,
                fist=0.1,
                twist=-20,
            ),
        ),
        (
            0.8,
            pose(
                y=0.1,
                turn=90,
                l_toe_out=110,
                l_heel=52,
                r_free=1,
                r_thigh=50,
                r_thigh_out=60,
                r_knee=118,
                r_ankle=60,
                swing=64,
                spread=-4,
                elbow=62,
                fist=0.1,
                toes=0,
            ),
        ),
        (
            1.5,
            pose(
                y=0.1,
                turn=390,
                l_toe_out=410,
                l_heel=52,
                r_free=1,
                r_thigh=50,
                r_thigh_out=60,
                r_knee=118,
                r_ankle=60,
                swing=64,
                spread=-4,
                elbow=62,
                fist=0.1,
            ),
        ),
        (
            1.9,
            pose(
                y=-0.14,
                turn=360,
                foot_x=0.04,
                l_toe_out=390,
                r_toe_out=-330,
                l_foot_x=0.04,
                swing=20,
                spread=70,
                elbow=14,
                fist=0.1,
            ),
        ),
        (
            2.5,
            pose(
                turn=360, foot_x=0.02, l_toe_out=390, r_toe_out=-330, swing=40, spread=20, elbow=50, fist=0.1
            ),
        ),
        loop=True,
        lag=0.0,
    ),
    keyed(
        "can_can",
        _DANCE,
        "high kicks, hands on the hips",
        *on_the_beat(
            *both_sides(
                pose(foot_x=0.03, y=-0.1, grip=1, hand_x=0.4, hand_y=-0.9, hand_z=0.04, elbow_out=70),
                pose(
                    foot_x=0.03,
                    y=0.0,
                    r_heel=14,
                    l_free=1,
                    l_thigh=112,
                    l_knee=10,
                    l_ankle=50,
                    bend=-12,
                    grip=1,
                    hand_x=0.4,
                    hand_y=-0.9,
                    hand_z=0.04,
                    elbow_out=70,
                ),
            )
        ),
        loop=True,
        lag=0.4,
    ),
    keyed(
        "belly_dance",
        _DANCE,
        "circling hips, arms like snakes",
        *on_the_beat(
            pose(
                foot_x=0.03,
                y=-0.06,
                x=0.07,
                roll=9,
                lean=9,
                l_spread=96,
                r_spread=70,
                elbow=24,
                l_wrist=-30,
                r_wrist=30,
                fist=0.1,
            ),
            pose(
                foot_x=0.03,
                y=-0.06,
                z=0.06,
                pitch=-7,
                bend=6,
                l_spread=84,
                r_spread=84,
                elbow=34,
                wrist=0,
                fist=0.1,
            ),
            pose(
                foot_x=0.03,
                y=-0.06,
                x=-0.07,
                roll=-9,
                lean=-9,
                l_spread=70,
                r_spread=96,
                elbow=24,
                l_wrist=30,
                r_wrist=-30,
                fist=0.1,
            ),
            pose(
                foot_x=0.03,
                y=-0.06,
                z=-0.05,
                pitch=8,
                bend=-6,
                l_spread=84,
                r_spread=84,
                elbow=34,
                wrist=0,
                fist=0.1,
            ),
        ),
        loop=True,
    ),
    keyed(
        "rock_out",
        _DANCE,
        "playing an air guitar, head banging",
        *on_the_beat(
            *(
                pose(
                    y=-0.18,
                    foot_x=0.2,
                    toe_out=20,
                    bend=(34, 14)[i % 2],
                    nod=(38, -16)[i % 2],
                    l_grip=1,
                    l_hand_x=0.62,
                    l_hand_y=-0.16,
                    l_hand_z=0.5,
                    l_fist=0.7,
                    l_palm=-40,
                    r_grip=1,
                    r_hand_x=0.06,
                    r_hand_y=(-0.84, -0.6)[i % 2],
                    r_hand_z=0.36,
                    r_fist=0.6,
                    lean=-6,
                )
                for i in range(2)
            ),
            beat=0.3,
        ),
        loop=True,
        lag=0.3,
    ),
)
