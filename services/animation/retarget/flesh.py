"""How far a body reaches around its joints, and how high each part of it is over the floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton
from services.animation.motion.ground import PARTS, lowest
from services.animation.retarget.bone_map import FINGERS, SIDES, BoneMap
from services.animation.retarget.take import Take, Vectors

_OWNED = 0.5
"""Weight from which a vertex is a joint's own."""
_STEPS = (-1.0, 0.0, 1.0)
_DIRECTIONS = np.array([(x, y, z) for x in _STEPS for y in _STEPS for z in _STEPS if x or y or z])

Heights = Mapping[str, Vectors]
"""By part of the body, how high its underside is, ``(t,)``: ``trunk``, ``head`` and, with a side before
it, ``Arm``, ``Hand``, ``Leg``, ``Foot``."""


@dataclass(frozen=True, slots=True)
class Flesh:
    """Points of the skin at rest that reach farthest from the joint that owns them.

    ``joints (p,)`` and ``places (p, 3)`` in the world.
    """

    joints: NDArray[np.int64]
    places: Vectors


def flesh_of(vertices: Vectors, joints: NDArray[np.int64], weights: Vectors) -> Flesh:
    """Measure a skin: ``vertices (n, 3)`` at rest, ``joints`` and ``weights (n, k)``."""
    strongest = weights.argmax(axis=1)
    rows = np.arange(len(vertices))
    own = np.flatnonzero(weights[rows, strongest] >= _OWNED)
    owner = joints[own, strongest[own]]
    order = np.argsort(owner, kind="stable")
    own, owner = own[order], owner[order]
    kept = [
        group[np.unique((vertices[group] @ _DIRECTIONS.T).argmax(axis=0))]
        for group in np.split(own, np.flatnonzero(np.diff(owner)) + 1)
        if len(group)
    ]
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return Flesh(joints[chosen, strongest[chosen]], np.asarray(vertices[chosen], np.float64))


def part_of(role: str) -> str:
    """Return the part of the body that a role belongs to."""
    side = next((side for side in SIDES if role.startswith(side)), "")
    bare = role.removeprefix(side)
    if bare in ("Foot", "Toes"):
        return f"{side}Foot"
    if "Leg" in bare:
        return f"{side}Leg"
    if bare in ("Hand", "Wrist") or bare.startswith(FINGERS):
        return f"{side}Hand"
    if "Arm" in bare:
        return f"{side}Arm"
    return "head" if bare == "head" else "trunk"


def parts_of(skeleton: Skeleton, bones: BoneMap) -> list[str]:
    """Return the part that each joint belongs to: its own, or that of what it hangs on; "" for none."""
    roles = dict.fromkeys((*bones.spine, *bones.neck), "trunk")
    roles |= {joint: role for role, joint in bones.roles.items()}
    parts: list[str] = []
    for joint, parent in enumerate(skeleton.parents.tolist()):
        above = parts[parent] if parent >= 0 else ""
        parts.append(part_of(roles[joint]) if joint in roles else above)
    return parts


def heights_of(
    flesh: Flesh, parts: list[str], skeleton: Skeleton, world: tuple[Vectors, Vectors], up: Vectors
) -> Heights:
    """Return how high each part is along ``up``; ``world`` are the joints' rotations and places."""
    turned, places = world
    found: dict[str, Vectors] = {}
    for joint in np.unique(flesh.joints).tolist():
        part = parts[joint]
        if not part:
            continue
        own = flesh.places[flesh.joints == joint] - skeleton.heads[joint]
        spans = own @ skeleton.rest[joint, :3, :3]
        row = np.einsum("a,tab->tb", up, turned[:, joint])
        height = (row @ spans.T).min(axis=1) + places[:, joint] @ up
        found[part] = np.minimum(found[part], height) if part in found else height
    return found


def heights_of_take(take: Take) -> Heights:
    """Return how high each part of our own figure is over the floor, metres."""
    sides = lowest(take.points, take.turns)
    found: dict[str, Vectors] = {}
    for column, name in enumerate(PARTS):
        part, height = part_of(name), sides[:, column]
        found[part] = np.minimum(found[part], height) if part in found else height
    return found
