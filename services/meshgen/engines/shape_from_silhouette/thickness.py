"""How thick a silhouette's parts are: inflated, flat, and by the largest disc through each point."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.poisson import inflate
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Silhouette

_LEVELS = 16
_SOLE_SHARE = 0.025
"""Share of the height over which all that reaches down stands on the ground."""
_MIRRORED_SHARE = 0.25
"""Share of the height that is mirrored below the ground."""
_TAPER_SHARE = 0.18
"""Share of the height over which a body narrows down to its feet."""
_FOOT_GAP = 0.05
"""Share of the width up to which feet side by side count as one."""
_FOOT_DEPTH = 1.35
"""Largest depth of a foot as a multiple of its width."""


def local_radius(silhouette: Silhouette) -> Field:
    """Return the radius of the largest disc inside the outline that holds each node, ``(nx, ny)``.

    The local thickness of Hildebrand and Rüegsegger (1997), smoothed across the joints of
    parts, in units of the longest side.
    """
    signed = silhouette.signed
    inside = silhouette.inside
    radius = np.where(inside, np.maximum(signed, 0.5), 0.0)
    largest = float(signed.max())
    for level in np.geomspace(1.0, largest, _LEVELS):
        core = (signed < level * 0.999).astype(np.uint8)
        near = cv2.distanceTransform(core, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) < level
        radius = np.where(near & inside, np.maximum(radius, level), radius)
    share = inside.astype(np.float64)
    sigma = 0.02 / silhouette.cell
    total = cv2.GaussianBlur(radius * share, (0, 0), sigma)
    smooth = total / np.maximum(cv2.GaussianBlur(share, (0, 0), sigma), 1e-9)
    return np.asarray(np.where(inside, smooth, 0.0) * silhouette.cell)


def squared_thickness(silhouette: Silhouette, signed: Field) -> Field:
    """Return the squared half thickness of an inflated part, continued outside by its slope.

    ``signed (nx, ny)`` is the distance in cells to the edge of the part.
    """
    return _continued(signed, inflate(signed)) * silhouette.cell**2


def standing_thickness(silhouette: Silhouette, signed: Field) -> Field:
    """Return the same for a part that stands: its lower end does not thin out but is cut by the ground.

    The part is inflated together with its mirror image below the ground; near the ground the
    thickness is then brought down to about the width of each foot, else a pot on a small foot
    would stand on a slab as deep as its belly.
    """
    filled = np.flatnonzero(silhouette.inside.any(axis=0))
    ground = int(filled[0] + _SOLE_SHARE * len(filled))
    upper = signed[:, ground:]
    depth = int(_MIRRORED_SHARE * upper.shape[1]) + 1
    both = np.concatenate([upper[:, :depth][:, ::-1], upper], axis=1)
    both[:, 0] = np.minimum(both[:, 0], -0.5)
    field = _continued(both, inflate(both))[:, depth:]
    field *= _taper_to_feet(upper, field)
    below = np.repeat(field[:, :1], ground, axis=1)
    return np.concatenate([below, field], axis=1) * silhouette.cell**2


def _continued(signed: Field, inside: Field) -> Field:
    """Let a field go on across the outline as steeply as it falls just inside."""
    slope = np.where(signed > 0, inside / np.maximum(signed, 1e-3), 0.0)
    near = ((signed > 0) & (signed < 2.5)).astype(np.float64)
    weight = cv2.blur(near, (5, 5))
    spread = cv2.blur(slope * near, (5, 5)) / np.maximum(weight, 1e-9)
    typical = float(np.median(slope[signed > 0]))
    spread = np.maximum(np.where(weight > 1e-6, spread, typical), 1e-3)
    return np.where(signed > 0, inside, signed * spread)


def _taper_to_feet(signed: Field, field: Field) -> Field:
    """Return factors that bring the thickness at the ground, row 0, near the width of each foot."""
    lowest = signed[:, 0] > 0
    if not lowest.any():
        return np.ones_like(field)
    # Wheels and tracks are one foot.
    gap = max(int(_FOOT_GAP * len(lowest)), 1)
    lowest = np.asarray(ndimage.binary_closing(np.pad(lowest, gap), np.ones(gap + 1))[gap:-gap])
    starts = np.flatnonzero(np.diff(lowest.astype(np.int8), prepend=0) == 1)
    run = np.cumsum(np.isin(np.arange(len(lowest)), starts)) * lowest
    width = np.bincount(run)[run]
    thickest = np.maximum.reduceat(np.where(lowest, field[:, 0], 0.0), starts)[np.maximum(run - 1, 0)]
    wanted = (_FOOT_DEPTH * width / 2) ** 2
    at_ground = np.minimum(1.0, wanted / np.maximum(thickest, 1e-9))[lowest]
    columns = np.arange(len(lowest))
    across = np.interp(columns, columns[lowest], at_ground)
    across = cv2.GaussianBlur(across[None, :], (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)[0]
    height = np.arange(signed.shape[1]) / max(_TAPER_SHARE * signed.shape[1], 1.0)
    ramp = np.clip(1.0 - height, 0.0, 1.0)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return np.asarray(1.0 - ramp[None, :] * (1.0 - across)[:, None])


def slab_thickness(silhouette: Silhouette, signed: Field, half: float, rounding: float) -> Field:
    """Return the squared half thickness of a flat part with a rounded edge.

    ``half`` the half thickness, ``rounding`` how far from the edge the flat begins, both as
    shares of the longest side.
    """
    depth = signed * silhouette.cell / rounding
    rise = 1.0 - (1.0 - np.clip(depth, 0.0, 1.0)) ** 2
    return np.where(signed > 0, rise, 2.0 * depth) * half**2
