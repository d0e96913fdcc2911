"""Level cuts through a body: the pieces of each horizontal layer of cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors

_TOUCHING = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class Piece:
    """A connected piece of a layer.

    ``low`` and ``high`` bound it in x and z; ``middle`` is its centroid; ``depth`` the median of z;
    ``area`` in square metres; ``central`` tells whether it crosses the mirror plane.
    """

    low: Vectors
    high: Vectors
    middle: Vectors
    depth: float
    area: float
    central: bool

    @property
    def width(self) -> float:
        """The extent from side to side."""
        return float(self.high[0] - self.low[0])


def pieces_at(body: Body, layer: int) -> list[Piece]:
    """Return the pieces of one layer, four cells or larger, the largest first."""
    label, count = ndimage.label(body.occupied[:, layer, :], _TOUCHING)
    found = []
    for name in range(1, count + 1):
        index = np.argwhere(label == name)
        if len(index) >= 4:
            found.append(_piece(body, index))
    return sorted(found, key=lambda piece: -piece.area)


def _piece(body: Body, index: NDArray[np.intp]) -> Piece:
    corner = body.origin[[0, 2]]
    low = corner + index.min(axis=0) * body.cell
    high = corner + (index.max(axis=0) + 1) * body.cell
    middle = corner + (index.mean(axis=0) + 0.5) * body.cell
    depth = float(corner[1] + (np.median(index[:, 1]) + 0.5) * body.cell)
    across = (np.abs(body.origin[0] + (index[:, 0] + 0.5) * body.cell) <= 1.01 * body.cell).any()
    return Piece(low, high, middle, depth, len(index) * body.cell**2, bool(across))


def layers(body: Body) -> list[list[Piece]]:
    """Return the pieces of all layers of the grid, from the lowest up."""
    return [pieces_at(body, layer) for layer in range(body.occupied.shape[1])]


def central_piece(pieces: list[Piece]) -> Piece | None:
    """Return the largest piece of a layer that crosses the mirror plane."""
    return next((piece for piece in pieces if piece.central), None)
