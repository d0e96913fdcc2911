"""Find the landmarks of a body on two legs: hands, feet, shoulders, crotch and neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.arms import HANGING, Arms, find_arms, root_height
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import PoseEstimationFailed
from services.rigging.engines.limb_graph.skeleton.hidden_arms import SHOULDER
from services.rigging.engines.limb_graph.skeleton.pairs import LimbGraph, Pair
from services.rigging.engines.limb_graph.skeleton.slices import Piece, central_piece, layers

_ON_GROUND = 0.14
"""Of the height: tips below stand on the ground."""
_DEPTH_SPAN = 0.04
_SECOND_PAIR = 0.6
"""A second pair on the ground this long, against the first, makes four legs."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Heights and widths of a body on two legs, in its own space.

    ``crotch`` is a guess by proportion where the legs cannot be told apart (``legs_apart``).
    ``neck`` is the narrowest height between shoulders and head.
    """

    arms: Arms
    feet: Pair | None
    legs_apart: bool
    crotch: float
    shoulder_height: float
    shoulder_reach: float
    armpit_reach: float
    neck: float
    neck_width: float
    head_width: float
    slices: list[list[Piece]]

    def depth(self, body: Body, height: float) -> float:
        """Return the middle of the trunk from front to back at a height.

        Below the crotch nothing is trunk, and a cape that crosses the middle alone is none either.
        """
        span = max(1, round(_DEPTH_SPAN * body.height / body.cell))
        first, last = body.column(1, self.crotch) + 1, body.column(1, self.neck)
        trunk = [central_piece(pieces) for pieces in self.slices[first : last + 1]]
        least = 0.4 * max((piece.area for piece in trunk if piece is not None), default=0.0)
        whole = [
            (first + number, piece.depth)
            for number, piece in enumerate(trunk)
            if piece is not None and piece.area >= least
        ]
        if not whole:
            return float((body.low[2] + body.high[2]) / 2)
        layer = np.clip(body.column(1, height), whole[0][0], whole[-1][0])
        near = [depth for at, depth in whole if abs(at - layer) <= span]
        return float(np.median(near or [depth for _, depth in whole]))


def find_landmarks(body: Body, graph: LimbGraph, pairs: list[Pair]) -> Landmarks:
    """Find the landmarks or raise :class:`PoseEstimationFailed` with what is missing."""
    feet = _feet(body, graph, pairs)
    arms = find_arms(body, graph, pairs, feet)
    armpit_height, armpit = _armpits(arms)
    radius = (arms.left.radius + arms.right.radius) / 2
    slices = layers(body)
    neck, neck_width, head_width = _neck(body, slices, armpit_height + 0.3 * radius)
    crotch = _crotch(body, slices)
    apart = crotch is not None
    if crotch is None:
        share = (neck - body.ground) / body.height
        crotch = body.ground + body.height * (0.47 if share > 0.7 else 0.3 * share)
    height, reach = armpit_height, max(armpit - 0.35 * radius, 0.3 * armpit)
    if np.mean([abs(arm.slope) for arm in arms.both]) > HANGING:
        wanted = crotch + SHOULDER * (neck - crotch)
        ends = np.array([arm.shoulder(wanted) for arm in arms.both])
        height, reach = float(ends[:, 1].mean()), float(np.abs(ends[:, 0]).mean())
    return Landmarks(arms, feet, apart, crotch, height, reach, armpit, neck, neck_width, head_width, slices)


def _armpits(arms: Arms) -> tuple[float, float]:
    """Return the mean height of the arms where they leave the trunk and how far out that is."""
    height = float(np.mean([arm.trace.line[max(arm.root - 1, 0)][1] for arm in arms.both]))
    reach = [abs(arm.trace.line[min(arm.root + 1, len(arm.trace.line) - 1)][0]) for arm in arms.both]
    return height, float(np.mean(reach))


def _feet(body: Body, graph: LimbGraph, pairs: list[Pair]) -> Pair | None:
    """Return the pair of legs that stands on the ground; four legs are refused.

    Of pairs side by side the one that grows from lower down are the legs: the other are long arms.
    """
    limit = body.ground + _ON_GROUND * body.height
    standing = [pair for pair in pairs if max(pair.left.tip[1], pair.right.tip[1]) <= limit]
    standing.sort(key=lambda pair: -pair.length)
    if not standing:
        return None
    feet = standing[0]
    for other in standing[1:]:
        if other.length < _SECOND_PAIR * feet.length:
            continue
        if abs(other.tip[2] - feet.tip[2]) > 0.15 * body.size:
            raise PoseEstimationFailed("it stands on four legs or more, a humanoid on two")
        roots = [
            min(root_height(graph, limb, pair.length) for limb in (pair.left, pair.right))
            for pair in (feet, other)
        ]
        if abs(roots[0] - roots[1]) < 0.1 * body.height:
            raise PoseEstimationFailed("it stands on more than two legs side by side")
        feet = feet if roots[0] < roots[1] else other
    return feet


def _neck(body: Body, slices: list[list[Piece]], above: float) -> tuple[float, float, float]:
    """Return height and width of the narrowest cut between shoulders and head, and the head's width."""
    rows = [
        (layer, piece.width)
        for layer in range(body.column(1, above) + 1, len(slices))
        if (piece := central_piece(slices[layer])) is not None
    ]
    if not rows:
        return above, 1.0, 1.0
    width = ndimage.uniform_filter1d(np.array([row[1] for row in rows]), 3)
    lowest = int(width[: max(3, len(rows) // 2)].argmin())
    return body.coordinate(1, rows[lowest][0]), float(width[lowest]), float(width[lowest:].max())


def _crotch(body: Body, slices: list[list[Piece]]) -> float | None:
    """Return the height up to which two legs stand apart, None where they cannot be told apart."""
    first, last = body.column(1, body.ground), body.column(1, body.high[1])
    tall = last - first + 1
    found = None
    for layer in range(first + max(2, int(0.02 * tall)), first + int(0.62 * tall)):
        sides = {
            np.sign(piece.middle[0]) for piece in slices[layer] if abs(piece.middle[0]) > 0.015 * body.size
        }
        if {1.0, -1.0} <= sides and central_piece(slices[layer]) is None:
            found = layer
    if found is None or found - first <= 0.06 * tall:
        return None
    return body.coordinate(1, found)
