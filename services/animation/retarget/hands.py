"""Arms over the floor: elbows bend before a hand goes through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from maquette.geometry.rig import Skeleton
from services.animation.retarget.bone_map import SIDES, BoneMap
from services.animation.retarget.feet import Leg
from services.animation.retarget.flesh import Flesh
from services.animation.retarget.floor import widened
from services.animation.retarget.frames import unit
from services.animation.retarget.proportions import smoothstep
from services.animation.retarget.take import Vectors
from services.animation.retarget.tree import path_down

_MOST_BEND = np.radians(130.0)
_HANGS = 0.3
"""Cosine to what is down from which a forearm hangs."""
_OVER = 0.25
"""Share of the arm beyond the elbow that the elbow has to be over the floor."""
_ASIDE = 0.4
"""Share of the vertical that the plane of a bend has at least; from twice as much it is upright."""
_LITTLE = 0.05
"""Share of the arm beyond the elbow by which a hand is under the floor for sure."""
_ALONG = 0.9
"""Cosine from which the front of the body is no way for an elbow to bend."""


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm of the target: upper arm, forearm and hand, and how far it goes beyond its elbow."""

    joints: tuple[int, int, int]
    upper: float
    lower: float
    reach: float
    below: frozenset[int]
    """The forearm and all that hangs on it."""

    def as_leg(self) -> Leg:
        """Return its two bones as those of a leg."""
        none = np.zeros(3)
        return Leg(*self.joints, self.upper, self.lower, none, none, 0.0)


def arms_of(skeleton: Skeleton, bones: BoneMap, parts: list[str], flesh: Flesh | None) -> Mapping[str, Arm]:
    """Return the arms by side, of those whose hands hang on their forearms."""
    heads, roles, found = skeleton.heads, bones.roles, {}
    for side in SIDES:
        upper, lower = roles[f"{side}UpperArm"], roles[f"{side}LowerArm"]
        hand = roles.get(f"{side}Hand", roles.get(f"{side}Wrist"))
        if hand is None or not path_down(skeleton.parents, lower, hand):
            continue
        first, second = (
            float(np.linalg.norm(heads[b] - heads[a])) for a, b in ((upper, lower), (lower, hand))
        )
        reach = second
        if flesh is not None:
            own = np.array([parts[joint] == f"{side}Hand" for joint in flesh.joints.tolist()], bool)
            far = np.linalg.norm(flesh.places[own] - heads[lower], axis=1)
            reach = max(reach, float(far.max(initial=0.0)))
        joints = range(len(skeleton.names))
        below = frozenset(joint for joint in joints if path_down(skeleton.parents, lower, joint))
        found[side] = Arm((upper, lower, hand), first, second, reach, below)
    return found


def bend_elbow(
    skeleton: Skeleton,
    turns: dict[int, Vectors],
    arm: Arm,
    lift: Vectors,
    elbow: Vectors,
    body: Vectors,
    fps: float,
) -> None:
    """Bend an elbow until the end of its arm is ``lift (t,)`` higher, and softly before and after.

    The forearm and all that hangs on it turn; the upper arm stays. ``elbow (t,)`` is how high the elbow
    is over the floor: one that is under it helps nobody by bending.
    """
    upper, lower, hand = arm.joints
    rest, heads, up = skeleton.rest[:, :3, :3], skeleton.heads, body[:, 1]
    first, second = unit(heads[lower] - heads[upper]), unit(heads[hand] - heads[lower])
    front = body[:, 2] if abs(first @ body[:, 2]) < _ALONG else up
    hinge = unit(np.cross(first, front))
    turned = turns[upper] @ rest[upper].T
    along = turns[lower] @ rest[lower].T @ second
    towards = unit(np.cross(turned @ hinge, along))
    bent = np.arccos(np.clip((along * (turned @ first)).sum(axis=1), -1.0, 1.0))
    # Height over the elbow is that of a pointer in the plane of the bend, from the horizontal up.
    down, rise = along @ up, towards @ up
    far = np.maximum(np.hypot(down, rise), 1e-9)
    start = np.mod(np.arctan2(rise, down), 2.0 * np.pi)
    angle = start - np.arccos(np.clip((down + lift / arm.reach) / far, -1.0, 1.0))
    helps = smoothstep(-down / _HANGS) * smoothstep(elbow / (_OVER * arm.reach))
    # Nor does a bend that goes aside; and one that has to pass what is straight down begins softly.
    helps *= smoothstep((far - _ASIDE) / _ASIDE) * smoothstep(lift / (_LITTLE * arm.reach))
    angle = widened(helps * np.clip(angle, 0.0, np.maximum(_MOST_BEND - bent, 0.0)), fps)
    turning = Rotation.from_rotvec(angle[:, None] * np.cross(along, towards)).as_matrix()
    for joint in arm.below & set(turns):
        turns[joint] = turning @ turns[joint]
