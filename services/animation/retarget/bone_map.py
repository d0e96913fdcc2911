"""Which joint of a skeleton is which part of a body: by its names, and by its shape where they fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Skeleton
from services.animation.retarget.names import LIMBS, meaning_of
from services.animation.retarget.shape import map_by_shape
from services.animation.retarget.tree import common_ancestor, path_down

SIDES = ("left", "right")
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
_NEEDED = tuple(
    f"{side}{part}" for side in SIDES for part in ("UpperArm", "LowerArm", "UpperLeg", "LowerLeg", "Foot")
)
_LYING = 55.0
"""Degrees between the trunk and the upright from which a body goes on four legs."""
_ORDERED = (("UpperLeg", "LowerLeg"), ("UpperArm", "LowerArm"), ("LowerArm", "Hand"))
"""Limbs whose second joint hangs on the first."""


class NoHumanoid(MeshError):
    """The skeleton is not that of a body with two arms and two legs; the message says why."""


@dataclass(frozen=True, slots=True)
class BoneMap:
    """Joints by role.

    ``roles`` names single joints as VRM does: ``hips``, ``head``, ``leftUpperArm``, …. ``spine`` are
    the joints from above the hips up to the one that carries the arms, ``neck`` those from there up
    to the head. ``by_names`` is False where the skeleton's shape had to tell.
    """

    roles: Mapping[str, int]
    spine: tuple[int, ...]
    neck: tuple[int, ...]
    by_names: bool

    @property
    def hips(self) -> int:
        """The joint that carries legs and trunk."""
        return self.roles["hips"]


def map_bones(skeleton: Skeleton) -> BoneMap:
    """Find the parts of a body in a skeleton. Raises :class:`NoHumanoid`."""
    named = _by_names(skeleton)
    by_names = _is_whole(skeleton, named)
    roles = named if by_names else map_by_shape(skeleton)
    if not by_names and not _is_whole(skeleton, roles):
        missing = [role for role in _NEEDED if role not in named]
        which = f" Not found by name: {', '.join(missing)}." if missing and named else ""
        raise NoHumanoid(f"The skeleton is not that of a body with two arms and two legs.{which}")
    return _whole_map(skeleton, roles, by_names=by_names)


def _by_names(skeleton: Skeleton) -> dict[str, int]:
    """Return the joints whose names tell a role; of several the surest, of those the uppermost."""
    best: dict[str, tuple[int, int]] = {}
    fingers: dict[tuple[str, str], list[int]] = {}
    collars: dict[str, list[int]] = {}
    for joint, name in enumerate(skeleton.names):
        meaning = meaning_of(name)
        if meaning is None:
            continue
        if meaning.role in FINGERS:
            fingers.setdefault((meaning.side, meaning.role), []).append(joint)
            continue
        if meaning.role == "Shoulder":
            collars.setdefault(meaning.side, []).append(joint)
        role = meaning.side + meaning.role
        if role not in best or meaning.rank < best[role][0]:
            best[role] = (meaning.rank, joint)
    roles = {role: joint for role, (_, joint) in best.items()}
    _settle(skeleton, roles, collars)
    for (side, finger), joints in fingers.items():
        roles |= _finger_roles(skeleton, side, finger, joints)
    return roles


def _settle(skeleton: Skeleton, roles: dict[str, int], collars: Mapping[str, list[int]]) -> None:
    """Mend what words alone leave open; ``collars`` are each side's shoulder joints, from above."""
    for side in SIDES:
        shoulders = collars.get(side, [])
        if shoulders:
            roles[f"{side}Shoulder"] = shoulders[0]
            if f"{side}UpperArm" not in roles:
                # Some call the upper arm the shoulder, and have a collar before it or nothing.
                roles[f"{side}UpperArm"] = shoulders[-1]
                if len(shoulders) == 1:
                    del roles[f"{side}Shoulder"]
        hand = roles.get(f"{side}Hand")
        if hand is not None and _has_twin(skeleton, hand):
            # Several palms side by side: they end the forearm, and none of them is the hand.
            roles[f"{side}Wrist"] = roles.pop(f"{side}Hand")


def _has_twin(skeleton: Skeleton, joint: int) -> bool:
    own = meaning_of(skeleton.names[joint])
    siblings = np.flatnonzero(skeleton.parents == skeleton.parents[joint]).tolist()
    return any(other != joint and meaning_of(skeleton.names[other]) == own for other in siblings)


def _finger_roles(skeleton: Skeleton, side: str, finger: str, joints: list[int]) -> dict[str, int]:
    """Name a finger's joints in their order; a fourth is the tip."""
    chain = sorted(joints, key=lambda joint: (_depth(skeleton, joint), joint))[:3]
    parts = (
        ("Metacarpal", "Proximal", "Distal") if finger == "Thumb" else ("Proximal", "Intermediate", "Distal")
    )
    return {f"{side}{finger}{part}": joint for part, joint in zip(parts, chain, strict=False)}


def _depth(skeleton: Skeleton, joint: int) -> int:
    return len(path_down(skeleton.parents, 0, joint))


def _is_whole(skeleton: Skeleton, roles: Mapping[str, int]) -> bool:
    if any(role not in roles for role in _NEEDED):
        return False
    for side in SIDES:
        for first, second in _ORDERED:
            above, below = roles[side + first], roles.get(side + second)
            if below is not None and (above == below or not path_down(skeleton.parents, above, below)):
                return False
    limbs = [roles[side + part] for side in SIDES for part in LIMBS if side + part in roles]
    return len(set(limbs)) == len(limbs)


def _whole_map(skeleton: Skeleton, roles: dict[str, int], *, by_names: bool) -> BoneMap:
    parents = skeleton.parents
    arms = [roles["leftUpperArm"], roles["rightUpperArm"]]
    legs = [roles["leftUpperLeg"], roles["rightUpperLeg"]]
    chest = common_ancestor(parents, arms)
    hips = common_ancestor(parents, [*legs, chest])
    if any(hips == leg for leg in legs) or chest in arms:
        raise NoHumanoid("The limbs of the skeleton do not hang on a trunk.")
    found = {**roles, "hips": hips}
    neck: tuple[int, ...] = ()
    head = roles.get("head")
    if head is not None:
        neck = tuple(path_down(parents, chest, head)[1:])
        if not neck:
            del found["head"]
    spine = tuple(path_down(parents, hips, chest)[1:])
    found |= {"chest": chest}
    _check_upright(skeleton, found)
    return BoneMap(found, spine, neck, by_names)


def _check_upright(skeleton: Skeleton, roles: Mapping[str, int]) -> None:
    heads = skeleton.heads
    hips = heads[[roles["leftUpperLeg"], roles["rightUpperLeg"]]].mean(axis=0)
    shoulders = heads[[roles["leftUpperArm"], roles["rightUpperArm"]]].mean(axis=0)
    feet = heads[[roles["leftFoot"], roles["rightFoot"]]].mean(axis=0)
    trunk, legs = shoulders - hips, hips - feet
    size = float(np.linalg.norm(trunk) * np.linalg.norm(legs))
    for side in SIDES:
        bones = [roles[side + part] for part in ("UpperLeg", "LowerLeg")]
        if np.linalg.norm(np.diff(heads[bones], axis=0)) < 1e-9:
            raise NoHumanoid("A leg of the skeleton has no length.")
    if size < 1e-12 or float(trunk @ legs) / size < np.cos(np.radians(_LYING)):
        raise NoHumanoid("The skeleton goes on four legs, and the motion is that of a person.")
