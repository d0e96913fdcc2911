"""Round things: a solid of revolution where the outline is that of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette

_SINGLE = 0.9
"""Share of the rows that must be one run for a thing to be turned."""
_CALM = 2.35
"""Rise and fall of the outline's width, as a multiple of the largest, up to which it is smooth."""
_SMOOTHING = 0.015
"""Share of the longest side over which the outline is smoothed before."""
_WIDE, _SLIM = 1.25, 0.5
"""Width over height above or below which a symmetric thing is taken for a turned one."""
_FULL = 0.97
"""Share of the width of the base at which its near edge begins to curve in."""
_LOW = 0.4
"""Share of the height below which the base must end."""
_LEAST_SINE, _MOST_SINE = 0.07, 0.5
"""Bounds of the sine of a pitch that the curve of a base tells."""


@dataclass(frozen=True, slots=True)
class Lathe:
    """A solid of revolution about the upright axis through ``(centre, 0)``.

    ``radius (n,)`` at the ``height (n,)`` along the axis, both in the picture's frame;
    ``pitch`` in degrees is how far from above it is seen. ``hollow`` is taken out of it.
    """

    centre: float
    height: Field
    radius: Field
    pitch: float
    hollow: Lathe | None = None


def turned_pitch(silhouette: Silhouette) -> float | None:
    """Return the pitch in degrees at which a symmetric thing is seen, None if it cannot be a turned one."""
    width, height = silhouette.extent
    if _SLIM * height < width < _WIDE * height:
        return None
    _, half, runs = _rows(silhouette)
    filled = runs > 0
    if (runs[filled] == 1).mean() < _SINGLE:
        return None
    profile = ndimage.gaussian_filter1d(half[filled], _SMOOTHING / silhouette.cell, mode="constant")
    if np.abs(np.diff(profile, prepend=0.0, append=0.0)).sum() > _CALM * profile.max():
        return None
    return float(np.degrees(np.arcsin(_base_sine(silhouette.y[filled], half[filled]))))


def turn(silhouette: Silhouette, pitch: float) -> Lathe:
    """Return the solid of revolution that has the outline when seen at ``pitch`` degrees."""
    centre, half, runs = _rows(silhouette)
    filled = runs > 0
    rows, profile = silhouette.y[filled], half[filled]
    sine, cosine = np.sin(np.radians(pitch)), np.cos(np.radians(pitch))
    # The near edge of the base hides below its middle: the axis starts as much higher.
    start = rows[0] + sine * profile[: max(len(profile) // 3, 1)].max()
    along = rows >= start - silhouette.cell
    radius = ndimage.gaussian_filter1d(profile[along], 1.0, mode="nearest")
    return Lathe(float(np.median(centre[filled])), rows[along] / cosine, radius, pitch)


def turned_thickness(silhouette: Silhouette) -> Field:
    """Return the squared half thickness of a part whose every level slice is a disc."""
    signed, x = silhouette.signed, silhouette.x
    squared = np.full(signed.shape, -np.inf)
    for row in range(signed.shape[1]):
        inside = signed[:, row] > 0
        for start, end in _runs(inside):
            low, high = _ends(silhouette, row, start, end)
            within = slice(start, end + 1)
            squared[within, row] = np.maximum((x[within] - low) * (high - x[within]), 1e-9)
    outside = signed * silhouette.cell * float(silhouette.signed.max() * silhouette.cell)
    joined = np.where(signed > 0, squared, outside)
    calm = ndimage.gaussian_filter1d(joined, 1.2, axis=1)
    return np.where(signed > 0, np.maximum(calm, 1e-9), outside)


def _rows(silhouette: Silhouette) -> tuple[Field, Field, Field]:
    """Return middle, half width and number of runs of each row."""
    count = silhouette.signed.shape[1]
    centre, half, runs = np.zeros(count), np.zeros(count), np.zeros(count)
    for row in range(count):
        found = _runs(silhouette.signed[:, row] > 0)
        runs[row] = len(found)
        if found:
            low, high = _ends(silhouette, row, found[0][0], found[-1][1])
            centre[row], half[row] = (low + high) / 2, (high - low) / 2
    return centre, half, runs


def _runs(inside: Mask) -> list[tuple[int, int]]:
    edges = np.diff(inside.astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True))


def _ends(silhouette: Silhouette, row: int, start: int, end: int) -> tuple[float, float]:
    """Return where a run begins and ends, between nodes where the distance tells."""
    signed = silhouette.signed[:, row]
    before = signed[start] / (signed[start] - signed[start - 1])
    after = signed[end] / (signed[end] - signed[end + 1])
    cell = silhouette.cell
    return float(silhouette.x[start] - before * cell), float(silhouette.x[end] + after * cell)


def _base_sine(rows: Field, profile: Field) -> float:
    """Tell the sine of the pitch from the near edge of a round base: its fall over its half width."""
    low = profile[: max(int(_LOW * len(profile)), 1)]
    widest = float(low.max())
    first = int(np.flatnonzero(low >= _FULL * widest)[0])
    sine = float(rows[first] - rows[0]) / widest
    return sine if _LEAST_SINE < sine < _MOST_SINE else 0.0
