"""How much of an outline is straight: what people build has straight edges, what grows has few."""

from __future__ import annotations

import cv2
import numpy as np

from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette

_TOLERANCE = 0.007
"""Distance from a straight line, as a share of the longest side, that still counts as straight."""
_LEAST_LENGTH = 0.14
"""Length of a straight piece from which on it counts."""


def straight_share(silhouette: Silhouette) -> float:
    """Return the share of the outline of the whole object that runs straight for a while, 0–1."""
    inside = silhouette.inside.astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    straight, total = 0.0, 0.0
    for contour in contours:
        corners = cv2.approxPolyDP(contour, _TOLERANCE / silhouette.cell, True)[:, 0].astype(np.float64)
        length = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1) * silhouette.cell
        straight += float(length[length >= _LEAST_LENGTH].sum())
        total += float(length.sum())
    return straight / max(total, 1e-9)
