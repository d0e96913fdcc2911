"""What a rim encloses: the inner edge of the wall, the shading of a hollow, the filling."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.ellipses import FAR_HALF, PHASES, RING, Drawing

Values = NDArray[np.float64]

_INNER = np.linspace(0.72, 1.0, 57)
"""Radii of the inner edge that are looked through, as shares of the outer one."""
_SINKS = (-1.0, 0.0, 1.0, 2.0)
"""Pixels by which the inner edge may lie lower."""
_DIP = 0.75
"""Slope between two edges that are apart, as a share of the inner one's."""
_WITHIN, _BROAD, _SHADED = 0.85, 0.2, 2.5
"""Share of the rim that is looked into, size of what is shading there, and its least spread in Lab."""
_SEEN, _CLEAR = 14, 0.93
"""Places along the far half of a filling that must be seen, and share of the opening clear of its edge."""
_SHARES, _DEPTHS = np.linspace(0.6, 0.98, 20), np.linspace(0.05, 1.2, 47)
"""Radii and depths in the picture of a filling that are tried, as shares of the opening's radius."""
_LOWER = 0.1
"""How much lower than the opening's its far edge must be."""


def inner_edge(drawing: Drawing, rim: Values) -> float:
    """Return the radius of the inner edge of the wall in pixels, 0.0 where none is seen."""
    tried = np.array([(rim[0], rim[1] + down, k * rim[2], k * rim[3]) for k in _INNER for down in _SINKS])
    drawn = drawing.drawn(tried, PHASES, (-0.7, 0.0, 0.7))
    rated = np.minimum(drawn[:, FAR_HALF].mean(axis=1), drawn[:, ~FAR_HALF].mean(axis=1))
    rated = rated.reshape(len(_INNER), len(_SINKS)).max(axis=1)
    slope = np.sqrt(drawing.steepness(tried, PHASES, (0.0,))).mean(axis=1)
    slope = slope.reshape(len(_INNER), len(_SINKS)).max(axis=1)
    # From the outer edge inwards: an edge of its own comes after a dip.
    lowest = np.minimum.accumulate(slope[::-1])[::-1]
    own = np.where((rated > RING) & (lowest < _DIP * slope), slope, 0.0)
    return float(_INNER[int(own.argmax())] * rim[2]) if own.any() else 0.0


def looks_hollow(drawing: Drawing, rim: Values) -> bool:
    """Tell whether what lies within the rim is shaded as a hollow is: broadly, while a lid is lit evenly."""
    y, x = np.indices(drawing.inside.shape)
    disc = np.hypot((x - rim[0]) / rim[2], (y - rim[1]) / rim[3]) < _WITHIN
    weight = disc.astype(np.float64)
    sigma = _BROAD * float(rim[2])
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6)[..., None]
    broad = np.asarray(cv2.GaussianBlur(drawing.lab * weight[..., None], (0, 0), sigma)) / share
    shading, grain = broad[disc].std(axis=0), (drawing.lab - broad)[disc].std(axis=0)
    return bool(np.linalg.norm(shading) > max(_SHADED, float(np.linalg.norm(grain))))


def filling_edge(drawing: Drawing, rim: Values, inner: float) -> Values | None:
    """Return the ellipse at which what is inside meets the wall, None where its far half is not seen."""
    sine = rim[3] / rim[2]
    tried = np.array(
        [
            (rim[0], rim[1] + down * inner, k * inner, k * inner * sine)
            for k in _SHARES
            for down in _DEPTHS
            if down + 1.0 - k > _LOWER
        ]
    )
    phases = np.radians(np.arange(22.5, 160.0, 7.5))
    x = tried[:, 0:1] + tried[:, 2:3] * np.cos(phases)
    y = tried[:, 1:2] - tried[:, 3:4] * np.sin(phases)
    seen = np.hypot((x - rim[0]) / inner, (y - rim[1]) / (inner * sine)) < _CLEAR
    drawn = np.where(seen, drawing.drawn(tried, phases, (-0.7, 0.0, 0.7)), 0.0).sum(axis=1)
    count = seen.sum(axis=1)
    rated = np.where(count >= _SEEN, drawn / np.maximum(count, 1), 0.0)
    best = int((rated * np.sqrt(count)).argmax())
    return tried[best] if rated[best] > RING else None
