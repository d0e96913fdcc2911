"""Which joint of a four-legged skeleton is which part: its trunk, neck, tail and legs."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Skeleton
from services.animation.retarget.frames import unit
from services.animation.retarget.take import Vectors
from services.animation.retarget.tree import common_ancestor, path_down

CORNERS = ("leftBack", "leftFront", "rightBack", "rightFront")
_FRONT = re.compile(r"front|fore|arm|hand|wrist|elbow")
_LEG = re.compile(r"leg|arm|hand|foot|feet|paw|hoof|hock|thigh|shin|calf|knee|elbow|wrist|ankle|shoulder|hip")
_ROOF = re.compile(r"shoulder|clavicle|collar|scapula|hip|pelvis")
"""What a leg hangs on, and moves with the trunk."""
_NEVER = re.compile(r"pole|target|twist|ctrl|control|roll|helper|slot")
_TAIL, _HEAD = re.compile(r"tail"), re.compile(r"head")
_SLOPE = 0.75
"""Cosine to the upright from which a trunk is a person's."""
_ASIDE = 0.01
"""Share of the body's length that a leg is from the middle at least."""


class NoFourLegs(MeshError):
    """The skeleton is not that of a body on four legs; the message says why."""


@dataclass(frozen=True, slots=True)
class FourLegs:
    """Joints by part.

    ``trunk`` goes from the hips to what carries the front legs, ``neck`` from there to the head,
    ``tail`` from its root on, and each leg of ``CORNERS`` from its first bone to its paw.
    ``axes (3, 3)`` are left, up and front as columns.
    """

    trunk: tuple[int, ...]
    neck: tuple[int, ...]
    tail: tuple[int, ...]
    legs: tuple[tuple[int, ...], ...]
    axes: Vectors


def map_four_legs(skeleton: Skeleton) -> FourLegs:
    """Find the parts of a body on four legs. Raises :class:`NoFourLegs`."""
    names = [re.split(r"[:|]", name)[-1].lower() for name in skeleton.names]
    heads, parents = skeleton.heads, skeleton.parents
    middle = float(heads[:, 0].min() + heads[:, 0].max()) / 2.0
    length = float(np.ptp(heads, axis=0).max())
    corners: dict[str, list[int]] = {corner: [] for corner in CORNERS}
    for joint, name in enumerate(names):
        aside = float(heads[joint, 0]) - middle
        if _LEG.search(name) and not _NEVER.search(name) and abs(aside) > _ASIDE * length:
            end = "Front" if _FRONT.search(name) else "Back"
            corners[("left" if aside > 0 else "right") + end].append(joint)
    legs = tuple(_leg(skeleton, names, corners[corner]) for corner in CORNERS)
    tops = [leg[0] for leg in legs]
    hips, chest = common_ancestor(parents, [tops[0], tops[2]]), common_ancestor(parents, [tops[1], tops[3]])
    trunk = path_down(parents, hips, chest)
    if len(trunk) < 2:
        raise NoFourLegs("The front legs of the skeleton do not hang on a trunk that its hips carry.")
    axes = _axes(skeleton, tops)
    head = next(
        (j for j, name in enumerate(names) if _HEAD.search(name) and path_down(parents, chest, j)), -1
    )
    neck = path_down(parents, chest, head)[1:] if head >= 0 else []
    tail = [j for j, name in enumerate(names) if _TAIL.search(name) and path_down(parents, hips, j)]
    return FourLegs(tuple(trunk), tuple(neck), tuple(tail), legs, axes)


def _leg(skeleton: Skeleton, names: list[str], found: list[int]) -> tuple[int, ...]:
    """Return a leg's joints from above; what hangs below its paw goes with it."""
    joints = [joint for joint in found if not _ROOF.search(names[joint])]
    joints.sort(key=lambda joint: -float(skeleton.heads[joint, 1]))
    chain: list[int] = []
    for joint in joints:
        apart = np.linalg.norm(skeleton.heads[joint] - skeleton.heads[chain[-1]]) if chain else 1.0
        hangs = (
            not chain or path_down(skeleton.parents, chain[-1], joint) or int(skeleton.parents[joint]) == 0
        )
        if apart > 1e-9 and hangs:
            chain.append(joint)
    if len(chain) < 3:
        raise NoFourLegs("The skeleton is not that of a body on four legs.")
    return tuple(chain[:4])


def _axes(skeleton: Skeleton, tops: list[int]) -> Vectors:
    heads = skeleton.heads
    along = heads[[tops[1], tops[3]]].mean(axis=0) - heads[[tops[0], tops[2]]].mean(axis=0)
    up = np.array([0.0, 1.0, 0.0])
    if abs(float(unit(along) @ up)) > _SLOPE:
        raise NoFourLegs("The skeleton's trunk is upright: it is not that of a body on four legs.")
    front = unit(along - up * (along @ up))
    axis = int(np.abs(front).argmax())
    if abs(front[axis]) > 0.98:
        front = np.sign(front[axis]) * (np.arange(3) == axis)
    return np.stack([np.cross(up, front), up, front], axis=1)
