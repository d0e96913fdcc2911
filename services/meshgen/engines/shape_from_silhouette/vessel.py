"""Round vessels seen from above: cups, bowls and pots with their hollow, their handles and their plate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.body import Body, Plane, Sheet
from services.meshgen.engines.shape_from_silhouette.lathe import Lathe
from services.meshgen.engines.shape_from_silhouette.legs import part_distance
from services.meshgen.engines.shape_from_silhouette.plates import PLATE_DEPTH
from services.meshgen.engines.shape_from_silhouette.rim import Plate, Rim
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette
from services.meshgen.engines.shape_from_silhouette.thickness import squared_thickness

_PHASES = np.radians(np.arange(0.0, 360.0, 7.5))
_LEVELS, _RADII = 96, 80
"""Heights at which rings are laid into the outline, and radii that are tried at each."""
_CONE = 0.7
"""Where the rings grow by this share of what a cone of unseen sides would, the base begins."""
_WALL = 0.025
"""Least thickness of walls and floors, as a share of the longest side."""
_PLATE_FOOT = 0.55
"""Radius of the foot of a plate as a share of the plate's."""
_ROUND, _MOUTH = 0.82, 0.5
"""Share of the outline that round parts must fill, and width of the rim as a share of the widest ring's."""
_HANDLE = 0.002
"""Area of what stands out of them from which on it is kept, as a share of the outline's."""
_JOINT = 0.02
"""How far a handle reaches into the wall."""
_LIMB = 0.75
"""Factor on the inflated thickness that makes a limb round."""
_GROUND_CUT = 0.0008
"""Share of the longest side that is cut off flat so that the model stands."""


def vessel(silhouette: Silhouette, rim: Rim) -> Body | None:
    """Return the round thing below a rim, None where the outline is too little that of one."""
    lathes = _lathes(silhouette, rim)
    inside = silhouette.inside
    covered = inside & _covered(silhouette, lathes, rim.sine)
    widest = float(lathes[0].radius.max())
    if covered.sum() < _ROUND * inside.sum() or rim.outer.radius < _MOUTH * widest:
        return None
    sine, cosine = rim.sine, float(np.sqrt(1.0 - rim.sine**2))
    ground = min(float(lathe.height[0]) for lathe in lathes)
    # On a plate lie spoons; what stands out of both is no handle.
    handles = _handles(silhouette, inside & ~covered) if rim.plate is None else np.zeros_like(inside)
    return Body(
        silhouette,
        (_upright(silhouette, handles, sine / cosine),) if handles.any() else (),
        Plane(np.array([0.0, cosine, sine]), ground + _GROUND_CUT),
        mirror=Plane(np.array([0.0, -sine, cosine]), 0.0),
        lathes=lathes,
        turned=True,
    )


def _lathes(silhouette: Silhouette, rim: Rim) -> tuple[Lathe, ...]:
    """Return the vessel and the plate below it, if there is one."""
    pitch = float(np.degrees(np.arcsin(rim.sine)))
    top = rim.outer.y / float(np.cos(np.radians(pitch)))
    if rim.plate is None:
        height, radius = _rings(silhouette, rim, top)
        return (_hollowed(Lathe(rim.outer.x, height, radius, pitch), rim),)
    plate = _plate(rim.plate, pitch)
    floor = float(plate.height[0]) + _WALL
    share = np.linspace(0.0, 1.0, _LEVELS)
    widening = rim.plate.foot + (1.0 - rim.plate.foot) * share**rim.plate.bulge
    cup = Lathe(rim.outer.x, floor + (top - floor) * share, rim.outer.radius * widening, pitch)
    return _hollowed(cup, rim), plate


def _rings(silhouette: Silhouette, rim: Rim, top: float) -> tuple[Field, Field]:
    """Return heights and radii of the largest solid of revolution below the rim that the outline holds."""
    sine, cosine = rim.sine, float(np.sqrt(1.0 - rim.sine**2))
    lowest = (-silhouette.extent[1] / 2 - 0.1) / cosine
    height = np.linspace(lowest, top, _LEVELS)
    tried = np.linspace(0.0, 1.0, _RADII) * max(silhouette.extent) / 2
    x = rim.outer.x + tried[None, :, None] * np.cos(_PHASES)
    y = cosine * height[:, None, None] + sine * tried[None, :, None] * np.sin(_PHASES)
    x, y = np.broadcast_arrays(x, y)
    places = [(x - silhouette.x[0]) / silhouette.cell, (y - silhouette.y[0]) / silhouette.cell]
    least = ndimage.map_coordinates(silhouette.signed, places, order=1, cval=-1.0).min(axis=2)
    fits = np.logical_and.accumulate(least > -0.5, axis=1)
    radius = np.where(fits.any(axis=1), tried[np.maximum(fits.sum(axis=1) - 1, 0)], 0.0)
    radius = ndimage.gaussian_filter1d(radius, 1.5, mode="nearest")
    # Below the base the outline would hold a cone whose side nobody sees.
    growth = np.gradient(radius, height)
    cone = (growth > _CONE * cosine / sine) | (radius < 0.05 * rim.outer.radius)
    first = int(np.flatnonzero(~cone & (np.cumsum(radius) > 0.0))[0])
    height, radius = height[first:], radius[first:].copy()
    radius[-1] = rim.outer.radius
    return height, radius


def _hollowed(lathe: Lathe, rim: Rim) -> Lathe:
    """Take out what the rim encloses, down to the filling or the floor."""
    if rim.inner == 0.0:
        return lathe
    cosine = float(np.cos(np.radians(lathe.pitch)))
    bottom = float(lathe.height[0]) + _WALL
    wall = max(rim.outer.radius - rim.inner, _WALL)
    most = lathe.radius - wall
    if rim.filling is not None:
        bottom = max(bottom, rim.filling.y / cosine)
        share = np.clip((lathe.height - bottom) / (lathe.height[-1] - bottom), 0.0, 1.0)
        seen = rim.filling.radius + share * (rim.inner - rim.filling.radius)
        most = np.minimum(lathe.radius - _WALL, seen)
    inner = (lathe.height > bottom) & (most > _WALL)
    height = np.concatenate([[bottom], lathe.height[inner], [lathe.height[-1] + 1.0]])
    radius = np.concatenate([most[inner][:1], most[inner], [rim.inner]])
    return replace(lathe, hollow=Lathe(lathe.centre, height, radius, lathe.pitch))


def _plate(plate: Plate, pitch: float) -> Lathe:
    """Return a dish as flat as most are."""
    edge = plate.edge
    top = edge.y / float(np.cos(np.radians(pitch)))
    low = top - PLATE_DEPTH * edge.radius
    foot = _PLATE_FOOT * edge.radius
    lip = top - 0.6 * _WALL
    inner = Lathe(
        edge.x,
        np.array([low + _WALL, top, top + 1.0]),
        np.array([foot, edge.radius - 0.6 * _WALL, edge.radius - 0.6 * _WALL]),
        pitch,
    )
    height, radius = np.array([low, lip, top]), np.array([foot, edge.radius, edge.radius])
    return Lathe(edge.x, height, radius, pitch, inner)


def _covered(silhouette: Silhouette, lathes: tuple[Lathe, ...], sine: float) -> Mask:
    """Tell the nodes behind which there is a round part."""
    x, y = silhouette.x[:, None], silhouette.y[None, :]
    covered = np.zeros(silhouette.signed.shape, dtype=bool)
    for lathe in lathes:
        cosine = np.cos(np.radians(lathe.pitch))
        # Rings close enough to leave no gaps between them.
        height = np.linspace(lathe.height[0], lathe.height[-1], 2 * _LEVELS)
        radius = np.interp(height, lathe.height, lathe.radius) + silhouette.cell
        for level, wide in zip(height, radius, strict=True):
            covered |= (x - lathe.centre) ** 2 + ((y - level * cosine) / sine) ** 2 < wide**2
    return covered


def _handles(silhouette: Silhouette, rest: Mask) -> Mask:
    """Return what stands out of the round parts, without slivers, and what joins it to them."""
    labels, count = ndimage.label(ndimage.binary_opening(rest, np.ones((3, 3))))
    size = np.bincount(labels.ravel(), minlength=count + 1)
    size[0] = 0
    kept = np.isin(labels, np.flatnonzero(size > _HANDLE * silhouette.inside.sum()))
    joint = max(round(_JOINT / silhouette.cell), 2)
    return np.asarray(ndimage.binary_dilation(kept, iterations=joint) & silhouette.inside)


def _upright(silhouette: Silhouette, mask: Mask, slope: float) -> Sheet:
    """Return a part in the upright plane through the axis that faces the viewer."""
    middle = np.tile(slope * silhouette.y, (len(silhouette.x), 1))
    squared = squared_thickness(silhouette, part_distance(silhouette, mask)) * _LIMB**2
    # Along the line of sight a slanted part is thicker.
    return Sheet(middle, np.where(squared > 0, squared * (1.0 + slope**2), squared))
