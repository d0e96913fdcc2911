"""Dances for a stage: slides, poses, kicks and the floor."""

from __future__ import annotations

from services.animation.library.dancing import both_sides, on_the_beat
from services.animation.library.stances import STAND
from services.animation.motion.channels import pose
from services.animation.motion.keys import Curve
from services.animation.motion.moves import Move, keyed

_DANCE = "Dancing"
_LOOSE = pose(foot_x=0.08, toe_out=10, elbow=40, spread=14, fist=0.3)
_REINS = {"grip": 1, "hand_z": 0.5, "fist": 0.9, "l_hand_x": -0.06, "r_hand_x": -0.02}
_FLARE = pose(
    pitch=-30,
    bend=10,
    free=1,
    thigh=60,
    thigh_out=60,
    knee=6,
    ankle=50,
    swing=-44,
    spread=22,
    elbow=6,
    wrist=-50,
    nod=20,
    y=-0.5,
)


def _glide(left: float, right: float, back: float, heel: str) -> Curve:
    return pose(
        _LOOSE,
        y=-0.07,
        z=back,
        l_foot_z=left,
        r_foot_z=right,
        bend=8,
        nod=-4,
        **{f"{heel}_heel": 34},
        l_swing=24 if heel == "l" else -20,
        r_swing=-20 if heel == "l" else 24,
    )


MOVES: tuple[Move, ...] = (
    keyed(
        "glide_back",
        _DANCE,
        "gliding backwards, one foot flat, one on the toe",
        (0, _glide(0.12, -0.26, -0.08, "r")),
        (0.45, _glide(-0.64, -0.26, -0.46, "r")),
        (0.5, _glide(-0.64, -0.26, -0.46, "l")),
        (0.95, _glide(-0.64, -1.02, -0.84, "l")),
        (1.0, _glide(-0.64, -1.02, -0.84, "r")),
        loop=True,
        lag=0.0,
        tags=("sliding",),
    ),
    keyed(
        "jazz_hands",
        _DANCE,
        "open hands shaken high and low, knees bouncing",
        *(
            (
                0.14 * i,
                pose(
                    _LOOSE,
                    y=(-0.1, -0.04)[i % 2],
                    spread=60 if i < 6 or i > 11 else 128,
                    elbow=74 if i < 6 or i > 11 else 46,
                    rotate=-78,
                    palm=(-40, 10)[i % 2],
                    fist=0,
                    wrist=-40,
                    lean=10 if i % 4 < 2 else -10,
                    nod=-6,
                ),
            )
            for i in range(17)
        ),
        loop=True,
        lag=0.0,
    ),
    keyed(
        "arm_letters",
        _DANCE,
        "big shapes drawn overhead with both arms, one to a beat",
        *on_the_beat(
            pose(_LOOSE, y=-0.02, spread=146, elbow=4, fist=0, nod=-8),
            pose(_LOOSE, y=-0.1, spread=150, elbow=100, fist=0.2, wrist=30, nod=4),
            pose(_LOOSE, y=-0.06, x=0.05, lean=22, l_spread=100, r_spread=150, elbow=44, fist=0, roll=4),
            pose(
                _LOOSE,
                y=-0.02,
                grip=1,
                hand_x=0.02,
                hand_y=1.02,
                hand_z=0.08,
                elbow_out=96,
                fist=0.2,
                nod=-4,
                heel=14,
            ),
            beat=0.55,
        ),
        loop=True,
        lag=0.3,
    ),
    keyed(
        "rein_dance",
        _DANCE,
        "a rider's hop from foot to foot, wrists crossed on the reins",
        *on_the_beat(
            *both_sides(
                pose(_LOOSE, foot_x=0.14, y=-0.14, hand_y=-0.4, **_REINS, bend=8),
                pose(
                    _LOOSE,
                    foot_x=0.14,
                    y=-0.05,
                    x=0.07,
                    r_foot_y=0.16,
                    r_heel=24,
                    hand_y=-0.24,
                    **_REINS,
                    lean=5,
                    l_heel=8,
                ),
            ),
            beat=0.25,
        ),
        loop=True,
        lag=0.3,
    ),
    keyed(
        "shimmy",
        _DANCE,
        "shoulders shaken to and fro, arms out, sinking and rising",
        *(
            (
                0.12 * i,
                pose(
                    _LOOSE,
                    y=-0.04 - 0.16 * (1 - abs(i - 8) / 8),
                    l_reach=(26, -16)[i % 2],
                    r_reach=(-16, 26)[i % 2],
                    twist=(-12, 12)[i % 2],
                    spread=44,
                    elbow=54,
                    palm=-50,
                    fist=0.1,
                    bend=-8 + 18 * (1 - abs(i - 8) / 8),
                    nod=-8,
                ),
            )
            for i in range(17)
        ),
        loop=True,
        lag=0.0,
    ),
    keyed(
        "swing_kicks",
        _DANCE,
        "kicks low to the front and behind, arms swinging against them",
        *on_the_beat(
            *both_sides(
                pose(_LOOSE, y=-0.08, bend=8, swing=10),
                pose(
                    _LOOSE,
                    y=-0.04,
                    x=0.06,
                    r_free=1,
                    r_thigh=58,
                    r_knee=24,
                    r_ankle=40,
                    l_swing=54,
                    r_swing=-40,
                    bend=-6,
                    l_heel=6,
                ),
                pose(_LOOSE, y=-0.08, bend=10, swing=0),
                pose(
                    _LOOSE,
                    y=-0.06,
                    x=0.05,
                    r_free=1,
                    r_thigh=-24,
                    r_knee=56,
                    r_ankle=50,
                    l_swing=-40,
                    r_swing=54,
                    bend=16,
                    twist=10,
                ),
            ),
            beat=0.25,
        ),
        loop=True,
        lag=0.3,
    ),
    keyed(
        "hip_sway",
        _DANCE,
        "hips swung from side to side, one arm rolled up high",
        *on_the_beat(
            pose(_LOOSE, x=0.08, roll=10, lean=12, y=-0.06, r_spread=168, r_elbow=40, l_elbow=90, l_swing=10),
            pose(
                _LOOSE, x=-0.08, roll=-10, lean=-12, y=-0.06, r_spread=130, r_elbow=90, l_elbow=90, l_swing=20
            ),
            pose(_LOOSE, x=0.08, roll=10, lean=12, y=-0.1, l_spread=130, r_elbow=90, l_elbow=90, r_swing=20),
            pose(
                _LOOSE, x=-0.08, roll=-10, lean=-12, y=-0.06, l_spread=168, l_elbow=40, r_elbow=90, r_swing=10
            ),
        ),
        loop=True,
    ),
    keyed(
        "floor_flare",
        _DANCE,
        "on the hands, straight legs swung round in circles",
        *(
            (
                0.25 * quarter,
                pose(
                    _FLARE,
                    turn=90.0 * quarter,
                    toe_out=0,
                    thigh_out=44,
                    l_thigh=(96, 78, 60, 78)[quarter % 4],
                    r_thigh=(60, 78, 96, 78)[quarter % 4],
                    roll=(12, 0, -12, 0)[quarter % 4],
                    lean=(-8, 0, 8, 0)[quarter % 4],
                ),
            )
            for quarter in range(9)
        ),
        loop=True,
        lag=0.0,
        rests=True,
        tags=("acrobatics",),
    ),
    keyed(
        "finger_roll",
        _DANCE,
        "rolling the forearms round each other, then an arm flung out",
        *(
            (
                0.18 * i,
                pose(
                    _LOOSE,
                    y=-0.08,
                    x=0.03,
                    grip=1,
                    hand_x=0.02,
                    l_hand_y=(-0.1, -0.24, -0.38, -0.24)[i % 4],
                    r_hand_y=(-0.38, -0.24, -0.1, -0.24)[i % 4],
                    l_hand_z=(0.5, 0.62, 0.5, 0.38)[i % 4],
                    r_hand_z=(0.5, 0.38, 0.5, 0.62)[i % 4],
                    elbow_out=70,
                    fist=0.7,
                    twist=(8, -8)[i // 2 % 2],
                ),
            )
            for i in range(8)
        ),
        (
            1.7,
            pose(
                _LOOSE, y=-0.04, x=-0.06, r_spread=120, r_elbow=4, l_elbow=100, lean=-10, look=-24, fist=0.2
            ),
        ),
        (
            2.0,
            pose(
                _LOOSE, y=-0.06, x=-0.06, r_spread=124, r_elbow=4, l_elbow=100, lean=-12, look=-26, fist=0.2
            ),
        ),
        (
            2.4,
            pose(
                _LOOSE,
                y=-0.08,
                x=0.03,
                grip=1,
                hand_x=0.02,
                l_hand_y=-0.1,
                r_hand_y=-0.38,
                hand_z=0.5,
                elbow_out=70,
                fist=0.7,
                twist=8,
            ),
        ),
        loop=True,
        lag=0.0,
    ),
    keyed(
        "happy_sway",
        _DANCE,
        "rocking dreamily from foot to foot, hands clasped",
        (
            0,
            pose(
                STAND,
                x=0.07,
                roll=5,
                lean=8,
                tilt=10,
                grip=1,
                hand_x=0.02,
                hand_y=-0.3,
                hand_z=0.34,
                elbow_out=20,
            ),
        ),
        (
            0.8,
            pose(
                STAND,
                x=-0.07,
                roll=-5,
                lean=-8,
                tilt=-10,
                grip=1,
                hand_x=0.02,
                hand_y=-0.3,
                hand_z=0.34,
                elbow_out=20,
            ),
        ),
        (
            1.6,
            pose(
                STAND,
                x=0.07,
                roll=5,
                lean=8,
                tilt=10,
                grip=1,
                hand_x=0.02,
                hand_y=-0.3,
                hand_z=0.34,
                elbow_out=20,
            ),
        ),
        loop=True,
    ),
)
