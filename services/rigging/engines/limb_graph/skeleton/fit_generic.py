"""Fit a skeleton of no template: the curve skeleton itself, cut into as many bones as wished."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.checks import Evidence
from services.rigging.engines.limb_graph.skeleton.fit_humanoid import Fit
from services.rigging.engines.limb_graph.skeleton.fitted import Pose, PoseEstimationFailed, Vectors
from services.rigging.engines.limb_graph.skeleton.limb_graph import Limb
from services.rigging.engines.limb_graph.skeleton.pairs import LimbGraph, limb_graph
from services.rigging.engines.limb_graph.skeleton.templates import ROOT, Joint, Pole

FEWEST_BONES = 2
MOST_BONES = 256
_BONE = 0.09
"""Of the size: bones are about this long when no count is asked for."""
_LIMB = 0.08
"""Of the size: shorter limbs get no bone of their own unless a count leaves room for them."""
_SIDE_LIMB = 0.3
"""Limbs shorter than this share of the longest leave the body a chain."""
_ROUND = 1.35
"""Longest limb over the depth of the body; less is a ball. Twice as much or less, without other limbs,
is a box."""
_MOST_LINKS = 24
_PLAIN = Pose("other", float("nan"))


@dataclass(frozen=True, slots=True)
class _Branch:
    """A limb as a line ``(n, 3)`` from where it grows to its tip.

    It grows from ``parent``, -1 for the first, at the distance ``start`` along the parent's line.
    """

    line: Vectors
    arc: Vectors
    parent: int
    start: float

    @property
    def length(self) -> float:
        """How long the line is."""
        return float(self.arc[-1])

    def at(self, arc: float) -> Vectors:
        """Return the point ``(3,)`` at a distance from where the limb grows."""
        return np.array([np.interp(arc, self.arc, self.line[:, axis]) for axis in range(3)])


def fit_generic(body: Body, bone_count: int | None = None) -> Fit:
    """Lay bones along the curve skeleton of any body that has limbs or a length.

    ``bone_count`` counts all joints, the root included; limbs are left out from the shortest up where
    they are more than it allows. Raises :class:`PoseEstimationFailed` for a body too round for bones.
    """
    if bone_count is not None and not FEWEST_BONES <= bone_count <= MOST_BONES:
        raise PoseEstimationFailed(f"a skeleton has {FEWEST_BONES} to {MOST_BONES} bones")
    graph = limb_graph(body)
    limbs = sorted(graph.limbs, key=lambda limb: -limb.length)
    _refuse_round(body, limbs)
    large = [limb for limb in limbs if limb.length >= _SIDE_LIMB * limbs[0].length]
    if len(large) <= 2 or bone_count == FEWEST_BONES:
        others = [limb for limb in limbs[1:] if limb.attach in limbs[0].path]
        others.sort(key=lambda limb: -float(np.linalg.norm(limb.tip - limbs[0].tip)))
        return _chain(body, graph, [limbs[0], *others[:1]], bone_count)
    if bone_count is None:
        limbs = [limb for limb in limbs if limb.length >= _LIMB * body.size]
    else:
        limbs = limbs[: bone_count - 2]
    return _tree(body, _branches(graph, limbs), bone_count)


def _refuse_round(body: Body, limbs: list[Limb]) -> None:
    """Refuse balls and boxes: as long as wide, and nothing sticks out."""
    depth = float(ndimage.distance_transform_edt(np.pad(body.occupied, 1)).max()) * body.cell
    if not limbs or limbs[0].length < _ROUND * depth:
        raise PoseEstimationFailed("it is round: nothing sticks out that could be a limb")
    if all(limb.length < depth for limb in limbs[1:]) and limbs[0].length < 2 * _ROUND * depth:
        raise PoseEstimationFailed("it is as wide as it is long and has no limbs")


def _branches(graph: LimbGraph, limbs: list[Limb]) -> list[_Branch]:
    """Lay a line along each limb, the longest first, and find where on which other it grows."""
    centre = graph.sets.centre
    owner = {node: index for index, limb in enumerate(limbs) for node in limb.path}
    branches: list[_Branch] = []
    for limb in limbs:
        line = _smooth(centre[list(limb.path[::-1])])
        arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        parent = owner[limb.attach] if limb.attach >= 0 else -1
        start = 0.0
        if parent >= 0:
            inner = limbs[parent].path[::-1]
            start = float(branches[parent].arc[inner.index(limb.attach)])
        branches.append(_Branch(line, arc, parent, start))
    return branches


def _smooth(line: Vectors) -> Vectors:
    """Even out the steps of a line; its ends stay."""
    if len(line) < 4:
        return line
    even = ndimage.uniform_filter1d(line, 5, axis=0, mode="nearest")
    even[0], even[-1] = line[0], line[-1]
    return np.asarray(even)


def _chain(body: Body, graph: LimbGraph, limbs: list[Limb], bone_count: int | None) -> Fit:
    """Lay bones along a body that is one line, from its thicker end."""
    centre = graph.sets.centre
    nodes = list(limbs[0].path)
    if len(limbs) == 2 and limbs[1].attach in nodes:
        nodes = nodes[: nodes.index(limbs[1].attach) + 1] + list(limbs[1].path[::-1])
    half = len(nodes) // 2
    if graph.sets.size[nodes[:half]].sum() < graph.sets.size[nodes[half:]].sum():
        nodes.reverse()
    line = _smooth(centre[nodes])
    arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    branch = _Branch(line, arc, -1, 0.0)
    count = (
        bone_count - 1
        if bone_count
        else int(np.clip(round(branch.length / (1.4 * _BONE * body.size)), 3, _MOST_LINKS))
    )
    table = [Joint(ROOT, "")]
    joints = {}
    for number in range(count):
        name = f"chain{number + 1}"
        table.append(Joint(name, table[-1].name, Pole.UP))
        joints[name] = branch.at(branch.length * number / count)
    evidence = Evidence()
    evidence.weigh(0.8, "the body is one line without large limbs")
    return Fit(body, "chain", tuple(table), joints, {f"chain{count}": line[-1]}, _PLAIN, evidence)


def _tree(body: Body, branches: list[_Branch], bone_count: int | None) -> Fit:
    """Lay bones along every limb; the body's own joint lies where the first limb begins."""
    counts = _shares(body, branches, bone_count)
    table = [Joint(ROOT, ""), Joint("body", ROOT, Pole.UP)]
    joints, ends = {"body": branches[0].at(0.0)}, {}
    placed: list[list[tuple[float, str]]] = []
    for index, (branch, count) in enumerate(zip(branches, counts, strict=True)):
        shift = 1 if branch.parent < 0 else 0
        reaches = [branch.length * (number + shift) / (count + shift) for number in range(count)]
        parent = _joint_before(branches, placed, branch)
        placed.append([])
        for number, reach in enumerate(reaches, 1):
            name = f"limb{index + 1}_{number}"
            table.append(Joint(name, parent, Pole.UP, branch=number == 1 and index > 0))
            joints[name] = branch.at(reach)
            placed[index].append((reach, name))
            parent = name
        ends[parent] = branch.line[-1]
    evidence = Evidence()
    evidence.weigh(0.8, f"the curve skeleton has {len(branches)} limbs")
    return Fit(body, "generic", tuple(table), joints, ends, _PLAIN, evidence)


def _joint_before(branches: list[_Branch], placed: list[list[tuple[float, str]]], branch: _Branch) -> str:
    """Return the last joint at or before the place a limb grows from."""
    while branch.parent >= 0:
        before = [name for reach, name in placed[branch.parent] if reach <= branch.start]
        if before:
            return before[-1]
        branch = branches[branch.parent]
    return "body"


def _shares(body: Body, branches: list[_Branch], bone_count: int | None) -> list[int]:
    """Deal the bones out to the limbs by length, one each at least (largest remainder)."""
    lengths = np.array([branch.length for branch in branches])
    if bone_count is None:
        return [max(1, round(length / (_BONE * body.size))) for length in lengths]
    spare = bone_count - 2 - len(branches)
    exact = spare * lengths / max(float(lengths.sum()), 1e-12)
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: spare - int(counts.sum())]:
        counts[index] += 1
    return [1 + int(count) for count in counts]
