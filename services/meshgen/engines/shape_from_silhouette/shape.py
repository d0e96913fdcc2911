"""Choose grid and thickness, and place the closed body in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Floats, Indices
from services.meshgen.engines.shape_from_silhouette.depth import DepthField, inflate
from services.meshgen.engines.shape_from_silhouette.surface import close_surface

VERTEX_TARGETS = {"low": 10_000, "medium": 40_000, "high": 120_000}
_FIRST_CELLS = 96
_MIN_CELLS, _MAX_CELLS = 56, 384
_USUAL_DEPTH = 0.6
"""Depth of things seen from the front as a share of their longest side."""
_MIN_STRETCH, _MAX_STRETCH = 0.85, 1.35


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a point of the model appears on the cut-out: ``pixel = origin + scale · (x, -y)``."""

    origin: tuple[float, float]
    scale: float

    def to_pixels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project ``(n, 3)`` metres to ``(n, 2)`` pixels of the cut-out."""
        flat = np.asarray(points[:, :2], dtype=np.float64) * (1.0, -1.0)
        return np.asarray(self.origin + self.scale * flat)


@dataclass(frozen=True, slots=True)
class Shape:
    """The closed body in metres, longest side of the silhouette 1 m, standing on y = 0."""

    vertices: Floats
    faces: Indices
    front: NDArray[np.bool_]
    placement: Placement


def choose_field(alpha: NDArray[np.float32], quality: str) -> DepthField:
    """Inflate the matte on a grid whose mesh will have about the vertices of ``quality``."""
    field = inflate(alpha, _FIRST_CELLS)
    # The vertices of a surface net grow with the area, so with the square of the cells.
    expected = _expected_vertices(field)
    cells = round(_FIRST_CELLS * (VERTEX_TARGETS[quality] / expected) ** 0.5)
    return inflate(alpha, int(np.clip(cells, _MIN_CELLS, _MAX_CELLS)))


def _expected_vertices(field: DepthField) -> float:
    """Estimate the vertices of the mesh from the area of the graph of the half thickness."""
    height = np.sqrt(np.maximum(field.squared, 0.0)) * _stretch(field)
    down, right = np.gradient(height)
    inside = field.squared > 0
    # A net has about one vertex for each grid line that crosses the surface (factor measured).
    area = 1.0 + np.abs(down) + np.abs(right)
    return 2.2 * float(area[inside].sum())


def _stretch(field: DepthField) -> float:
    """Choose the factor on the thickness that brings the depth near the usual one."""
    thickest = 2.0 * float(np.sqrt(max(field.squared.max(), 1e-9)))
    inside = field.squared > 0
    longest = max(np.ptp(np.flatnonzero(inside.any(axis=0))), np.ptp(np.flatnonzero(inside.any(axis=1)))) + 1
    return float(np.clip(_USUAL_DEPTH * longest / thickest, _MIN_STRETCH, _MAX_STRETCH))


def build_shape(field: DepthField) -> Shape:
    """Mesh the depth field and scale it to the world."""
    surface = close_surface(field, _stretch(field))
    vertices = surface.vertices
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    metre = 1.0 / float(max(high[0] - low[0], high[1] - low[1]))
    centre = float(low[0] + high[0]) / 2
    floor = float(low[1])
    placed = (vertices - (centre, floor, 0.0)) * metre
    placement = Placement(
        origin=(
            field.origin[0] + field.cell * centre,
            field.origin[1] + field.cell * (field.ground - floor),
        ),
        scale=field.cell / metre,
    )
    return Shape(placed.astype(np.float32), surface.faces.astype(np.int32), surface.front, placement)
