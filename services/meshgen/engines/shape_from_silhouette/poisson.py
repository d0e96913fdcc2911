"""Fields over a silhouette that solve a Poisson equation."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask

_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def inflate(signed: Field) -> Field:
    """Solve ``Δu = -4`` where ``signed > 0``, ``u = 0`` on the outline, on a grid of unit cells.

    Half the thickness √u makes a sphere of a disc, a tube of a strip and something between of
    everything between (Gorelick et al. 2006 describe silhouettes with this field). A link
    that crosses the outline is shortened to the crossing (the symmetric second-order scheme
    of Gibou et al. 2002), so that the solution does not see the grid's steps.
    """
    inside = signed > 0
    number, here, rows, columns = _numbered(inside)
    diagonal = np.zeros(len(here))
    pairs = []
    for down, right in _NEIGHBOURS:
        r, c = _step(rows, down, inside.shape[0]), _step(columns, right, inside.shape[1])
        other = number[r, c]
        linked = other >= 0
        own, far = signed[rows, columns], signed[r, c]
        crossing = own / np.maximum(own - far, 1e-9)
        diagonal += np.where(linked, 1.0, 1.0 / np.clip(crossing, 0.1, 1.0))
        pairs.append((here[linked], other[linked]))
    field = np.zeros(signed.shape)
    field[inside] = np.maximum(_solve(diagonal, pairs, np.full(len(here), 4.0)), 1e-6)
    return field


def spread(inside: Mask, known: Field, weight: Field, reach: float) -> Field:
    """Continue values over a silhouette: exact where ``weight`` is large, fading over ``reach`` cells.

    Minimises ``Σ |∇f|² + f² / reach² + weight · (f - known)²``; nothing flows across the outline.
    """
    number, here, rows, columns = _numbered(inside)
    diagonal = 1.0 / reach**2 + weight[inside]
    pairs = []
    for down, right in _NEIGHBOURS:
        other = number[_step(rows, down, inside.shape[0]), _step(columns, right, inside.shape[1])]
        linked = other >= 0
        diagonal += linked
        pairs.append((here[linked], other[linked]))
    field = np.zeros(inside.shape)
    field[inside] = _solve(diagonal, pairs, (weight * known)[inside])
    return field


def _numbered(
    inside: Mask,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    number = np.full(inside.shape, -1, dtype=np.int64)
    number[inside] = np.arange(int(inside.sum()))
    rows, columns = np.nonzero(inside)
    return number, number[inside], rows, columns


def _step(index: NDArray[np.int64], by: int, size: int) -> NDArray[np.int64]:
    return np.clip(index + by, 0, size - 1)


def _solve(diagonal: Field, pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]], right: Field) -> Field:
    """Solve a symmetric system with -1 for each pair of neighbours."""
    i, j = (np.concatenate(part) for part in zip(*pairs, strict=True))
    here = np.arange(len(diagonal))
    matrix = sparse.csc_matrix(
        (
            np.concatenate([diagonal, np.full(len(i), -1.0)]),
            (np.concatenate([here, i]), np.concatenate([here, j])),
        ),
        shape=(len(here), len(here)),
    )
    options = {"SymmetricMode": True}
    solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    return np.asarray(solver.solve(right))
