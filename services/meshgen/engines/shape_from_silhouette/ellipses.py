"""Level circles seen from above: how well a picture draws an ellipse, and where the object is around it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.framing import framed
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette

Values = NDArray[np.float64]

SIDE = 192
"""Longest side of the object at which ellipses are looked for, pixels."""
EDGE = 5.0
"""Slope in Lab per pixel at which half an edge is believed."""
RING = 0.5
"""Share of an edge that a ring within the rim must draw."""
PHASES = np.radians(np.arange(0.0, 360.0, 7.5) + 3.75)
"""Places round an ellipse, from the right over the far side."""
FAR_HALF = np.sin(PHASES) > 0
MIDDLE_NEAR = np.radians(np.arange(222.5, 320.0, 7.5))
_FLAT = 1.0
"""Least half axis, pixels."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """The object as ellipses are looked for: ``edges (h, w, 3)`` are xx, xy and yy of the slopes, y down."""

    edges: Values
    inside: NDArray[np.bool_]
    lab: Values

    def drawn(self, ellipses: Values, phases: Values, reach: tuple[float, ...]) -> Values:
        """Return how surely an edge runs along ``ellipses (n, 4)`` at ``phases (k,)``: 0–1, ``(n, k)``.

        An ellipse is x and y of its middle and its half axes. It may be off by ``reach`` pixels.
        """
        steep = self.steepness(ellipses, phases, reach)
        return np.asarray(steep / (steep + EDGE**2))

    def steepness(self, ellipses: Values, phases: Values, reach: tuple[float, ...]) -> Values:
        """Return the squared slope across ``ellipses``, the largest within ``reach``."""
        half = np.maximum(ellipses[:, 2:4], _FLAT)
        across, upright = np.cos(phases) / half[:, 0:1], np.sin(phases) / half[:, 1:2]
        length = np.hypot(across, upright)
        across, upright = across / length, upright / length
        best = np.zeros_like(across)
        for off in reach:
            x = ellipses[:, 0:1] + ellipses[:, 2:3] * np.cos(phases) + off * across
            y = ellipses[:, 1:2] - ellipses[:, 3:4] * np.sin(phases) - off * upright
            xx, xy, yy = np.moveaxis(_look_up(self.edges, x, y), -1, 0)
            # The picture's y runs down, the normal's up.
            best = np.maximum(best, xx * across**2 - 2.0 * xy * across * upright + yy * upright**2)
        return best

    def covered(self, ellipses: Values, phases: Values, beyond: float) -> Values:
        """Tell where the object is ``beyond`` the ellipses, a share of the half width: 0–1 ``(n, k)``."""
        grown = ellipses[:, 2:4] + beyond * ellipses[:, 2:3]
        x = ellipses[:, 0:1] + grown[:, 0:1] * np.cos(phases)
        y = ellipses[:, 1:2] - grown[:, 1:2] * np.sin(phases)
        return _look_up(self.inside.astype(np.float64)[..., None], x, y)[..., 0]


def draw(rgb: NDArray[np.uint8], alpha: NDArray[np.float32], silhouette: Silhouette) -> Drawing:
    """Bring the object to the middle of a square and find its edges."""
    lab, share = framed(rgb, alpha, silhouette, SIDE)
    bands = np.concatenate([lab, 100.0 * share[..., None]], axis=2)
    across, down = (
        np.stack([cv2.Scharr(bands[..., k], cv2.CV_64F, *axis) for k in range(4)], axis=2) / 32.0
        for axis in ((1, 0), (0, 1))
    )
    tensor = np.stack(
        [(one * two).sum(axis=2) for one, two in ((across, across), (across, down), (down, down))], axis=2
    )
    return Drawing(np.asarray(cv2.GaussianBlur(tensor, (0, 0), 0.7)), share > 0.5, lab)


def _look_up(image: Values, x: Values, y: Values) -> Values:
    """Return the nearest pixel's values ``(..., bands)``."""
    column = np.clip(np.rint(x).astype(np.int64), 0, image.shape[1] - 1)
    row = np.clip(np.rint(y).astype(np.int64), 0, image.shape[0] - 1)
    return np.asarray(image[row, column])
