"""Figures seen from the front: feet point forwards and hanging arms reach forwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.poisson import spread
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette
from services.meshgen.engines.shape_from_silhouette.viewpoint import mirror_overlap

_SOLE, _ANKLE = 0.05, 0.13
"""Shares of the height up to which there are two feet side by side, and where they end."""
_CROTCH = 0.07
"""Share of the height up to which at least the gap between the legs reaches."""
_ALIKE = 0.6
"""Ratio of the widths of both feet from which on they are a pair."""
_UPRIGHT = 0.9
"""Height over width from which on a thing on two feet is a figure."""
_FACING = 0.55
"""Overlap of an outline with its mirror image from which on a figure on two feet faces the viewer."""
_TOES = 0.45
"""How far forwards a foot reaches, as a share of its width."""
_SHOULDER = 0.65
"""Share of the height below which an arm that hangs beside the body reaches forwards."""
_UPPER_ARM = 0.2
"""Share of the height over which an arm comes forwards."""
_SLIM, _TRUNK = 0.3, 0.2
"""Width of an arm at most and half that of the trunk, as shares of the figure's."""
_REACH = 1.1
"""How far forwards a hand is, as a share of the width of its arm."""


def forwards(silhouette: Silhouette) -> Field:
    """Return how far nearer than the body's middle feet and arms are, zero for what is no figure."""
    inside = silhouette.inside
    feet = _feet(silhouette)
    if feet <= 0.0:
        return np.zeros_like(silhouette.signed)
    width, height = silhouette.extent
    share = (silhouette.y + height / 2)[None, :] / height
    known = np.zeros_like(silhouette.signed)
    axis = float(silhouette.x[inside.any(axis=1)].mean())
    body = np.abs(silhouette.x - axis)[:, None] < _TRUNK * width
    weight = np.where(inside & (share > _ANKLE) & body, 0.02, 0.0)
    weight[inside & (share > _SHOULDER)] = 0.02
    toes = inside & (share < _ANKLE)
    known[toes] = (_TOES * feet * np.cos(np.pi / 2 * share / _ANKLE) * np.ones_like(known))[toes]
    weight[toes] = 1.0
    arms, thick = _arms(silhouette)
    down = np.clip((_SHOULDER - share) / _UPPER_ARM, 0.0, 1.0) * np.ones_like(known)
    known[arms] = (_REACH * thick * down)[arms]
    weight[arms] = 1.0
    return spread(inside, known, weight, 1.0 / silhouette.cell)


def _feet(silhouette: Silhouette) -> float:
    """Return the mean width of two feet side by side, 0 where there are none."""
    width, height = silhouette.extent
    first = int(np.flatnonzero(silhouette.inside.any(axis=0))[0])
    rows = (int(share * height / silhouette.cell) for share in (_SOLE, _CROTCH))
    low, crotch = (silhouette.inside[:, first : first + max(count, 1)] for count in rows)
    starts, ends = _runs(np.asarray(low.any(axis=1)))
    if len(starts) != 2 or height < _UPRIGHT * width or mirror_overlap(silhouette) < _FACING:
        return 0.0
    wide = (ends - starts) * silhouette.cell
    free = ~crotch[ends[0] : starts[1]].any(axis=1)
    return float(wide.mean()) if free.any() and wide.min() > _ALIKE * wide.max() else 0.0


def _arms(silhouette: Silhouette) -> tuple[Mask, float]:
    """Return what hangs on both sides beside the body or the legs, and its mean width."""
    arms = np.zeros_like(silhouette.inside)
    height = silhouette.extent[1]
    for row, y in enumerate(silhouette.y):
        starts, ends = _runs(silhouette.inside[:, row])
        if len(starts) < 3 or not 0.15 < y / height + 0.5 < _SHOULDER:
            continue
        for start, end in ((starts[0], ends[0]), (starts[-1], ends[-1])):
            arms[start:end, row] = (end - start) * silhouette.cell < _SLIM * silhouette.extent[0]
    arms = np.asarray(ndimage.binary_opening(arms, iterations=2))
    rows = np.maximum(arms.any(axis=0).sum(), 1)
    return arms, float(arms.sum() / rows / 2 * silhouette.cell)


def _runs(inside: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = np.diff(inside.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
