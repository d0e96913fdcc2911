"""From a matte to a closed body in metres that stands level on the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Floats, Indices
from services.meshgen.engines.shape_from_silhouette.body import (
    Body,
    Plane,
    lathe_distance,
    sample_volume,
)
from services.meshgen.engines.shape_from_silhouette.camera import Camera, MirrorPlane, Placement
from services.meshgen.engines.shape_from_silhouette.matting import Cutout
from services.meshgen.engines.shape_from_silhouette.muzzle import find_muzzle
from services.meshgen.engines.shape_from_silhouette.nets import count_vertices, mesh_volume
from services.meshgen.engines.shape_from_silhouette.rim import find_rim
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette, sample
from services.meshgen.engines.shape_from_silhouette.solid import guess_body
from services.meshgen.engines.shape_from_silhouette.vessel import vessel
from services.meshgen.engines.shape_from_silhouette.viewpoint import Viewpoint, find_viewpoint
from services.meshgen.engines.shape_from_silhouette.visibility import faces_seen

VERTEX_TARGETS = {"low": 10_000, "medium": 40_000, "high": 120_000}
_VIEW_CELLS = 256
"""Cells along the longest side for finding the camera."""
_FIRST_CELLS = 112
_SOLE = 0.02
"""Height in cells up to which a vertex is on the ground."""
_MIN_CELLS, _MAX_CELLS = 56, 448
_ON_LATHE = 2.0
"""Distance in cells up to which a vertex belongs to a lathe."""
_TIP = 4.0
"""Cells from the edge of the object's box over which tips are drawn out to it."""


@dataclass(frozen=True, slots=True)
class Turned:
    """An upright axis ``(x, z)`` in metres and which vertices ``(n,)`` are of what is turned about it."""

    axis: tuple[float, float]
    vertices: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shape:
    """The closed body in metres, longest side of its box 1 m, standing level on y = 0.

    ``front (m,)`` marks the faces that the picture's camera sees. ``mirror`` is the plane of
    symmetry, where one was found: what the picture hides may look like its mirror image there.
    ``turned`` is what of it looks alike all round an axis.
    """

    vertices: Floats
    faces: Indices
    front: NDArray[np.bool_]
    placement: Placement
    mirror: MirrorPlane | None = None
    turned: Turned | None = None

    @property
    def camera(self) -> Camera:
        """Return the camera of the picture."""
        return self.placement.camera


@dataclass(frozen=True, slots=True)
class Solid:
    """The guessed body in the picture's frame and the camera that sees it so."""

    body: Body
    camera: Camera


def guess_solid(cutout: Cutout, quality: str) -> Solid:
    """Guess the solid behind the matte, on a grid whose mesh has about the vertices of ``quality``."""
    alpha = cutout.alpha
    view = _viewpoint(cutout)
    coarse, _ = sample_volume(guess_body(sample(alpha, _FIRST_CELLS), view))
    # The vertices of a surface net grow with the area, so with the square of the cells.
    cells = _FIRST_CELLS * (VERTEX_TARGETS[quality] / count_vertices(coarse)) ** 0.5
    silhouette = sample(alpha, int(np.clip(round(cells), _MIN_CELLS, _MAX_CELLS)))
    return Solid(guess_body(silhouette, view), view.camera)


def _viewpoint(cutout: Cutout) -> Viewpoint:
    """Tell the view from a rim, where the picture shows one, else from the outline; find a muzzle."""
    silhouette = sample(cutout.alpha, _VIEW_CELLS)
    rim = find_rim(cutout.rgb, cutout.alpha, silhouette)
    if rim is not None and vessel(silhouette, rim) is not None:
        return Viewpoint(Camera(0.0, float(np.degrees(np.arcsin(rim.sine)))), False, rim=rim)
    view = find_viewpoint(silhouette)
    if view.oblique is not None or view.arms is not None or view.turned:
        return view
    return replace(view, muzzle=find_muzzle(cutout.rgb, cutout.alpha, silhouette))


def build_shape(solid: Solid) -> Shape:
    """Mesh the solid, level it and set it on the ground."""
    body, silhouette = solid.body, solid.body.silhouette
    volume, first = sample_volume(body)
    corner = np.array([silhouette.x[0], silhouette.y[0], first])
    outline = None if body.turned else silhouette.signed
    net = mesh_volume(
        volume, outline, lambda points: _reach_box(points * silhouette.cell + corner, silhouette)
    )
    points, faces = net.vertices, net.faces.astype(np.int32)
    seen = faces_seen((points - corner) / silhouette.cell, faces)
    rotation = solid.camera.rotation
    level = points @ rotation
    low, high = level.min(axis=0), level.max(axis=0)
    origin = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    # The sole is exactly flat: rounding in the turn would leave faces that graze one another.
    level[level[:, 1] < low[1] + _SOLE * silhouette.cell, 1] = low[1]
    metre = 1.0 / float((high - low).max())
    middle = rotation @ origin
    placement = Placement(
        origin=(
            silhouette.centre[0] + silhouette.unit * float(middle[0]),
            silhouette.centre[1] - silhouette.unit * float(middle[1]),
        ),
        scale=silhouette.unit / metre,
        camera=solid.camera,
    )
    mirror = None if body.mirror is None else _in_model(body.mirror, rotation, origin, metre)
    turned = _turned(body, points, float(origin[0]), float(origin[2]), metre) if body.turned else None
    return Shape(((level - origin) * metre).astype(np.float32), faces, seen, placement, mirror, turned)


def _turned(body: Body, points: NDArray[np.float64], x: float, z: float, metre: float) -> Turned:
    """Return the axis of the first lathe and which vertices, in the picture's frame, are a lathe's."""
    column = points.astype(np.float32).T
    near = [
        np.abs(lathe_distance(lathe, *column)) < _ON_LATHE * body.silhouette.cell for lathe in body.lathes
    ]
    return Turned((metre * (body.lathes[0].centre - x), -metre * z), np.logical_or.reduce(near))


def _reach_box(points: NDArray[np.float64], silhouette: Silhouette) -> NDArray[np.float64]:
    """Draw the outermost vertices out to the object's box in the picture.

    A net rounds off tips, and by a tip's pixel all the rest would be seen larger. The way grows
    smoothly towards the edge, so cells stay apart.
    """
    points = points.copy()
    reach = _TIP * silhouette.cell
    for axis, size in enumerate(silhouette.box):
        for side in (-1.0, 1.0):
            outwards = side * points[:, axis]
            gap = float(np.clip(size / 2 - outwards.max(), -silhouette.cell, silhouette.cell))
            share = np.clip((outwards - outwards.max()) / reach + 1.0, 0.0, 1.0)
            points[:, axis] += side * gap * share * share * (3.0 - 2.0 * share)
    return points


def _in_model(
    plane: Plane, rotation: NDArray[np.float64], origin: NDArray[np.float64], metre: float
) -> MirrorPlane:
    """Take a plane from the picture's frame to the model's."""
    x, y, z = (float(value) for value in plane.normal @ rotation)
    return MirrorPlane((x, y, z), metre * (plane.offset - float(np.array([x, y, z]) @ origin)))
