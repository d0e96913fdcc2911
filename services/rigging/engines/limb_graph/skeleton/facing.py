"""Which way a body on two legs looks: its feet point there."""

from __future__ import annotations

import numpy as np

from services.rigging.engines.limb_graph.skeleton.arms import SIGN
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.humanoid_landmarks import Landmarks
from services.rigging.engines.limb_graph.skeleton.slices import Piece

_SURE = 0.012
"""Of the height: feet that reach forward by less say nothing."""


def toes_forward(body: Body, marks: Landmarks) -> float:
    """Return how far the feet reach before the shins, as a share of the height; negative is behind.

    The middle of the lowest cuts is held against the shins' and the tips of the feet against the
    trunk's.
    """
    tall = marks.crotch - body.ground
    foot_layers = range(body.column(1, body.ground) + 1, body.column(1, body.ground + 0.05 * body.height) + 1)
    shin_layers = range(
        body.column(1, body.ground + 0.3 * tall), body.column(1, body.ground + 0.5 * tall) + 1
    )
    ahead = []
    for sign in SIGN.values():
        feet = _depths(marks.slices, foot_layers, sign)
        shins = _depths(marks.slices, shin_layers, sign)
        if feet and shins:
            ahead.append(np.mean(feet) - np.mean(shins))
    cue = float(np.mean(ahead)) if ahead else 0.0
    if marks.feet is not None:
        cue = cue / 2 + float(marks.feet.tip[2] - marks.depth(body, marks.crotch)) / 4
    return cue / body.height


def looks_forward(cue: float) -> bool | None:
    """Tell whether the body looks along +Z, or None when its feet do not say."""
    return None if abs(cue) < _SURE else cue > 0


def _depths(slices: list[list[Piece]], layers: range, sign: float) -> list[float]:
    """Return the middles, front to back, of the largest piece on one side in each layer."""
    found = []
    for layer in layers:
        ours = [piece for piece in slices[layer] if piece.middle[0] * sign > 0 and not piece.central]
        if ours:
            found.append(float((ours[0].low[1] + ours[0].high[1]) / 2))
    return found
