"""Arms that nothing shows, in a robe or close to the body: laid along the outline, by proportion."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.slices import central_piece, layers
from services.rigging.engines.limb_graph.skeleton.trace import Trace

SHOULDER = 0.81
"""Height of a hanging arm's shoulder, of the way from the crotch to the neck."""
_CROTCH = 0.3
"""Of the neck's height: that of a body whose legs nobody sees is not above."""
_NECK_RANGE = (0.35, 0.92)
"""Of the height."""
_NARROW = 1.15
"""Shoulders and head are wider than the neck by more."""
_WIDE = 0.8
"""Width of a trunk over its depth; animals that stand on two legs are deeper."""
_LENGTHS = (0.4, 0.56)
"""From shoulder to finger tips, of the neck's height."""
_INWARD = 0.75
"""Of the half width at the shoulder's height, where the shoulder is."""
_RADIUS = 0.05
"""Of an arm, of the neck's height."""
_OUTERMOST = 0.9
"""Of the widest place: the hands reach down as far as the outline is this wide."""
ARMPIT = 0.85
"""Of the way from the finger tips to the shoulder."""


def hidden_arm(body: Body) -> tuple[Trace, int, float] | None:
    """Return the left arm as a straight trace, the cut of its armpit and its radius.

    The right one is its mirror image. None where the outline is not that of a person: no neck below a
    wider head, or a trunk that is deeper than wide.
    """
    half = _half_widths(body)
    neck = _neck(body)
    if neck is None:
        return None
    tall = neck - body.ground
    crotch = body.ground + _CROTCH * tall
    height = crotch + SHOULDER * (neck - crotch)
    shoulder = np.array([_INWARD * half[body.column(1, height)], height, 0.0])
    tip = _tip(body, half, height, tall)
    radius = _RADIUS * tall
    shoulder[2], tip[2] = _depth(body, height, 0.0), _depth(body, float(tip[1]), 0.7 * float(tip[0]))
    if tip[0] < radius:
        return None
    count = max(8, round(float(np.linalg.norm(shoulder - tip)) / body.cell))
    line = tip + np.linspace(0.0, 1.0, count)[:, None] * (shoulder - tip)
    arc = np.linspace(0.0, float(np.linalg.norm(shoulder - tip)), count)
    trace = Trace(line, np.full(count, np.pi * radius**2), arc)
    return trace, trace.index(ARMPIT * float(arc[-1])), radius


def _half_widths(body: Body) -> Vectors:
    """Return the half width of each layer, of the narrower side: what one hand holds does not count."""
    across = body.origin[0] + (np.arange(body.occupied.shape[0]) + 0.5) * body.cell
    seen = body.occupied.any(axis=2).T
    right, left = np.where(seen, -across, 0.0).max(axis=1), np.where(seen, across, 0.0).max(axis=1)
    return np.asarray(ndimage.median_filter(np.minimum(left, right), 3))


def _neck(body: Body) -> float | None:
    """Return the height of the narrowest cut that has wider ones below and above it."""
    slices = layers(body)
    first, last = (body.column(1, body.ground + share * body.height) for share in _NECK_RANGE)
    pieces = [central_piece(pieces) for pieces in slices]
    width = np.array([piece.width if piece else 0.0 for piece in pieces])
    for layer in sorted(range(first, last + 1), key=lambda layer: float(width[layer])):
        if width[layer] <= 0.0:
            continue
        below, above = width[first // 2 : layer], width[layer + 1 :]
        if below.max(initial=0.0) < _NARROW * width[layer] or above.max(initial=0.0) < _NARROW * width[layer]:
            continue
        trunk = [piece for piece in pieces[first:layer] if piece is not None]
        flat = [piece.width / max(float(piece.high[1] - piece.low[1]), 1e-12) for piece in trunk]
        return body.coordinate(1, layer) if flat and float(np.median(flat)) >= _WIDE else None
    return None


def _tip(body: Body, half: Vectors, shoulder: float, tall: float) -> Vectors:
    """Return the finger tips: the lowest place where the outline is still wide, within an arm's reach."""
    low, high = (body.column(1, shoulder - share * tall) for share in reversed(_LENGTHS))
    reach = half[low : body.column(1, shoulder) + 1]
    wide = np.flatnonzero(reach >= _OUTERMOST * reach.max())
    layer = min(low + int(wide[0]), high)
    out = float(half[layer]) - _RADIUS * tall
    return np.array([out, body.coordinate(1, layer), 0.0])


def _depth(body: Body, height: float, beyond: float) -> float:
    """Return the middle from front to back of what lies farther out than ``beyond`` at a height."""
    index = np.argwhere(body.occupied[:, body.column(1, height), :])
    across = np.abs(body.origin[0] + (index[:, 0] + 0.5) * body.cell)
    ours = index[across >= beyond]
    if not len(ours):
        return 0.0
    return body.coordinate(2, float(np.median(ours[:, 1])))
