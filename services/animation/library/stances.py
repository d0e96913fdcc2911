"""The stances that choreography starts from and comes back to."""

from __future__ import annotations

from services.animation.motion.channels import pose

STAND = pose(foot_x=0.03, toe_out=8, fist=0.3)
"""At ease: feet under the hips."""
ON_LEFT_HIP = pose(STAND, x=0.05, roll=4, lean=4, l_knee_out=4, r_foot_x=0.1, r_toe_out=16, y=-0.012)
ON_RIGHT_HIP = pose(STAND, x=-0.05, roll=-4, lean=-4, l_foot_x=0.1, l_toe_out=16, y=-0.012)
SIT = pose(y=-0.44, z=-0.42, bend=4, foot_x=0.05, toe_out=8, swing=34, elbow=52, spread=4, palm=40, fist=0.2)
"""On a chair half a leg high, hands on the thighs."""
CROUCH = pose(STAND, y=-0.6, z=-0.1, pitch=22, bend=24, nod=-26, foot_x=0.1, heel=30, swing=48, elbow=70)
KNEEL = pose(
    STAND, y=-0.48, z=-0.04, l_foot_z=0.36, r_foot_z=-0.5, r_heel=70, r_toes=10, l_swing=30, l_elbow=40, nod=4
)
LYING = pose(
    y=-0.98, pitch=-90, l_free=1, r_free=1, thigh=2, thigh_out=6, knee=6, ankle=28, spread=16, swing=4, nod=8
)
FLOAT = pose(
    y=0.3, free=1, thigh=14, knee=24, ankle=50, spread=44, swing=8, elbow=22, fist=0.15, nod=-8, foot_y=0.3
)
SWIM = pose(y=-0.1, pitch=84, nod=-36, free=1, ankle=60, fist=0.05, elbow=6)
PLANK = pose(
    y=-0.62,
    z=0.0,
    pitch=74,
    nod=-24,
    free=1,
    thigh=0,
    knee=2,
    ankle=-26,
    swing=84,
    spread=6,
    elbow=2,
    wrist=-70,
    fist=0,
    palm=60,
)
LADDER = pose(
    z=-0.05,
    pitch=4,
    bend=4,
    nod=-14,
    grip=1,
    fist=0.9,
    hand_x=0.26,
    hand_z=0.58,
    elbow_out=24,
    foot_x=0.02,
    foot_z=0.2,
    heel=18,
)
RAISED_FISTS = {"grip": 1, "fist": 1, "elbow_out": 4, "palm": 20}
GUARD = pose(
    **RAISED_FISTS,
    y=-0.1,
    turn=-28,
    twist=-4,
    bend=12,
    nod=4,
    look=22,
    shrug=8,
    l_foot_z=0.2,
    r_foot_z=-0.24,
    foot_x=0.06,
    l_toe_out=-10,
    r_toe_out=40,
    r_heel=12,
    l_hand_x=0.14,
    l_hand_y=0.14,
    l_hand_z=0.62,
    r_hand_x=0.14,
    r_hand_y=0.1,
    r_hand_z=0.36,
)
"""Left side in front, fists before the chin."""
SWORD_FISTS = {"r_fist": 1, "l_fist": 0.5}
SWORD_GUARD = pose(
    **SWORD_FISTS,
    y=-0.12,
    turn=-20,
    bend=8,
    look=18,
    l_foot_z=-0.2,
    r_foot_z=0.22,
    foot_x=0.07,
    l_toe_out=36,
    r_toe_out=-6,
    r_swing=46,
    r_spread=18,
    r_elbow=70,
    l_swing=-10,
    l_spread=34,
    l_elbow=50,
)
BOW_STANCE = pose(
    turn=-70,
    look=62,
    foot_x=0.1,
    l_foot_z=0.1,
    r_foot_z=-0.1,
    toe_out=0,
    l_toe_out=-60,
    r_toe_out=75,
    l_swing=0,
    l_spread=92,
    l_elbow=4,
    l_fist=1,
    r_swing=60,
    r_spread=40,
    r_elbow=60,
    r_fist=0.7,
)
FALLEN_BACK = pose(
    y=-0.98,
    pitch=-90,
    l_free=1,
    r_free=1,
    thigh=6,
    thigh_out=14,
    l_knee=30,
    r_knee=8,
    ankle=26,
    l_spread=64,
    r_spread=36,
    swing=6,
    elbow=24,
    nod=6,
    look=24,
    fist=0.25,
)
FALLEN_FRONT = pose(
    y=-0.98,
    pitch=88,
    free=1,
    thigh=-2,
    thigh_out=12,
    l_knee=26,
    r_knee=4,
    ankle=56,
    l_spread=104,
    l_rotate=-86,
    l_elbow=76,
    r_spread=34,
    r_elbow=14,
    r_swing=-4,
    nod=-8,
    look=56,
    fist=0.25,
)
