"""Rasterise triangles of a texture atlas: which face owns which texel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BATCH = 2_000_000
"""Candidate texels looked at together; bounds the memory at about 200 MiB."""
_EDGE = -1e-6


@dataclass(frozen=True, slots=True)
class Texels:
    """Covered texels: ``rows``, ``columns`` and ``faces (k,)``, ``barycentric (k, 3)``."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    faces: NDArray[np.int64]
    barycentric: NDArray[np.float64]


def rasterize(corners: NDArray[np.floating], shape: tuple[int, int]) -> Texels:
    """Find the texels whose centres lie in the triangles ``corners (m, 3, 2)``.

    Corners are (x, y) in texels, centres are at n + ½, ``shape`` is (rows, columns). A texel
    on a shared edge is listed once for each face.
    """
    points: NDArray[np.float64] = np.asarray(corners, dtype=np.float64)
    low = np.floor(points.min(axis=1) - 0.5).astype(np.int64) + 1
    high = np.ceil(points.max(axis=1) - 0.5).astype(np.int64)
    low = np.maximum(low - 1, 0)
    high = np.minimum(high, (shape[1] - 1, shape[0] - 1))
    size = np.maximum(high - low + 1, 0)
    candidates = size[:, 0] * size[:, 1]
    ends = np.cumsum(candidates)
    pieces: list[Texels] = []
    start = 0
    while start < len(corners):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _BATCH, side="right")), start + 1)
        pieces.append(_batch(points, low, size, candidates, np.arange(start, stop)))
        start = stop
    if not pieces:
        nothing = np.zeros(0, dtype=np.int64)
        return Texels(nothing, nothing, nothing, np.zeros((0, 3)))
    return Texels(
        np.concatenate([piece.rows for piece in pieces]),
        np.concatenate([piece.columns for piece in pieces]),
        np.concatenate([piece.faces for piece in pieces]),
        np.concatenate([piece.barycentric for piece in pieces]),
    )


def _batch(
    corners: NDArray[np.float64],
    low: NDArray[np.int64],
    size: NDArray[np.int64],
    candidates: NDArray[np.int64],
    chosen: NDArray[np.int64],
) -> Texels:
    """Test every texel of the boxes around the chosen faces."""
    face = np.repeat(chosen, candidates[chosen])
    first = np.cumsum(candidates[chosen]) - candidates[chosen]
    place = np.arange(len(face)) - np.repeat(first, candidates[chosen])
    width = np.maximum(size[face, 0], 1)
    column, row = low[face, 0] + place % width, low[face, 1] + place // width
    a, b, c = (corners[face, k] for k in range(3))
    x, y = column + 0.5 - a[:, 0], row + 0.5 - a[:, 1]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    safe = np.where(np.abs(area) > 1e-12, area, 1.0)
    v = (x * ac[:, 1] - y * ac[:, 0]) / safe
    w = (ab[:, 0] * y - ab[:, 1] * x) / safe
    u = 1.0 - v - w
    hit = (np.abs(area) > 1e-12) & (u >= _EDGE) & (v >= _EDGE) & (w >= _EDGE)
    return Texels(row[hit], column[hit], face[hit], np.stack([u, v, w], axis=1)[hit])
