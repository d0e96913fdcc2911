"""The solid behind a level view: from the front or the side, nothing seen from above.

The outline tells no depth, so each kind of thing has its rule: what balances on one foot is
round; what stands on legs below a flat belly has four of them; furniture is as deep as it is
wide; everything else is about as deep as its thickest part.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.body import Body, Plane, Sheet
from services.meshgen.engines.shape_from_silhouette.figure import forwards
from services.meshgen.engines.shape_from_silhouette.lathe import Lathe, turn, turned_thickness
from services.meshgen.engines.shape_from_silhouette.legs import Stand, find_legs, part_distance
from services.meshgen.engines.shape_from_silhouette.muzzle import put_forward
from services.meshgen.engines.shape_from_silhouette.parts import flatness
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette
from services.meshgen.engines.shape_from_silhouette.thickness import (
    local_radius,
    slab_thickness,
    squared_thickness,
    standing_thickness,
)
from services.meshgen.engines.shape_from_silhouette.viewpoint import Viewpoint

_FRONT, _SIDE, _SIDE_ON_LEGS, _UPRIGHT = 1.15, 1.35, 0.95, 1.0
"""Depth as a multiple of the width of the thickest part, by view; measured on models of many kinds."""
_NARROW = 0.6
"""Width over height below which a thing is upright, or in a front view longer than it is wide."""
_NARROW_FRONT, _NARROW_ON_LEGS = (3.0, 0.8), (4.0, 1.1)
"""Its depth as a multiple of the width of its thickest part, and at most."""
_THIN_LEGS, _THIN_LEGS_IN_FRONT = 2.0, 3.3
"""Radius of the body over that of its legs from which on four of them carry it, by view."""
_LIMB = 0.75
"""Factor on the inflated thickness that makes a limb round."""
_WIDE_STAND = 0.8
"""Distance between the outer feet as a share of the width from which on a thing is furniture."""
_OPENINGS = 0.04
"""Area of openings above the legs, as a share of the object's, from which on a thing is furniture."""
_TRUNK = 0.12
"""Share of the height over which one foot must stay narrow."""
_GROUND_CUT = 0.0008
"""Share of the longest side that is cut off flat so that the model stands."""


def guess_level(silhouette: Silhouette, view: Viewpoint) -> Body:
    """Return the solid behind a level view."""
    radius = local_radius(silhouette)
    stand = find_legs(silhouette, 0.6 * float(radius.max()))
    closed = _closed_radius(silhouette)
    if stand is not None:
        depth = 2.2 * closed
        if _open_above(silhouette, stand.belly):
            depth = max(depth, _stand_width(silhouette))
        elif radius.max() >= 0.3 * closed and not (view.symmetric and _stands_wide(silhouette)):
            depth = 0.0
        if depth > 0.0:
            return _body(silhouette, _furniture(silhouette, view, stand, depth))
    narrow = view.symmetric and silhouette.extent[0] < _NARROW * silhouette.extent[1]
    if stand is not None and not _carried(stand, radius, view, narrow):
        stand = None
    if stand is None and stands_on_one_foot(silhouette):
        turned = turned_thickness(silhouette)
        return _body(silhouette, (Sheet(np.zeros_like(turned), turned),))
    if stand is None and view.turned:
        return _turned(silhouette, turn(silhouette, view.camera.pitch))
    wanted = _wanted_depth(silhouette, view, radius, stand is not None)
    legs = () if stand is None else _leg_sheets(silhouette, stand, wanted)
    signed = part_distance(silhouette, stand.body) if stand is not None and legs else silhouette.signed
    squared = standing_thickness(silhouette, signed)
    factor = _stretch(radius, wanted, squared) * flatness(silhouette)
    middle = forwards(silhouette) if stand is None else np.zeros_like(squared)
    trunk = Sheet(middle, squared * factor**2)
    if view.muzzle is not None:
        trunk = put_forward(silhouette, trunk, view.muzzle)
    return _body(silhouette, (trunk, *legs))


def _body(silhouette: Silhouette, sheets: tuple[Sheet, ...]) -> Body:
    ground = Plane(np.array([0.0, 1.0, 0.0]), -silhouette.extent[1] / 2 + _GROUND_CUT)
    return Body(silhouette, sheets, ground)


def _carried(stand: Stand, radius: Field, view: Viewpoint, narrow: bool) -> bool:
    """Tell whether four legs carry the body; the two of a person are about as thick as it is deep."""
    if view.symmetric and not narrow:
        return False
    least = _THIN_LEGS_IN_FRONT if narrow else _THIN_LEGS
    return float(radius.max()) >= least * max(leg.radius for leg in stand.legs)


def _turned(silhouette: Silhouette, lathe: Lathe) -> Body:
    """Return a solid of revolution and a thin sheet for what stands out of it (a leaf, a handle)."""
    pitch = np.radians(lathe.pitch)
    squared = squared_thickness(silhouette, silhouette.signed)
    squared = np.minimum(squared * _LIMB**2, (0.3 * float(lathe.radius.max())) ** 2)
    up = np.array([0.0, np.cos(pitch), np.sin(pitch)])
    middle = np.tile(np.tan(pitch) * silhouette.y, (len(silhouette.x), 1))
    sheet = Sheet(
        middle, np.where(silhouette.y[None, :] > lathe.height[0] * np.cos(pitch), squared, -squared)
    )
    across = Plane(np.array([0.0, -np.sin(pitch), np.cos(pitch)]), 0.0)
    return Body(
        silhouette, (sheet,), Plane(up, float(lathe.height[0]) + _GROUND_CUT), mirror=across, lathes=(lathe,)
    )


def _wanted_depth(silhouette: Silhouette, view: Viewpoint, radius: Field, legged: bool) -> float:
    """Return how deep the thickest part is."""
    width, height = silhouette.extent
    thickest = 2.0 * float(radius.max())
    narrow = width < _NARROW * height
    if not view.symmetric:
        return (_SIDE_ON_LEGS if legged else _UPRIGHT if narrow else _SIDE) * thickest
    if not narrow:
        return _FRONT * thickest
    factor, most = _NARROW_ON_LEGS if legged else _NARROW_FRONT
    return max(min(factor * thickest, most), _FRONT * thickest)


def _stretch(radius: Field, wanted: float, squared: Field) -> Field:
    """Return factors on the thickness: the thickest part gets the wanted depth, limbs stay round."""
    factor = wanted / (2.0 * float(np.sqrt(squared.max())))
    share = np.clip((radius / radius.max() - 0.25) / 0.5, 0.0, 1.0)
    share = share * share * (3.0 - 2.0 * share)
    return np.asarray(_LIMB + (factor - _LIMB) * share)


def stands_on_one_foot(silhouette: Silhouette) -> bool:
    """Tell whether a wide object stands on one narrow foot, as a tree does: then it must be round."""
    height = silhouette.extent[1]
    for share in (0.02, _TRUNK):
        foot = _foot_columns(silhouette, share * height)
        runs = int((np.diff(foot.astype(np.int8), prepend=0) == 1).sum())
        columns = np.flatnonzero(foot)
        if runs != 1 or (columns[-1] - columns[0] + 1) * silhouette.cell > 0.25 * silhouette.extent[0]:
            return False
    return True


def _stands_wide(silhouette: Silhouette) -> bool:
    return _stand_width(silhouette) > _WIDE_STAND * silhouette.extent[0]


def _stand_width(silhouette: Silhouette) -> float:
    """Return the distance between the outer feet."""
    columns = np.flatnonzero(_foot_columns(silhouette, 0.05))
    return float(columns[-1] - columns[0] + 1) * silhouette.cell


def _open_above(silhouette: Silhouette, belly: float) -> bool:
    """Tell whether there are openings above the legs, as in the back of a chair; no animal has them."""
    inside = silhouette.inside
    holes = ndimage.binary_fill_holes(inside) & ~inside & (silhouette.y > belly)[None, :]
    return bool(holes.sum() > _OPENINGS * inside.sum())


def _foot_columns(silhouette: Silhouette, height: float) -> Mask:
    """Tell the columns in which the object reaches down to ``height`` above its lowest point."""
    inside = silhouette.inside
    lowest = int(np.flatnonzero(inside.any(axis=0))[0])
    rows = max(int(height / silhouette.cell), 1) + 1
    return np.asarray(inside[:, lowest : lowest + rows].any(axis=1))


def _closed_radius(silhouette: Silhouette) -> float:
    """Return the radius of the largest disc in the outline with its holes and leg gaps filled."""
    inside = silhouette.inside.copy()
    lowest = int(np.flatnonzero(inside.any(axis=0))[0])
    columns = np.flatnonzero(_foot_columns(silhouette, 0.05))
    inside[columns[0] : columns[-1] + 1, lowest] = True
    filled = ndimage.binary_fill_holes(inside)
    return float(ndimage.distance_transform_edt(filled).max()) * silhouette.cell


def _leg_sheets(silhouette: Silhouette, stand: Stand, depth: float) -> tuple[Sheet, ...]:
    """Set the legs apart: near ones towards the viewer, far ones away, both where one hides the other."""
    sheets: list[Sheet] = []
    for leg in stand.legs:
        squared = standing_thickness(silhouette, part_distance(silhouette, leg.mask)) * _LIMB**2
        apart = max(0.9 * depth / 2 - leg.radius, 1.15 * leg.radius)
        sides = (apart, -apart) if leg.alone else (apart if leg.near else -apart,)
        sheets.extend(Sheet(np.full_like(squared, side), squared) for side in sides)
    return tuple(sheets)


def _furniture(silhouette: Silhouette, view: Viewpoint, stand: Stand, depth: float) -> tuple[Sheet, ...]:
    """Return four legs, a seat or top of full depth, and from the front a back behind it."""
    legs = _leg_sheets(silhouette, stand, depth)
    half = depth / 2
    if not view.symmetric:
        signed = part_distance(silhouette, stand.body)
        return (Sheet(np.zeros_like(signed), slab_thickness(silhouette, signed, half, 0.03)), *legs)
    top = _seat_top(silhouette, stand.belly, 0.6 * depth)
    above = (silhouette.y > top)[None, :]
    seat = part_distance(silhouette, stand.body & ~above)
    parts = [Sheet(np.zeros_like(seat), slab_thickness(silhouette, seat, half, 0.05))]
    rest = stand.body & (silhouette.y > top - 0.05)[None, :]
    if (stand.body & above).any():
        signed = part_distance(silhouette, rest)
        panel = np.minimum(squared_thickness(silhouette, signed) * _LIMB**2, (0.15 * half) ** 2)
        thick = float(np.sqrt(panel.max()))
        parts.append(Sheet(np.full_like(panel, -(half - thick)), panel))
    return (*parts, *legs)


def _seat_top(silhouette: Silhouette, belly: float, highest: float) -> float:
    """Return the height at which what lies on the legs stops filling the width."""
    filled = silhouette.inside.sum(axis=0) * silhouette.cell
    rows = np.flatnonzero(silhouette.y >= belly)
    widest = float(filled[rows].max())
    start = next((row for row in rows if filled[row] > 0.8 * widest), rows[0])
    for row in range(start, len(silhouette.y)):
        if filled[row] < 0.75 * widest or silhouette.y[row] > belly + highest:
            return float(silhouette.y[row])
    return float(silhouette.y[-1])
