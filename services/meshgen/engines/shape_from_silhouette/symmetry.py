"""Place the mirror plane where the mirrored solid stays best within the picture's outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.body import Body, Plane, inside_cone

_SHIFTS = np.linspace(-0.12, 0.12, 13)
"""Offsets tried around the first guess, as shares of the longest side."""
_SHIFT_COST = 0.5
"""How much better the fit must be for a unit of shift."""
_BELIEVED = 0.6
"""Share of the mirrored solid inside the outline below which the plane is not believed."""
_LAYERS = (-0.9, -0.45, 0.0, 0.45, 0.9)


def fit_mirror(body: Body, guess: Plane) -> Plane | None:
    """Return the plane parallel to ``guess`` that fits best, or None when none fits."""
    points, weight = _samples(body)
    away = points @ guess.normal
    offsets = guess.offset + _SHIFTS
    fits = []
    for offset in offsets:
        image = points - 2.0 * (away - offset)[:, None] * guess.normal
        fits.append(float((inside_cone(body.silhouette, image) * weight).sum() / weight.sum()))
    best = int(np.argmax(np.array(fits) - _SHIFT_COST * np.abs(_SHIFTS)))
    # A fit that still grows at the last offset tried is none.
    if best in (0, len(fits) - 1):
        return None
    return Plane(guess.normal, float(offsets[best])) if fits[best] >= _BELIEVED else None


def _samples(body: Body) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points throughout the solid ``(n, 3)`` and the volume each stands for."""
    silhouette = body.silhouette
    x, y = np.meshgrid(silhouette.x, silhouette.y, indexing="ij")
    places, weights = [], []
    for sheet in body.sheets:
        inside = sheet.squared > 0
        half = np.sqrt(sheet.squared[inside])
        for layer in _LAYERS:
            places.append(np.stack([x[inside], y[inside], sheet.middle[inside] + layer * half], axis=1))
            weights.append(half)
    return np.concatenate(places), np.concatenate(weights)
