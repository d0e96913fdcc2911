"""How thick a thing is across its outline, row by row."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.poisson import inflate

Plane = NDArray[np.float64]

_POINTED = 0.08
"""Loss of mean q against an ellipse from which a row counts as pointed."""
_UNLIKE = 0.3
"""Difference of that loss between two pictures from which it is no brim."""
_CALM = 3.0
"""Blur across the rows, in cells."""
_OUTSIDE = 0.05
"""Fall of q for each cell outside the outline."""


def profiles(a: Plane, b: Plane) -> tuple[Plane, Plane]:
    """Return q for two pictures that share their rows: 1 where thickest in a row, 0 on the outline.

    Thickness falls off from the trunk to an arm, and so does q. But where both pictures show
    something thin sticking out on the same row, it is one brim and not four arms: there every row
    is an ellipse of its own.
    """
    thick, even = [_by_thickness(a), _by_thickness(b)], [_by_row(a), _by_row(b)]
    pointed = [
        1.0 - _mean(q, plane) / np.maximum(_mean(row, plane), 1e-9)
        for q, row, plane in zip(thick, even, (a, b), strict=True)
    ]
    least, most = np.minimum(*pointed), np.maximum(*pointed)
    share = np.clip((least - _POINTED) / _POINTED, 0.0, 1.0)
    share *= np.clip((_UNLIKE - (most - least)) / (0.5 * _UNLIKE), 0.0, 1.0)
    brim: Plane = np.asarray(cv2.GaussianBlur(share[:, None], (0, 0), _CALM), dtype=np.float64)
    first, second = (
        _beyond_ends(brim * row + (1.0 - brim) * q, plane)
        for q, row, plane in zip(thick, even, (a, b), strict=True)
    )
    return first, second


def _beyond_ends(q: Plane, signed: Plane) -> Plane:
    """Continue q one row above and below the outline, where not the profile but the outline ends the body."""
    inside = np.where(signed > 0, q, -np.inf)
    above, below = np.roll(inside, 1, axis=0), np.roll(inside, -1, axis=0)
    near = np.maximum(above, below)
    return np.where((signed <= 0) & np.isfinite(near), near, q)


def _mean(q: Plane, signed: Plane) -> Plane:
    inside = signed > 0
    return np.asarray((q * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1))


def _by_thickness(signed: Plane) -> Plane:
    """Return the inflated thickness, squared, as a share of the largest in its row."""
    thickness = inflate(signed)
    largest = thickness.max(axis=1, keepdims=True)
    return np.where(signed > 0, thickness / np.maximum(largest, 1e-9), _OUTSIDE * signed)


def _by_row(signed: Plane) -> Plane:
    """Return 1 - ρ² with ρ the distance from the middle of each run of a row, as a share of its half."""
    inside = signed > 0
    rows, first = np.nonzero(inside & ~np.roll(inside, 1, axis=1))
    _, last = np.nonzero(inside & ~np.roll(inside, -1, axis=1))
    before, after = signed[rows, first - 1], signed[rows, last + 1]
    low = first - signed[rows, first] / (signed[rows, first] - before)
    high = last + signed[rows, last] / (signed[rows, last] - after)
    run = np.cumsum((inside & ~np.roll(inside, 1, axis=1)).ravel()).reshape(signed.shape) - 1
    run = np.maximum(run, 0)
    share = (2.0 * np.arange(signed.shape[1])[None, :] - (low + high)[run]) / np.maximum(high - low, 1e-6)[
        run
    ]
    q = np.where(inside, np.maximum(1.0 - share * share, 1e-6), 0.0)
    # Runs part and join from one row to the next; the body should not jump with them.
    weight = np.asarray(cv2.GaussianBlur(inside.astype(np.float64), (1, 0), sigmaX=0.1, sigmaY=_CALM))
    calm = np.asarray(cv2.GaussianBlur(q, (1, 0), sigmaX=0.1, sigmaY=_CALM)) / np.maximum(weight, 1e-9)
    return np.where(inside, calm, _OUTSIDE * signed)
