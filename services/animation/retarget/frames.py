"""Anatomical axes of a skeleton at rest: what makes the same direction mean the same on two bodies.

Each part of a body gets a frame in the world, built from where its joints are and never from the
axes that a tool gave them. Turning the frame of one body's part as the other's is turned carries a
pose over, whatever both rest poses are (T, A, or any).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maquette.geometry.rig import Skeleton
from services.animation.retarget.bone_map import FINGERS, SIDES, BoneMap
from services.animation.retarget.take import Vectors

_SNAP = np.cos(np.radians(12.0))
_ALONG = 0.95
"""Cosine from which a bone lies along the axis that should tell its twist."""

ENDS: Mapping[str, tuple[str, ...]] = {
    **{
        f"{side}{part}": tuple(f"{side}{end}" for end in ends)
        for side in SIDES
        for part, ends in (
            ("UpperArm", ("LowerArm",)),
            ("LowerArm", ("Hand", "Wrist")),
            ("UpperLeg", ("LowerLeg",)),
            ("LowerLeg", ("Foot",)),
            ("Hand", ("MiddleProximal", "IndexProximal")),
            ("ThumbMetacarpal", ("ThumbProximal",)),
            ("ThumbProximal", ("ThumbDistal",)),
            *((f"{finger}Proximal", (f"{finger}Intermediate",)) for finger in FINGERS[1:]),
            *((f"{finger}Intermediate", (f"{finger}Distal",)) for finger in FINGERS[1:]),
        )
    },
}
"""Where each bone points: to the first of these that both bodies have."""
_BEFORE: Mapping[str, str] = {
    f"{side}{part}": f"{side}{before}"
    for side in SIDES
    for part, before in (
        ("LowerArm", "UpperArm"),
        ("Hand", "LowerArm"),
        ("ThumbMetacarpal", "Hand"),
        ("ThumbProximal", "ThumbMetacarpal"),
        ("ThumbDistal", "ThumbProximal"),
        *((f"{finger}Proximal", "Hand") for finger in FINGERS[1:]),
        *((f"{finger}Intermediate", f"{finger}Proximal") for finger in FINGERS[1:]),
        *((f"{finger}Distal", f"{finger}Intermediate") for finger in FINGERS[1:]),
    )
}
"""Whose direction a bone continues where it has no end of its own."""


def unit(vectors: Vectors) -> Vectors:
    """Scale vectors ``(…, 3)`` to length one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def body_axes(skeleton: Skeleton, bones: BoneMap) -> Vectors:
    """Return left, up and front of a body as columns ``(3, 3)``; near a coordinate axis, that axis."""
    heads, roles = skeleton.heads, bones.roles

    def middle(part: str) -> Vectors:
        return np.asarray(heads[[roles[f"left{part}"], roles[f"right{part}"]]].mean(axis=0))

    def across(part: str) -> Vectors:
        return np.asarray(heads[roles[f"left{part}"]] - heads[roles[f"right{part}"]])

    up = unit(middle("UpperArm") - middle("UpperLeg"))
    nearest = np.zeros(3)
    axis = int(np.abs(up).argmax())
    nearest[axis] = np.sign(up[axis])
    if abs(up[axis]) > 0.8:
        up = nearest
    left = unit(across("UpperLeg")) + unit(across("UpperArm"))
    left = unit(left - up * (left @ up))
    axis = int(np.abs(left).argmax())
    if abs(left[axis]) > _SNAP and abs(up[axis]) < 1e-9:
        left = np.zeros(3) + np.sign(left[axis]) * (np.arange(3) == axis)
    return np.stack([left, up, np.cross(left, up)], axis=1)


def leg_length(skeleton: Skeleton, bones: BoneMap) -> float:
    """Return how long the legs are along thigh and shin."""
    heads, roles = skeleton.heads, bones.roles
    chains = [[roles[f"{side}{part}"] for part in ("UpperLeg", "LowerLeg", "Foot")] for side in SIDES]
    return float(np.mean([np.linalg.norm(np.diff(heads[chain], axis=0), axis=1).sum() for chain in chains]))


def end_roles(source: BoneMap, target: BoneMap) -> dict[str, tuple[int, int]]:
    """Return, for each bone that points somewhere on both bodies, the joints it points to."""
    found = {}
    for role, ends in ENDS.items():
        ours = [target.roles[end] for end in ends if end in target.roles]
        theirs = [source.roles[end] for end in ends if end in source.roles]
        if ours and theirs and role in source.roles and role in target.roles:
            found[role] = (theirs[0], ours[0])
    return found


def rest_frames(
    skeleton: Skeleton, bones: BoneMap, ends: Mapping[str, int], shared: frozenset[str]
) -> dict[str, Vectors]:
    """Return the frame ``(3, 3)`` of every role in ``shared``: its length, then its twist.

    ``ends`` says which joint a bone points to. Arms, hands and fingers are twisted after the front
    of the body, legs after its left; feet stand flat and point where the toes are; all others have
    the body's own axes.
    """
    heads, roles = skeleton.heads, bones.roles
    body = body_axes(skeleton, bones)
    frames = {}
    for role in shared:
        frames[role] = body
        along = _direction(heads, roles, ends, role)
        if "Leg" in role and along is not None:
            frames[role] = _frame(along, body[:, 0], body[:, 2])
        elif "Foot" in role or "Toes" in role:
            frames[role] = _foot(heads, roles, role, body, shared)
        elif along is not None and "Shoulder" not in role:
            twist = body[:, 2]
            if "Hand" in role:
                twist = _palm(heads, roles, role, shared, twist)
            frames[role] = _frame(along, twist, body[:, 1])
    return frames


def _direction(
    heads: Vectors, roles: Mapping[str, int], ends: Mapping[str, int], role: str
) -> Vectors | None:
    at = role
    while at not in ends:
        if at not in _BEFORE:
            return None
        at = _BEFORE[at]
    span = heads[ends[at]] - heads[roles[at]]
    return unit(span) if np.linalg.norm(span) > 1e-9 else None


def _palm(
    heads: Vectors, roles: Mapping[str, int], role: str, shared: frozenset[str], front: Vectors
) -> Vectors:
    """Return the direction across a hand towards the thumb, as the fingers' roots tell it."""
    first, last = role.replace("Hand", "IndexProximal"), role.replace("Hand", "LittleProximal")
    if first not in shared or last not in shared:
        return front
    span = heads[roles[first]] - heads[roles[last]]
    return unit(span) if np.linalg.norm(span) > 1e-9 else front


def _foot(
    heads: Vectors, roles: Mapping[str, int], role: str, body: Vectors, shared: frozenset[str]
) -> Vectors:
    toes, foot = (
        role[: -len("Foot")] + "Toes" if role.endswith("Foot") else role,
        role.replace("Toes", "Foot"),
    )
    front = body[:, 2]
    if toes in shared:
        span = heads[roles[toes]] - heads[roles[foot]]
        flat = span - body[:, 1] * (span @ body[:, 1])
        if np.linalg.norm(flat) > 0.2 * np.linalg.norm(span) > 0 and unit(flat) @ front > 0.3:
            front = unit(flat)
    return np.stack([np.cross(body[:, 1], front), body[:, 1], front], axis=1)


def _frame(along: Vectors, twist: Vectors, instead: Vectors) -> Vectors:
    if abs(float(along @ twist)) > _ALONG:
        twist = instead
    across = unit(twist - along * float(along @ twist))
    return np.stack([along, across, np.cross(along, across)], axis=1)
