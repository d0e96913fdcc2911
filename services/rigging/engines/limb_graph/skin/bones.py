"""The bones of a skeleton: line segments, each owned by the joint that moves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton
from services.rigging.engines.limb_graph.skin.rays import Rays
from services.rigging.engines.limb_graph.skin.surface import Points, group_places

Place = NDArray[np.float64]

_GROUND_NAMES = frozenset({"root", "ground", "armature", "reference", "world", "origin", "scene"})
_HIPS = ("hip", "pelvis")
_END_NAMES = ("end", "nub", "tip", "site")
"""Last joints named so only mark where the bone before them ends."""
_SHORT = 1e-4
"""Bones shorter than this share of the size of the mesh have no direction."""
_ALIGNED = 0.97
"""Cosine from which a direction counts as along an axis: 14°."""
_AXIS_SHARE = 0.8
"""Share of the joints with one child that must agree on an axis to trust it everywhere."""
_REACH = 0.9
"""How far towards the end of the mesh a bone goes that no joint ends."""
_NEAR_RAY = 0.1
"""A joint this near to the line of a bone, as a share of the way to it, ends the bone."""
_NEAR_LINE = 0.03
"""So does one this near to it, as a share of the size of the mesh."""

_AROUND = 12
_STATIONS = (0.2, 0.4, 0.6, 0.8)
"""Where along a bone, and in how many directions, its radius is measured."""


@dataclass(frozen=True, slots=True)
class Bones:
    """Segments from ``start (b, 3)`` to ``end (b, 3)``, moved by the joints ``joint (b,)``.

    ``start_node`` and ``end_node (b,)`` number the places where they start and end; ``radius (b,)`` is
    the usual way from the bone to the surface around it, infinite where nothing is around.
    """

    start: Points
    end: Points
    joint: NDArray[np.int64]
    start_node: NDArray[np.int64]
    end_node: NDArray[np.int64]
    radius: NDArray[np.float64]

    def at(self, bone: NDArray[np.integer], share: NDArray[np.float64]) -> Points:
        """Return the places ``(n, 3)`` at the shares ``(n,)`` of the way along the bones ``(n,)``."""
        start = self.start[bone]
        return np.asarray(start + share[:, None] * (self.end[bone] - start))


def bones_of(skeleton: Skeleton, rays: Rays, size: float) -> Bones:
    """Find the bones of a skeleton in a mesh of the given size (diagonal, metres).

    A joint owns the segments to its children. Where the joints agree on the axis that looks along
    their bones, a joint with no child, or with several of which none is straight ahead, owns a bone
    along that axis to the next joint or to where the mesh ends; without such an axis the bone
    before it is continued. A root that only stands on the ground and joints that only mark an end own none.
    """
    shape = _Shape(skeleton, rays, size)
    rows = []
    idle = _idle_joints(skeleton)
    for joint in np.flatnonzero(~idle).tolist():
        rows += [(skeleton.heads[joint], tip, joint) for tip in shape.tips(joint)]
    start, end, owner = zip(*rows, strict=True)
    node = group_places(np.array([*start, *end]), max(_SHORT * size, 1e-300))
    starts, ends = np.array(start), np.array(end)
    radius = np.array([_radius(one, other, rays) for one, other in zip(starts, ends, strict=True)])
    return Bones(starts, ends, np.array(owner, np.int64), node[: len(rows)], node[len(rows) :], radius)


def _radius(start: Place, end: Place, rays: Rays) -> float:
    """Return the median way out across a bone."""
    along = end - start
    length = float(np.linalg.norm(along))
    if length <= 0.0:
        return np.inf
    side = np.cross(along / length, np.eye(3)[np.argmin(np.abs(along))])
    side /= np.linalg.norm(side)
    angle = np.arange(_AROUND) * 2 * np.pi / _AROUND
    around = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(along / length, side)
    stations = start + np.array(_STATIONS)[:, None] * along
    distance, sign = rays.first_hit(
        np.repeat(stations, _AROUND, axis=0), np.tile(around, (len(_STATIONS), 1))
    )
    out = distance[sign > 0]
    return float(np.median(out)) if 2 * len(out) > len(distance) else np.inf


class _Shape:
    """What the bones of one skeleton have in common."""

    def __init__(self, skeleton: Skeleton, rays: Rays, size: float) -> None:
        self._heads = skeleton.heads
        self._parents = skeleton.parents.tolist()
        self._rays = rays
        self._short = _SHORT * size
        self._beside = _NEAR_LINE * size
        self._children: list[list[int]] = [[] for _ in self._parents]
        for joint, parent in enumerate(self._parents):
            if parent >= 0 and self._length(parent, joint) > self._short:
                self._children[parent].append(joint)
        self._axis = self._common_axis(skeleton)
        self._rest = skeleton.rest

    def tips(self, joint: int) -> list[Place]:
        """Return where the bones of a joint end: one place or more."""
        below = self._children[joint]
        ahead = self._direction(joint)
        straight = [child for child in below if ahead is None or self._cosine(joint, child, ahead) > _ALIGNED]
        if ahead is not None and len(below) != 1:
            below = straight
        if not below:
            return [self._free_tip(joint, ahead)]
        return [self._heads[child] for child in below]

    def _length(self, one: int, other: int) -> float:
        return float(np.linalg.norm(self._heads[other] - self._heads[one]))

    def _cosine(self, joint: int, child: int, unit: Place) -> float:
        return float((self._heads[child] - self._heads[joint]) @ unit) / self._length(joint, child)

    def _common_axis(self, skeleton: Skeleton) -> Place | None:
        """Find the signed local axis along which nearly all bones lie, if there is one."""
        local = [
            skeleton.rest[joint, :3, :3].T @ (self._heads[below[0]] - self._heads[joint])
            for joint, below in enumerate(self._children)
            if joint and len(below) == 1
        ]
        if len(local) < 3:
            return None
        units = np.array(local) / np.linalg.norm(local, axis=1, keepdims=True)
        for axis in np.concatenate([np.eye(3), -np.eye(3)]):
            if (units @ axis > _ALIGNED).mean() >= _AXIS_SHARE:
                return np.asarray(axis)
        return None

    def _direction(self, joint: int) -> Place | None:
        return None if self._axis is None else np.asarray(self._rest[joint, :3, :3] @ self._axis)

    def _free_tip(self, joint: int, ahead: Place | None) -> Place:
        """End a bone that has no joint straight ahead."""
        head = self._heads[joint]
        before = self._way_before(joint)
        length = float(np.linalg.norm(before))
        if ahead is None:
            if length <= self._short:
                return np.asarray(head)
            ahead = before / length
        reach = self._rays.way_out(head, ahead)
        if reach is None:
            return np.asarray(head + 0.5 * length * ahead)
        way = self._heads - head
        along = way @ ahead
        beside = np.linalg.norm(way - along[:, None] * ahead, axis=1)
        near = beside < np.maximum(_NEAR_RAY * along, np.minimum(self._beside, 2.0 * along))
        stops = along[(along > self._short) & near]
        return np.asarray(head + ahead * min(_REACH * reach, float(stops.min(initial=np.inf))))

    def _way_before(self, joint: int) -> Place:
        """Return the way from the nearest joint above that lies elsewhere; zero where there is none."""
        above = self._parents[joint]
        while above >= 0 and self._length(above, joint) <= self._short:
            above = self._parents[above]
        return np.asarray(self._heads[joint] - self._heads[above]) if above >= 0 else np.zeros(3)


def _idle_joints(skeleton: Skeleton) -> NDArray[np.bool_]:
    """Mark the joints ``(j,)`` that own no bone; one at least is left."""
    names = [name.rsplit(":", 1)[-1].lower() for name in skeleton.names]
    last = ~np.isin(np.arange(len(names)), skeleton.parents)
    idle = last & np.array([name.endswith(_END_NAMES) for name in names])
    idle[0] = _is_ground(skeleton)
    return idle if not idle.all() else np.zeros(len(names), dtype=bool)


def _is_ground(skeleton: Skeleton) -> bool:
    """Tell whether joint 0 is only a place on the ground: never what moves flesh."""
    if len(skeleton.names) == 1:
        return False
    first, *others = (name.rsplit(":", 1)[-1].lower().strip("_") for name in skeleton.names)
    hips_below = any(word in name for name in others for word in _HIPS)
    return first in _GROUND_NAMES or (hips_below and not any(word in first for word in _HIPS))
