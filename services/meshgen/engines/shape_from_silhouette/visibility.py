"""Which faces of a mesh the picture's camera sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Indices
from maquette.geometry.raster import rasterize

_SLACK = 1.5
"""Pixels of depth by which a face may lie behind the nearest one and still count as seen."""


def faces_seen(points: NDArray[np.float64], faces: Indices) -> NDArray[np.bool_]:
    """Tell for each face whether it faces the camera and nothing covers its middle.

    ``points (n, 3)`` are in a frame with z towards the camera whose unit is a pixel of the
    depth buffer, ``faces (m, 3)``.
    """
    flat = points[:, :2] - np.floor(points[:, :2].min(axis=0)) + 1.0
    size = np.ceil(flat.max(axis=0)).astype(np.int64) + 2
    corner = flat[faces]
    side = corner[:, 1:] - corner[:, :1]
    facing = side[:, 0, 0] * side[:, 1, 1] - side[:, 0, 1] * side[:, 1, 0] > 0
    chosen = np.flatnonzero(facing)
    texels = rasterize(corner[chosen], (int(size[1]), int(size[0])))
    depth = np.einsum("kc,kc->k", texels.barycentric, points[:, 2][faces[chosen[texels.faces]]])
    nearest = np.full((int(size[1]), int(size[0])), -np.inf)
    np.maximum.at(nearest, (texels.rows, texels.columns), depth)
    middle = corner.mean(axis=1).astype(np.int64)
    covered = nearest[middle[:, 1], middle[:, 0]] > points[:, 2][faces].max(axis=1) + _SLACK
    return np.asarray(facing & ~covered)
