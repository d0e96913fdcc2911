"""Place the mirror plane where the mirrored solid stays best within the picture's outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.body import Body, Plane, Sheet, inside_cone, reflect
from services.meshgen.engines.shape_from_silhouette.legs import part_distance
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette
from services.meshgen.engines.shape_from_silhouette.thickness import local_radius

_SHIFTS = np.linspace(-0.12, 0.12, 13)
"""Offsets tried around the first guess, as shares of the longest side."""
_SHIFT_COST = 0.5
"""How much better the fit must be for a unit of shift."""
_BELIEVED = 0.6
"""Share of the mirrored solid inside the outline below which the plane is not believed."""
_THIN = 0.5
"""Local radius as a share of the largest below which a part is a limb."""
_PAIRED = 0.5
"""Share of a limb's mirror image inside the outline from which on the limb has a twin."""
_CALM = 0.03
"""Share of the longest side over which the fit of the body's mirror image is averaged."""
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


def paired(silhouette: Silhouette, sheet: Sheet, mirror: Plane) -> Sheet:
    """Return what of a sheet has a mirror image: all but the limbs whose image leaves the outline.

    Of those the outline would leave shards.
    """
    inside = sheet.squared > 0
    x, y = np.meshgrid(silhouette.x, silhouette.y, indexing="ij")
    half = np.sqrt(sheet.squared[inside])
    fit = np.zeros(inside.shape)
    for layer in _LAYERS:
        points = np.stack([x[inside], y[inside], sheet.middle[inside] + layer * half], axis=1)
        fit[inside] += inside_cone(silhouette, reflect(points, mirror)) / len(_LAYERS)
    radius = local_radius(silhouette)
    limbs, count = ndimage.label(silhouette.inside & (radius < _THIN * radius.max()))
    numbers = np.arange(1, count + 1)
    share = np.asarray(ndimage.mean(fit, limbs, numbers)) if count else np.zeros(0)
    alone = np.isin(limbs, numbers[share < _PAIRED])
    calm = ndimage.gaussian_filter(np.where(inside, fit, 0.0), _CALM / silhouette.cell)
    weight = ndimage.gaussian_filter(inside.astype(np.float64), _CALM / silhouette.cell)
    alone |= silhouette.inside & (limbs == 0) & (calm < _PAIRED * weight)
    if not alone.any():
        return sheet
    signed = part_distance(silhouette, silhouette.inside & ~alone)
    limit = 2.0 * float(np.sqrt(sheet.squared.max())) * signed * silhouette.cell
    return Sheet(sheet.middle, np.where(alone, np.minimum(limit, -1e-9), np.minimum(sheet.squared, limit)))


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
