"""The rim of a cup, a bowl or a pot seen from above: an ellipse whose far half is the outline.

A level circle seen from pitch p is an ellipse with level axes in the ratio sin p. Where one is drawn by
the outline above and by an edge in the picture below, and the object goes on beneath it, it is the top
of a round thing. A second ring just within it is the inner edge of a wall: then the thing is hollow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.ellipses import (
    FAR_HALF,
    MIDDLE_NEAR,
    PHASES,
    SIDE,
    Drawing,
    draw,
)
from services.meshgen.engines.shape_from_silhouette.hollows import filling_edge, inner_edge, looks_hollow
from services.meshgen.engines.shape_from_silhouette.plates import fit_wall, plate_edge
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette

Values = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_SINES = np.linspace(0.24, 0.88, 17)
"""Ratios of the axes that are tried: flatter ones are mouths and hems, rounder ones balls and wheels."""
_RADII, _LEAST_RADIUS = np.geomspace(0.14, 0.5, 16), 0.13
"""Half widths that are tried, and the least, as shares of the longest side: less is round by chance."""
_FAR, _NEAR = 0.9, 0.58
"""Share of an edge that the outline above and the picture below must draw."""
_PLAIN = 0.8
"""Share of the near edge from which on more of it makes no better rim: its inner edge is often drawn best."""
_WALL, _AS_CLEAR = 0.08, 0.92
"""How far the middle may move for the outer edge of a wall, in half widths, and how clear that must be."""
_NEAR_CLOSED = 0.75
"""The same where nothing tells of a hollow."""
_FREE, _FREE_ON_PLATE, _CARRIED = 0.85, 0.6, 0.9
"""Share of the far half beyond which there is nothing, or a plate, and of the near half with more below."""
_BEYOND = 0.1
"""How far beyond the ellipse that is looked up, as a share of its half width."""
_SECTOR, _SECTOR_DRAWN = 6, 0.3
"""Places in an eighth of the edge and how much of each must be drawn."""
_BELOW = 0.03
"""How far below the near half the object must go on, as a share of the half width."""
_TRIED, _BEST, _APART = 400, 6, 6.0
"""Of how many coarse finds how many are refined, which are so many pixels apart."""
_THIN_WALL = 0.93
"""Radius of the opening as a share of the rim's where the wall is too thin to show two edges."""
_STEEPEST, _FLATTEST = 0.9, 0.22
"""Bounds of the ratio of the axes of a rim."""
_MOVES = np.array(
    [(x, y, a, b) for x in (-1, 0, 1) for y in (-1, 0, 1) for a in (-1, 0, 1) for b in (-1, 0, 1)]
)


@dataclass(frozen=True, slots=True)
class Circle:
    """A level circle in a picture: its middle, y up, and its half width."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Rim:
    """The top of a round thing in the frame of the silhouette; ``sine`` is that of the pitch.

    ``inner`` is the radius of its opening, 0 where it is closed. ``filling`` is where what is in it
    meets the wall, if that is seen.
    """

    sine: float
    outer: Circle
    inner: float
    filling: Circle | None = None
    plate: Plate | None = None


@dataclass(frozen=True, slots=True)
class Plate:
    """A plate on which a round thing stands: its edge and the wall of what stands on it.

    The foot is ``foot`` times as wide as the rim; the wall widens with the height to the power ``bulge``.
    """

    edge: Circle
    foot: float
    bulge: float


def find_rim(rgb: Pixels, alpha: NDArray[np.float32], silhouette: Silhouette) -> Rim | None:
    """Return the rim of a round thing seen from above, or None where the picture shows none.

    ``rgb (h, w, 3)`` and ``alpha (h, w)`` are the cut-out that ``silhouette`` was sampled from.
    """
    drawing = draw(rgb, alpha, silhouette)
    found = _outer(drawing)
    if found is None:
        return None
    middle_x, middle_y = drawing.inside.shape[1] / 2 - 0.5, drawing.inside.shape[0] / 2 - 0.5

    def placed(ellipse: Values) -> Circle:
        x, y, radius = (float(value) for value in ellipse[:3])
        return Circle((x - middle_x) / SIDE, (middle_y - y) / SIDE, radius / SIDE)

    inner = inner_edge(drawing, found)
    filling = filling_edge(drawing, found, inner or _THIN_WALL * float(found[2]))
    if inner == 0.0 and (filling is not None or looks_hollow(drawing, found)):
        inner = _THIN_WALL * float(found[2])
    near = drawing.drawn(found[None], PHASES[~FAR_HALF], (-1.0, 0.0, 1.0)).mean()
    if inner == 0.0 and near < _NEAR_CLOSED:
        return None
    plate = plate_edge(drawing, found)
    return Rim(
        float(found[3] / found[2]),
        placed(found),
        inner / SIDE,
        None if filling is None else placed(filling),
        None if plate is None else Plate(placed(plate), *fit_wall(drawing, found, plate)),
    )


def _outer(drawing: Drawing) -> Values | None:
    """Return the ellipse that is the rim: x, y and half axes."""
    tried = _candidates(drawing)
    if not len(tried):
        return None
    far = drawing.drawn(tried, PHASES[FAR_HALF], (0.0,)).mean(axis=1)
    near = drawing.drawn(tried, PHASES[~FAR_HALF], (-1.5, 0.0, 1.5)).mean(axis=1)
    rated = np.minimum(far, near / _PLAIN)
    best, chosen = 0.0, None
    seen: list[Values] = []
    for index in np.argsort(-rated)[:_TRIED]:
        if any(np.abs(tried[index] - other).max() < _APART for other in seen):
            continue
        seen.append(tried[index])
        ellipse, rating = _refined(drawing, tried[index])
        if rating > best and _is_rim(drawing, ellipse):
            best, chosen = rating, ellipse
        if len(seen) == _BEST:
            break
    return chosen


def _candidates(drawing: Drawing) -> Values:
    """Return ellipses whose farthest point is on the upper outline and beneath which the object goes on."""
    inside = drawing.inside
    entries = np.argwhere(inside & ~np.pad(inside, ((1, 0), (0, 0)))[:-1])[::2]
    top = np.repeat(entries, len(_RADII) * len(_SINES), axis=0).astype(np.float64)
    radius, sine = (
        np.tile(values.ravel(), len(entries)) for values in np.meshgrid(_RADII * SIDE, _SINES, indexing="ij")
    )
    ellipses = np.stack([top[:, 1], top[:, 0] - 0.5 + radius * sine, radius, radius * sine], axis=1)
    sides = np.radians([0.0, 30.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, 330.0])
    within = drawing.covered(ellipses, sides, -0.12).min(axis=1) > 0.5
    below = drawing.covered(ellipses, sides[5:8], _BEYOND).min(axis=1) > 0.5
    return np.asarray(ellipses[within & below])


def _refined(drawing: Drawing, ellipse: Values) -> tuple[Values, float]:
    """Return the ellipse nearby that is drawn best, and how well it is."""

    def rate(ellipses: Values) -> Values:
        drawn = drawing.drawn(ellipses, PHASES, (-0.7, 0.0, 0.7))
        far, near = drawn[:, FAR_HALF].mean(axis=1), drawn[:, ~FAR_HALF].mean(axis=1)
        # Of the two edges of a wall the outer one is the rim.
        return np.asarray(np.minimum(far, near / _PLAIN) * np.sqrt(ellipses[:, 2] / SIDE))

    best = ellipse
    rating = float(rate(best[None])[0])
    for step in (2.0, 1.0, 0.5):
        for _ in range(8):
            moves = best + step * _MOVES
            ratings = rate(moves)
            index = int(ratings.argmax())
            if ratings[index] <= rating:
                break
            best, rating = moves[index], float(ratings[index])
    return _sharpened(drawing, best), rating


def _sharpened(drawing: Drawing, ellipse: Values) -> Values:
    """Return the ellipse at which the slope is largest, at most a little way off."""
    for step in (1.0, 0.5, 0.25):
        moves = ellipse + step * _MOVES
        slope = np.sqrt(drawing.steepness(moves, PHASES, (0.0,))).mean(axis=1)
        ellipse = moves[int(slope.argmax())]
    # Of the two near edges of a wall the inner one is often drawn better, but the outer one is the rim's.
    down = np.arange(0.0, _WALL * ellipse[2], 0.25)[:, None] * np.array([0.0, 1.0, 0.0, 1.0])
    drawn = drawing.drawn(ellipse + down, PHASES, (-0.5, 0.0, 0.5))
    far, near = drawn[:, FAR_HALF].mean(axis=1), drawn[:, ~FAR_HALF].mean(axis=1)
    clear = (far > _FAR) & (near > _AS_CLEAR * near.max())
    return np.asarray((ellipse + down)[int(np.flatnonzero(clear)[-1]) if clear.any() else 0])


def _is_rim(drawing: Drawing, ellipse: Values) -> bool:
    """Tell whether an ellipse is drawn all round, with nothing behind it and the object going on below."""
    one = ellipse[None]
    drawn = drawing.drawn(one, PHASES, (-1.0, 0.0, 1.0))[0]
    sectors = drawn.reshape(-1, _SECTOR).mean(axis=1)
    free = 1.0 - drawing.covered(one, PHASES[FAR_HALF], _BEYOND)[0].mean()
    # The wall may slope inwards, so what is looked up is straight below.
    below = ellipse + np.array([0.0, 1.5 + _BELOW * ellipse[2], 0.0, 0.0])
    carried = drawing.covered(below[None], MIDDLE_NEAR, 0.0)[0].mean()
    sine = ellipse[3] / ellipse[2]
    return bool(
        _FLATTEST < sine < _STEEPEST
        and ellipse[2] > _LEAST_RADIUS * SIDE
        and drawn[FAR_HALF].mean() > _FAR
        and drawn[~FAR_HALF].mean() > _NEAR
        and sectors.min() > _SECTOR_DRAWN
        and free > (_FREE if plate_edge(drawing, ellipse) is None else _FREE_ON_PLATE)
        and carried > _CARRIED
    )
