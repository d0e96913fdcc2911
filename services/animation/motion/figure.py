"""The figure every motion is made on: a person of 1.75 m in T-pose.

Joints carry the names of the VRM humanoid (VRM 1.0, ``humanoid.humanBones``). In the rest pose
every joint's axes are the world's (+Y up, the face looks along +Z, the left hand is at +X), so a
motion is a table of rotations that any skeleton with a known rest pose can take over.
Proportions are those of an adult in round figures (segment lengths by share of stature after
Winter, *Biomechanics and Motor Control of Human Movement*, 4th ed., figure 4.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton

HEIGHT = 1.75
"""Stature in metres."""

_SPINE: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("hips", "", (0.0, 0.96, 0.0)),
    ("spine", "hips", (0.0, 0.10, -0.005)),
    ("chest", "spine", (0.0, 0.12, 0.0)),
    ("upperChest", "chest", (0.0, 0.12, 0.0)),
    ("neck", "upperChest", (0.0, 0.16, -0.005)),
    ("head", "neck", (0.0, 0.09, 0.015)),
)
_LEFT: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("Shoulder", "upperChest", (0.03, 0.11, 0.0)),
    ("UpperArm", "Shoulder", (0.14, 0.0, 0.0)),
    ("LowerArm", "UpperArm", (0.28, 0.0, 0.0)),
    ("Hand", "LowerArm", (0.26, 0.0, 0.0)),
    ("ThumbMetacarpal", "Hand", (0.03, -0.01, 0.03)),
    ("ThumbProximal", "ThumbMetacarpal", (0.03, -0.005, 0.025)),
    ("ThumbDistal", "ThumbProximal", (0.025, 0.0, 0.015)),
    ("IndexProximal", "Hand", (0.09, 0.0, 0.03)),
    ("IndexIntermediate", "IndexProximal", (0.04, 0.0, 0.0)),
    ("IndexDistal", "IndexIntermediate", (0.025, 0.0, 0.0)),
    ("MiddleProximal", "Hand", (0.095, 0.0, 0.01)),
    ("MiddleIntermediate", "MiddleProximal", (0.045, 0.0, 0.0)),
    ("MiddleDistal", "MiddleIntermediate", (0.028, 0.0, 0.0)),
    ("RingProximal", "Hand", (0.09, 0.0, -0.01)),
    ("RingIntermediate", "RingProximal", (0.04, 0.0, 0.0)),
    ("RingDistal", "RingIntermediate", (0.025, 0.0, 0.0)),
    ("LittleProximal", "Hand", (0.083, 0.0, -0.03)),
    ("LittleIntermediate", "LittleProximal", (0.032, 0.0, 0.0)),
    ("LittleDistal", "LittleIntermediate", (0.02, 0.0, 0.0)),
    ("UpperLeg", "hips", (0.09, -0.03, 0.0)),
    ("LowerLeg", "UpperLeg", (0.0, -0.43, 0.0)),
    ("Foot", "LowerLeg", (0.0, -0.42, 0.0)),
    ("Toes", "Foot", (0.0, -0.06, 0.13)),
)
_MIDDLE = frozenset(name for name, _, _ in _SPINE)


def _side(name: str, side: str) -> str:
    return name if name in _MIDDLE else side + name


def _build() -> Skeleton:
    names: list[str] = []
    parents: list[int] = []
    heads: list[NDArray[np.float64]] = []
    rows = list(_SPINE)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rows += [(side + name, _side(parent, side), (sign * x, y, z)) for name, parent, (x, y, z) in _LEFT]
    for name, parent, offset in rows:
        above = names.index(parent) if parent else -1
        names.append(name)
        parents.append(above)
        heads.append(np.asarray(offset) + (heads[above] if parent else 0.0))
    rest = np.tile(np.eye(4), (len(names), 1, 1))
    rest[:, :3, 3] = heads
    return Skeleton(tuple(names), np.asarray(parents, dtype=np.int32), rest)


FIGURE: Skeleton = _build()
JOINTS: dict[str, int] = {name: index for index, name in enumerate(FIGURE.names)}


def _length(*names: str) -> float:
    heads: NDArray[np.float64] = FIGURE.heads[[JOINTS[name] for name in names]]
    return float(np.linalg.norm(np.diff(heads, axis=0), axis=1).sum())


THIGH = _length("leftUpperLeg", "leftLowerLeg")
SHIN = _length("leftLowerLeg", "leftFoot")
LEG = THIGH + SHIN
"""Hip joint to ankle, metres: the unit of every distance in a motion."""
UPPER_ARM = _length("leftUpperArm", "leftLowerArm")
FOREARM = _length("leftLowerArm", "leftHand")
ARM = UPPER_ARM + FOREARM
"""Shoulder joint to wrist, metres: the unit of a hand's reach."""
ANKLE = float(FIGURE.heads[JOINTS["leftFoot"], 1])
"""Height of the ankle over the ground when standing, metres."""
