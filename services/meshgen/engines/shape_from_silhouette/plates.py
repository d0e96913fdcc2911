"""A plate below a round thing, and the wall of what stands on it."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.ellipses import EDGE, MIDDLE_NEAR, PHASES, Drawing

Values = NDArray[np.float64]

PLATE_DEPTH = 0.12
"""How far the middle of a plate lies below its edge, as a share of its radius."""
_WIDER = 1.2
"""Radius of a plate at least, as a multiple of the rim's."""
_PLATE = 0.6
"""Share of its edge that the outline must follow where nothing stands before it."""
_FEET, _BULGES = np.linspace(0.4, 0.95, 12), (0.4, 0.6, 1.0, 1.6)
"""Feet and bulges of a wall that are tried."""
_CONTOUR = np.radians([0.0, 180.0])


def plate_edge(drawing: Drawing, rim: Values) -> Values | None:
    """Return the edge of a plate: a circle wider than the rim that the outline follows below and beside."""
    sine = rim[3] / rim[2]
    columns = np.flatnonzero(drawing.inside.any(axis=0))
    lowest = int(np.flatnonzero(drawing.inside.any(axis=1))[-1])
    middle, half = (columns[0] + columns[-1]) / 2, (columns[-1] - columns[0] + 1) / 2
    if half < _WIDER * rim[2]:
        return None
    tried = np.array(
        [
            (middle + aside, lowest + 0.5 - k * half * sine + down, k * half, k * half * sine)
            for k in (0.94, 0.96, 0.98, 1.0)
            for aside in (-2.0, 0.0, 2.0)
            for down in np.arange(-8.0, 3.0)
        ]
    )
    drawn = drawing.drawn(tried, PHASES, (-1.5, 0.0, 1.5))
    free = drawing.covered(tried, PHASES, 0.06) < 0.5
    x = tried[:, 0:1] + tried[:, 2:3] * np.cos(PHASES)
    y = tried[:, 1:2] - tried[:, 3:4] * np.sin(PHASES)
    hidden = (np.abs(x - rim[0]) < 1.1 * rim[2]) & (y < tried[:, 1:2])
    rated = np.where(hidden, 0.0, drawn * free).sum(axis=1) / np.maximum((~hidden).sum(axis=1), 1)
    best = int(rated.argmax())
    return tried[best] if rated[best] > _PLATE else None


def fit_wall(drawing: Drawing, rim: Values, plate: Values) -> tuple[float, float]:
    """Return foot and bulge of the wall whose outline before the plate is drawn best."""
    sine = float(rim[3] / rim[2])
    cosine = float(np.sqrt(1.0 - sine**2))
    low = float(plate[1]) + PLATE_DEPTH * float(plate[2]) * cosine
    share = np.linspace(0.1, 0.9, 24)
    best, chosen = -1.0, (1.0, 1.0)
    for foot, bulge in product(_FEET, _BULGES):
        radius = rim[2] * (foot + (1.0 - foot) * share**bulge)
        y = low + (rim[1] - low) * share
        ring = np.stack([np.full_like(y, rim[0]), y, radius, radius * sine], axis=1)
        drawn = np.sqrt(drawing.steepness(ring, _CONTOUR, (-0.7, 0.0, 0.7)))
        base = np.array([[rim[0], low, rim[2] * foot, rim[2] * foot * sine]])
        below = np.sqrt(drawing.steepness(base, MIDDLE_NEAR, (-0.7, 0.0, 0.7)))
        # A handle or a spoon may hide one side.
        rated = float(np.minimum(drawn, EDGE).mean(axis=0).sum() + np.minimum(below, EDGE).mean())
        if rated > best:
            best, chosen = rated, (float(foot), float(bulge))
    return chosen
