"""Parts that hang on a narrow joint beside the body: wings, fins, sails and hands are flat."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette

_BROAD = 0.35
"""Radius of the discs that make out the parts, as a share of the largest in the outline."""
_JOINTS = np.linspace(0.95, 0.05, 19)
"""Widths of a joint that are told apart, as shares of the part's."""
_FLATTEST = 0.35
_BESIDE = 0.18
"""Distance of a part's middle from the body's, as a share of the width, from which on it is beside it."""
_STANDING = 0.1
"""Share of the height below which a part stands on the ground and so carries: it keeps its thickness."""
_SOFT = 0.015
"""Share of the longest side over which one thickness goes over into the other."""


def flatness(silhouette: Silhouette) -> Field:
    """Return factors on the thickness, 1 for the body and for limbs, less for what is flat.

    A head may sit on a thin neck, but what spreads to the side from a joint much narrower than
    itself would be too heavy for it if it were round.
    """
    signed, inside = silhouette.signed, silhouette.inside
    factor = np.ones_like(signed)
    largest = float(signed.max())
    labels, count = ndimage.label(_opened(signed, _BROAD * largest) & inside)
    body = int(np.argmax(ndimage.maximum(signed, labels, np.arange(1, count + 1)))) + 1 if count else 0
    middle = _axis(silhouette)
    for number in range(1, count + 1):
        part = labels == number
        if number == body or not _is_beside(silhouette, part, middle):
            continue
        radius = float(signed[part].max())
        joint = _joint(signed, part, labels == body, radius)
        share = max(joint / radius, _FLATTEST)
        around = ndimage.binary_dilation(part, iterations=max(int(radius / 3), 1))
        factor[around & (labels != body)] = share
    return np.asarray(ndimage.gaussian_filter(factor, _SOFT / silhouette.cell))


def _opened(signed: Field, radius: float) -> Mask:
    """Return what discs of a radius inside the outline cover."""
    outside = (signed < radius).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) < radius)


def _axis(silhouette: Silhouette) -> float:
    """Return where the thick of the object is, from left to right."""
    weight = np.maximum(silhouette.signed, 0.0) ** 2
    return float((weight * silhouette.x[:, None]).sum() / weight.sum())


def _is_beside(silhouette: Silhouette, part: Mask, middle: float) -> bool:
    columns, rows = np.nonzero(part)
    width, height = silhouette.extent
    beside = abs(float(silhouette.x[columns].mean()) - middle) > _BESIDE * width
    stands = silhouette.y[rows.min()] < -height / 2 + _STANDING * height
    return beside and not stands


def _joint(signed: Field, part: Mask, body: Mask, radius: float) -> float:
    """Return half the width of the narrowest place on the widest way from a part to the body."""
    for share in _JOINTS:
        regions, _ = ndimage.label(signed > share * radius)
        ours, theirs = np.unique(regions[part]), np.unique(regions[body])
        common = np.intersect1d(ours, theirs)
        if (common > 0).any():
            return float(share * radius)
    return float(_JOINTS[-1] * radius)
