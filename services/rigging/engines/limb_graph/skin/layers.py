"""Weights of a whole mesh: heat on bodies, what they carry, and ways through the solid elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skin.bones import Bones
from services.rigging.engines.limb_graph.skin.heat import balance
from services.rigging.engines.limb_graph.skin.pieces import ride, sort_pieces
from services.rigging.engines.limb_graph.skin.reach import Reach
from services.rigging.engines.limb_graph.skin.surface import Surface, part_of
from services.rigging.engines.limb_graph.skin.voxels import solid_weights, voxels_of

SOUP = "The mesh, or parts of it, are loose triangles; their weights follow the ways through the solid."
UNSOLVED = "The heat of the bones found no balance; the weights follow the ways through the solid."

_ALIKE = 0.5
"""Rows that differ by less than this, summed, are those of one body; touching legs differ by two."""


def weigh_tangle(surface: Surface, bones: Bones, joints: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the weights ``(k, j)`` of points whose faces make no surface, and warnings."""
    return solid_weights(voxels_of(surface, bones), bones, joints, surface.points), (SOUP,)


def weigh(surface: Surface, bones: Bones, near: Reach) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the weights ``(k, j)`` of all points, with rows that sum to one, and warnings."""
    pieces = sort_pieces(surface, near.bare)
    weights = np.zeros(near.shares.shape)
    warnings = []
    through = pieces.soup.copy()
    if pieces.soup.any():
        warnings.append(SOUP)
    bodies = np.flatnonzero(pieces.body)
    if len(bodies):
        heat = balance(part_of(surface, bodies), near.shares[bodies], near.distance[bodies])
        if heat is None:
            warnings.append(UNSOLVED)
            through |= pieces.body
        else:
            weights[bodies] = heat
    if through.any():
        solid = voxels_of(surface, bones)
        weights[through] = solid_weights(solid, bones, weights.shape[1], surface.points[through])
    hosts = pieces.body | pieces.soup
    if pieces.rider.any():
        weights[pieces.rider] = ride(surface, weights, pieces.rider, hosts)
    return _agreed(surface, weights), tuple(warnings)


def _agreed(surface: Surface, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give points at one place one row where theirs are alike: the two sides of a cloth."""
    later = np.flatnonzero(surface.twin != np.arange(len(surface.twin)))
    first = surface.twin[later]
    alike = np.abs(weights[later] - weights[first]).sum(axis=1) < _ALIKE
    weights[later[alike]] = weights[first[alike]]
    return weights
