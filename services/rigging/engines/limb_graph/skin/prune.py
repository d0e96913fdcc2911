"""From dense weights to a skin: four influences a vertex, sorted, that sum to exactly one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import MAX_INFLUENCES, Skin

_LEAST = 0.01
"""Weights below this are dropped: they move nothing that shows, and cost an influence."""
_ROWS = 16384
"""Points sorted together; bounds the memory."""


def prune(weights: NDArray[np.float64], source: NDArray[np.int64]) -> Skin:
    """Keep the strongest influences of weights ``(k, j)`` and deal them to vertices ``(n,)`` by source.

    Equal points get equal rows, bit for bit. Each row holds at least one influence.
    """
    joints = np.zeros((len(weights), MAX_INFLUENCES), dtype=np.int64)
    values = np.zeros((len(weights), MAX_INFLUENCES))
    for first in range(0, len(weights), _ROWS):
        block = weights[first : first + _ROWS]
        order = np.argsort(-block, axis=1, kind="stable")[:, :MAX_INFLUENCES]
        joints[first : first + _ROWS, : order.shape[1]] = order
        values[first : first + _ROWS, : order.shape[1]] = np.take_along_axis(block, order, axis=1)
    values[values < _LEAST * values[:, :1]] = 0.0
    exact = _exact(values)
    joints[exact == 0] = 0
    return Skin(joints.astype(np.uint16)[source], exact[source])


def _exact(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale rows to the sum one on a grid of 2⁻²⁴, on which float32 adds without rounding."""
    grid = float(1 << 24)
    steps = np.floor(values / values.sum(axis=1, keepdims=True) * grid)
    steps[:, 0] += grid - steps.sum(axis=1)
    return np.asarray((steps / grid).astype(np.float32))
