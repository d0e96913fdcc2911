"""Bone heat: weights as the heat of bones, in balance along a surface (Baran & Popović 2007, section 4).

For the bone i the balance is ``-Δw + H w = H p`` where ``p`` is 1 where i is the nearest bone
that the vertex can reach inside the body, and ``H = c / d²``, d being the way to that bone. With
linear elements: ``(L + A H) w = A H p``, L from cotangents (Pinkall & Polthier 1993), A lumped.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from services.rigging.engines.limb_graph.skin.surface import Surface

HEAT = 5.0
"""The constant c: how firmly the nearest bone holds against its neighbours."""
_COLUMNS = 16
"""Bones solved for together; bounds the memory."""
_LEAST_COTANGENT = 0.02
_MOST_COTANGENT = 20.0
_LEAST_AREA = 1e-10
_LEAST_WAY = 1e-3
"""Both as shares of the (squared) size: bones that touch the surface would pull without end."""


def laplacian(surface: Surface) -> tuple[sparse.csc_matrix, NDArray[np.float64]]:
    """Return the positive semi-definite cotangent matrix ``(k, k)`` and the areas ``(k,)``.

    Cotangents are kept positive, so weights stay between 0 and 1 on slivers and on edges of
    three faces too.
    """
    count = len(surface.points)
    corner = surface.points[surface.faces]
    area = np.linalg.norm(surface.normals, axis=1) / 2
    rows, columns, values = [], [], []
    for k in range(3):
        a, b, c = k, (k + 1) % 3, (k + 2) % 3
        one, two = corner[:, b] - corner[:, a], corner[:, c] - corner[:, a]
        cotangent = np.einsum("ij,ij->i", one, two) / (2 * area)
        rows.append(surface.faces[:, b])
        columns.append(surface.faces[:, c])
        values.append(cotangent / 2)
    edge = sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    ).tocsr()
    edge = edge + edge.T
    edge.data = np.clip(edge.data, _LEAST_COTANGENT, _MOST_COTANGENT)
    lumped = np.bincount(surface.faces.ravel(), np.repeat(area / 3, 3), minlength=count)
    matrix = sparse.diags(np.asarray(edge.sum(axis=1)).ravel()) - edge
    return matrix.tocsc(), np.asarray(lumped, dtype=np.float64)


def balance(
    surface: Surface, nearest: sparse.csr_matrix, distance: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Solve the balance: ``nearest (k, j)`` shares of the joints, ``distance (k,)`` metres.

    An infinite distance is no pull at all; each piece needs a point that is pulled. Returns
    weights ``(k, j)`` with rows that sum to one, or None when the system cannot be solved.
    """
    matrix, area = laplacian(surface)
    area = np.maximum(area, _LEAST_AREA * surface.size**2)
    pull = HEAT * area / np.maximum(distance, _LEAST_WAY * surface.size) ** 2
    try:
        solver = splu(
            (matrix + sparse.diags(pull)).tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return None
    weights = np.empty(nearest.shape)
    columns = nearest.tocsc()
    for first in range(0, nearest.shape[1], _COLUMNS):
        chosen = slice(first, first + _COLUMNS)
        weights[:, chosen] = solver.solve(pull[:, None] * columns[:, chosen].toarray())
    np.maximum(weights, 0.0, out=weights)
    total = weights.sum(axis=1, keepdims=True)
    if not (np.isfinite(total) & (total > 0.5)).all():
        return None
    weights /= total
    return weights
