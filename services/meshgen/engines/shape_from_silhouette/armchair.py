"""Armchairs seen from the side and a little from above: near and far arm lie one above the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.body import Body, Plane, Sheet
from services.meshgen.engines.shape_from_silhouette.camera import Camera
from services.meshgen.engines.shape_from_silhouette.legs import find_legs, part_distance
from services.meshgen.engines.shape_from_silhouette.poisson import spread
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette
from services.meshgen.engines.shape_from_silhouette.thickness import squared_thickness

_LEAST_LENGTH = 0.08
"""Length over which both arms must be seen above the seat, as a share of the longest side."""
_THINNER = 0.6
"""Thickness of an arm as a share of the distance of both, up to which they are two."""
_ALIKE = 0.5
"""Ratio of their thicknesses from which on they are a pair."""
_SINES = (0.12, 0.5)
"""Bounds of the sine of a pitch that is believed."""
_WIDTHS = (0.5, 1.3)
"""Bounds of the distance of the arms as a share of the width of the seat."""
_ROUND = 0.75
"""Factor on the inflated thickness that makes a limb round."""
_INSET = 0.8
"""Distance of the legs from the middle as a share of half the depth."""
_SEAT = (0.03, 0.1)
"""Bounds of the thickness of a seat, as shares of the longest side."""
_FREE = 0.03
"""How far from where both arms are seen apart their distance is certain."""
_STEEPEST = 2.0
"""Slope of a rail's middle up to which the rail is thickened along the line of sight."""
_OVERLAP = 0.03
"""How far the near legs reach up into the seat."""
_GOES_ON = 0.7
"""Share of the upper half below the seat that a column must fill to be that of a leg."""
_GROUND_CUT = 0.0008
"""Share of the longest side that is cut off flat so that the model stands."""


@dataclass(frozen=True, slots=True)
class Arms:
    """What the two arms tell, in the frame of the picture.

    ``pitch`` in degrees; ``width`` is half that of the seat, ``apart`` half the way between the arms.
    They are free towards ``facing`` (1 right, -1 left) from ``start`` on, parted at the height
    ``between``, the near one's lower edge at ``lower``; the seat is seen from ``seat_low`` to
    ``seat_high``.
    """

    pitch: float
    width: float
    apart: float
    facing: int
    start: float
    between: float
    lower: float
    seat_low: float
    seat_high: float


def find_arms(silhouette: Silhouette) -> Arms | None:
    """Find two thin bars of alike thickness one above the other, free at one end, above a seat on legs."""
    columns = _columns_of_two(silhouette)
    if len(columns) * silhouette.cell < _LEAST_LENGTH or find_legs(silhouette, 0.05) is None:
        return None
    inside, y, cell = silhouette.inside, silhouette.y, silhouette.cell
    facing = _facing(silhouette, columns)
    found = np.array([_stack(inside[column]) for column in columns], dtype=np.float64)
    # What holds an arm from below joins it farther back.
    ends = found[-(len(found) // 3 + 1) :] if facing > 0 else found[: len(found) // 3 + 1]
    seat, near, far = np.median(ends, axis=0)
    thick = sorted(float(np.ptp(bar) + 1) for bar in (near, far))
    apart = float(np.mean(far) - np.mean(near))
    if facing == 0 or thick[1] > _THINNER * apart or thick[0] < _ALIKE * thick[1]:
        return None
    stand = np.flatnonzero(inside[:, : int(np.flatnonzero(inside.any(axis=0))[0] + 0.05 / cell)].any(axis=1))
    depth = float(np.ptp(stand)) * cell
    seat_low, seat_high = silhouette.y[int(seat[0])], silhouette.y[int(found[:, 0, 1].max())]
    # A seat is about as wide as it is deep and as thick as the arms.
    sine = float(seat_high - seat_low - thick[1] * cell) / max(depth, 1e-6)
    spread_arms = apart * cell / max(sine, 1e-6)
    if not _SINES[0] < sine < _SINES[1] or not _WIDTHS[0] < spread_arms / depth < _WIDTHS[1]:
        return None
    between, lower = (
        float(np.interp(row, np.arange(len(y)), y)) for row in ((near[1] + far[0]) / 2, near[0])
    )
    start = float(silhouette.x[columns[0] if facing > 0 else columns[-1]])
    pitch = float(np.degrees(np.arcsin(sine)))
    return Arms(
        pitch, depth / 2, spread_arms / 2, facing, start, between, lower, float(seat_low), float(seat_high)
    )


def armchair(silhouette: Silhouette, arms: Arms) -> Body:
    """Return seat, two pairs of legs, two sides of the back and the rail that runs round it."""
    inside, height, facing = silhouette.inside, silhouette.y[None, :], silhouette.x[:, None] * arms.facing
    up = Camera(0.0, arms.pitch).rotation[:, 1]
    rail = inside & (height > arms.lower - silhouette.cell)
    side = np.where(height > arms.between, -arms.apart, arms.apart) * np.ones_like(silhouette.signed)
    sure = rail & (facing >= arms.start * arms.facing + _FREE)
    offset = spread(rail, side, np.where(sure, 10.0, 0.0), 1.0 / silhouette.cell)
    seat = inside & (height >= arms.seat_low) & (height <= arms.seat_high + silhouette.cell)
    uprights = [(rail, offset)]
    uprights += [(mask, np.full_like(offset, away)) for mask, away in _pairs(silhouette, arms, rail, seat)]
    parts = [_seat(silhouette, seat, arms)]
    parts += [_upright(silhouette, mask, away, arms.pitch) for mask, away in uprights if mask.any()]
    lowest = -silhouette.extent[1] / 2
    ground = (lowest + float(up[2]) * _INSET * arms.width) / float(up[1])
    return Body(silhouette, tuple(parts), Plane(up, ground + _GROUND_CUT))


def _pairs(silhouette: Silhouette, arms: Arms, rail: Mask, seat: Mask) -> list[tuple[Mask, float]]:
    """Return near and far legs and posts of the back, and how far from the middle each stands."""
    inside, height = silhouette.inside, silhouette.y[None, :]
    behind = silhouette.x * arms.facing < arms.start * arms.facing
    sine = float(np.sin(np.radians(arms.pitch)))
    inset = _INSET * arms.width
    back = min(inset, arms.apart)
    under, above = inside & (height < arms.seat_low), inside & (height > arms.seat_high)
    columns = _leg_columns(silhouette, arms)
    legs = inside & columns[:, None]
    near_legs = under | (legs & (height < arms.seat_low + _OVERLAP))
    # Of a bar between the far legs the outline would leave a splinter.
    tall = np.ones((1, max(int(_LEAST_LENGTH / silhouette.cell), 3)))
    hidden = legs & (height < arms.seat_low + 2.0 * arms.width * sine)
    far_legs = np.asarray(ndimage.binary_opening(under, tall)) | hidden
    post = _backmost(inside, arms.facing, int((columns & behind).sum()))
    posts = above & behind[:, None] & (post | ~rail)
    near_posts = (posts | (seat & post)) & (height < arms.between)
    board = (arms.seat_low + arms.seat_high) / 2 + sine * back - _OVERLAP
    far_posts = posts | (seat & post & (height > board))
    return [(near_legs, inset), (far_legs, -inset), (near_posts, back), (far_posts, -back)]


def _upright(silhouette: Silhouette, mask: Mask, offset: Field, pitch: float) -> Sheet:
    """Return an upright part that stands ``offset`` nearer than the middle of the chair."""
    sine, cosine = np.sin(np.radians(pitch)), np.cos(np.radians(pitch))
    # Beside the part goes on what is nearest, for the surface is found by slopes.
    nearest = np.asarray(ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True))
    offset = offset[nearest[0], nearest[1]]
    middle = sine / cosine * silhouette.y[None, :] + offset / cosine
    squared = squared_thickness(silhouette, part_distance(silhouette, mask)) * _ROUND**2
    slope_x, slope_y = np.gradient(offset / cosine, silhouette.cell)
    # The middle of a rail that runs away from the viewer is steep; its thickness is across it.
    steep = 1.0 + np.where(mask, np.minimum(slope_x**2 + slope_y**2, _STEEPEST**2), 0.0)
    return Sheet(middle, np.where(squared > 0, squared * steep, squared))


def _seat(silhouette: Silhouette, mask: Mask, arms: Arms) -> Sheet:
    """Return a level board from the near to the far side of the chair."""
    sine, cosine = np.sin(np.radians(arms.pitch)), np.cos(np.radians(arms.pitch))
    seen = arms.seat_high - arms.seat_low
    thick = float(np.clip(seen - 2.0 * sine * arms.width, *_SEAT))
    centre = (arms.seat_low + arms.seat_high) / 2
    x, y = silhouette.x[:, None] * arms.facing, silhouette.y[None, :]
    # The back, which stands behind the seat, is not part of it.
    behind = (float(x[mask.any(axis=1)].max()) - arms.width - x) / arms.width
    wide = arms.width * np.maximum(1.0 - behind**4, 0.0) ** 0.25
    # Along the line of sight the board lies between its lower and upper face and its two edges.
    near = np.minimum((centre + thick / 2 - y) / sine, wide)
    far = np.maximum((centre - thick / 2 - y) / sine, -wide)
    half = (near - far) / 2 / cosine
    return Sheet(sine / cosine * y + (near + far) / 2 / cosine, half * np.abs(half))


def _leg_columns(silhouette: Silhouette, arms: Arms) -> Mask:
    """Tell the columns in which the object goes on without a gap from the seat to halfway down."""
    lowest = -silhouette.extent[1] / 2
    between = (silhouette.y < arms.seat_low) & (silhouette.y > (arms.seat_low + lowest) / 2)
    return np.asarray(silhouette.inside[:, between].mean(axis=1) > _GOES_ON)


def _backmost(inside: Mask, facing: int, thick: int) -> Mask:
    """Return the first ``thick`` nodes from the back edge of the outline in each row."""
    order = inside if facing > 0 else inside[::-1]
    near = order & (np.cumsum(order, axis=0) <= thick)
    return np.asarray(near if facing > 0 else near[::-1])


def _columns_of_two(silhouette: Silhouette) -> list[int]:
    """Return the longest row of columns in which just two bars are seen above the seat."""
    best: list[int] = []
    current: list[int] = []
    for column, inside in enumerate(silhouette.inside):
        if _stack(inside) is None:
            current = []
            continue
        current = [*current, column]
        best = max(best, current, key=len)
    return best


def _stack(inside: Mask) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None:
    """Return first and last node of seat, lower and upper bar in a column; the seat is the thickest."""
    runs = _runs(inside)
    if len(runs) < 3:
        return None
    seat, near, far = sorted(runs, key=lambda run: run[0])[-3:]
    thickest = max(runs, key=lambda run: run[1] - run[0])
    return (seat, near, far) if seat == thickest else None


def _runs(inside: Mask) -> list[tuple[int, int]]:
    edges = np.diff(inside.astype(np.int8), prepend=0, append=0)
    return [
        (int(start), int(end) - 1)
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    ]


def _facing(silhouette: Silhouette, columns: list[int]) -> int:
    """Tell at which side the bars end in the air above the seat: 1 right, -1 left, 0 at neither."""
    seat = _stack(silhouette.inside[columns[len(columns) // 2]])
    if seat is None:
        return 0
    above = np.asarray(silhouette.inside[:, (seat[0][1] + seat[1][0]) // 2 :].any(axis=1))
    for side in (1, -1):
        beyond = slice(columns[-1], None) if side > 0 else slice(0, columns[0] + 1)
        seats = np.asarray(silhouette.inside[beyond][:, seat[0][0] : seat[0][1] + 1].any(axis=1))
        if (seats & ~above[beyond]).any():
            return side
    return 0
