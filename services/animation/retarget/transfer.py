"""Carry a take's rotations over to another skeleton: directions of limbs, deltas of the trunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from maquette.geometry.rig import Skeleton
from services.animation.retarget.bone_map import SIDES, BoneMap
from services.animation.retarget.contacts import whole_soles
from services.animation.retarget.frames import body_axes, end_roles, leg_length, rest_frames, unit
from services.animation.retarget.take import Take, Vectors

_BENT = np.sin(np.radians(20.0))
"""From this bend on, an elbow tells by itself which way it bends."""
_STRAIGHT = np.sin(np.radians(8.0))
_LEVEL = np.cos(np.radians(50.0))
"""Cosine of the tilt of a standing foot from which it is on its toes, and not badly measured."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What the target's joints do in the world.

    ``turns`` are world rotations ``(t, 3, 3)`` by joint, for those that do more than follow their
    parent; ``across (3, 3)`` turns the source's world to the target's.
    """

    turns: dict[int, Vectors]
    across: Vectors


def carry_over(
    take: Take,
    source: BoneMap,
    skeleton: Skeleton,
    target: BoneMap,
    standing: NDArray[np.bool_],
) -> Carried:
    """Return the world rotations that give the target the directions of the take.

    ``standing (t, 2)`` tells when the take's feet stand: captured skeletons have feet that are not
    flat at rest, but are when they stand.
    """
    from_axes, to_axes = body_axes(take.skeleton, source), body_axes(skeleton, target)
    across = to_axes @ from_axes.T
    shared = frozenset(source.roles) & frozenset(target.roles)
    both = end_roles(source, target)
    theirs = rest_frames(take.skeleton, source, {role: ends[0] for role, ends in both.items()}, shared)
    ours = rest_frames(skeleton, target, {role: ends[1] for role, ends in both.items()}, shared)
    if take.planted is None:
        _level_feet(take, source, standing, theirs)
    turns = {}
    for role in shared - {"chest", "head"}:
        from_joint, to_joint = source.roles[role], target.roles[role]
        moved = across @ take.turns[:, from_joint] @ take.skeleton.rest[from_joint, :3, :3].T @ theirs[role]
        turned = moved @ ours[role].T
        if role in both:
            from_end, to_end = both[role]
            meant = unit((take.points[:, from_end] - take.points[:, from_joint]) @ across.T)
            span = unit(skeleton.heads[to_end] - skeleton.heads[to_joint])
            turned = swing(turned @ span, meant) @ turned
        turns[to_joint] = turned @ skeleton.rest[to_joint, :3, :3]
    chains = [((source.hips, *source.spine), (target.hips, *target.spine))]
    if "head" in shared:
        chains.append(((source.roles["chest"], *source.neck), (target.roles["chest"], *target.neck)))
    rest = take.skeleton.rest[:, :3, :3]
    for theirs_chain, ours_chain in chains:
        deltas = [across @ take.turns[:, joint] @ rest[joint].T @ across.T for joint in theirs_chain]
        spread(deltas, skeleton, ours_chain, turns)
    for side in SIDES:
        _bend_elbow(skeleton, target, side, turns, to_axes)
    return Carried(turns, across)


def _level_feet(take: Take, source: BoneMap, standing: NDArray[np.bool_], frames: dict[str, Vectors]) -> None:
    """Tilt the frames of the source's feet so that they are level, in the median, on their whole soles."""
    up = body_axes(take.skeleton, source)[:, 1]
    leg = leg_length(take.skeleton, source)
    for number, side in enumerate(SIDES):
        ankle = source.roles[f"{side}Foot"]
        stands = whole_soles(take.points[:, ankle] @ up, standing[:, number], leg)
        for role in {f"{side}Foot", f"{side}Toes"} & set(frames) if stands.any() else ():
            joint = source.roles[role]
            turned = take.turns[stands, joint] @ take.skeleton.rest[joint, :3, :3].T @ frames[role]
            # Where the foot has what is up while it stands: forwards or aside, it is badly measured.
            level = unit(np.median(np.einsum("tij,i->tj", turned, up), axis=0))
            if level[1] > _LEVEL:
                frames[role] = frames[role] @ swing(np.array([0.0, 1.0, 0.0]), level)


def swing(now: Vectors, meant: Vectors) -> Vectors:
    """Return the smallest rotations ``(t, 3, 3)`` that turn unit vectors ``now`` to ``meant``."""
    axis = np.cross(now, meant)
    cos = (now * meant).sum(axis=-1)
    # Opposite vectors have no smallest rotation; a limb of a take never turns so far from its frame.
    factor = 1.0 / np.maximum(1.0 + cos, 1e-6)
    skew = np.zeros((*axis.shape[:-1], 3, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -axis[..., 2], axis[..., 1], -axis[..., 0]
    skew[..., 1, 0], skew[..., 2, 0], skew[..., 2, 1] = axis[..., 2], -axis[..., 1], axis[..., 0]
    return np.asarray(np.eye(3) + skew + skew @ skew * factor[..., None, None])


def spread(
    deltas: list[Vectors], skeleton: Skeleton, target: tuple[int, ...], turns: dict[int, Vectors]
) -> None:
    """Turn a chain as another with any number of joints is turned, in equal shares from end to end.

    ``deltas (t, 3, 3)`` is what each joint of the other is turned by from its rest.
    """
    for number, joint in enumerate(target[1:], 1):
        place = number / (len(target) - 1) * (len(deltas) - 1)
        low = min(int(place), max(len(deltas) - 2, 0))
        share, high = place - low, min(low + 1, len(deltas) - 1)
        step = Rotation.from_matrix(np.swapaxes(deltas[low], 1, 2) @ deltas[high]).as_rotvec()
        turned = deltas[low] @ Rotation.from_rotvec(share * step).as_matrix()
        turns[joint] = turned @ skeleton.rest[joint, :3, :3]


def _bend_elbow(
    skeleton: Skeleton, target: BoneMap, side: str, turns: dict[int, Vectors], body: Vectors
) -> None:
    """Let the elbow bend forwards only.

    An arm that is clearly bent is turned about its length until its hinge is where it bends; one
    that is bent backwards by a little, as captured motion is, is straightened.
    """
    upper, lower = target.roles[f"{side}UpperArm"], target.roles[f"{side}LowerArm"]
    end = target.roles.get(f"{side}Hand", target.roles.get(f"{side}Wrist"))
    if end is None or upper not in turns or lower not in turns:
        return
    rest = skeleton.rest[:, :3, :3]
    first, second = (unit(skeleton.heads[b] - skeleton.heads[a]) for a, b in ((upper, lower), (lower, end)))
    # Seen along the upper arm, an elbow at rest bends towards the front of the body.
    front = body[:, 2] if abs(first @ body[:, 2]) < 0.9 else body[:, 1]
    front = unit(front - first * (first @ front))
    turned = turns[upper] @ rest[upper].T
    along, ahead = turned @ first, turned @ front
    forearm = turns[lower] @ rest[lower].T @ second
    aside = forearm - along * (forearm * along).sum(axis=1, keepdims=True)
    bend = np.linalg.norm(aside, axis=1)
    share = np.clip((bend - _STRAIGHT) / (_BENT - _STRAIGHT), 0.0, 1.0)
    share = (share * share * (3 - 2 * share))[:, None]
    # Where the bend is small its plane is noise: it is flattened to the front.
    wanted = unit(ahead + share * (unit(aside) - ahead) + 1e-9 * ahead)
    backward = np.minimum((aside * ahead).sum(axis=1), 0.0)[:, None] * (1.0 - share)
    straight = unit(forearm - backward * ahead)
    wanted = unit(wanted - along * (wanted * along).sum(axis=1, keepdims=True))
    turns[upper] = swing(ahead, wanted) @ turns[upper]
    turns[lower] = swing(forearm, straight) @ turns[lower]
