"""From a matte to a closed body in metres that stands level on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Floats, Indices
from services.meshgen.engines.shape_from_silhouette.body import Body, Plane, sample_volume
from services.meshgen.engines.shape_from_silhouette.camera import Camera, MirrorPlane, Placement
from services.meshgen.engines.shape_from_silhouette.nets import count_vertices, mesh_volume
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette, sample
from services.meshgen.engines.shape_from_silhouette.solid import guess_body
from services.meshgen.engines.shape_from_silhouette.viewpoint import find_viewpoint
from services.meshgen.engines.shape_from_silhouette.visibility import faces_seen

VERTEX_TARGETS = {"low": 10_000, "medium": 40_000, "high": 120_000}
_VIEW_CELLS = 256
"""Cells along the longest side for finding the camera."""
_FIRST_CELLS = 112
_SOLE = 0.02
"""Height in cells up to which a vertex is on the ground."""
_MIN_CELLS, _MAX_CELLS = 56, 448
_TIP = 4.0
"""Cells from the edge of the object's box over which tips are drawn out to it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The closed body in metres, longest side of its box 1 m, standing level on y = 0.

    ``front (m,)`` marks the faces that the picture's camera sees. ``mirror`` is the plane of
    symmetry, where one was found: what the picture hides may look like its mirror image there.
    """

    vertices: Floats
    faces: Indices
    front: NDArray[np.bool_]
    placement: Placement
    mirror: MirrorPlane | None = None

    @property
    def camera(self) -> Camera:
        """Return the camera of the picture."""
        return self.placement.camera


@dataclass(frozen=True, slots=True)
class Solid:
    """The guessed body in the picture's frame and the camera that sees it so."""

    body: Body
    camera: Camera


def guess_solid(alpha: NDArray[np.float32], quality: str) -> Solid:
    """Guess the solid behind the matte, on a grid whose mesh has about the vertices of ``quality``."""
    view = find_viewpoint(sample(alpha, _VIEW_CELLS))
    coarse, _ = sample_volume(guess_body(sample(alpha, _FIRST_CELLS), view))
    # The vertices of a surface net grow with the area, so with the square of the cells.
    cells = _FIRST_CELLS * (VERTEX_TARGETS[quality] / count_vertices(coarse)) ** 0.5
    silhouette = sample(alpha, int(np.clip(round(cells), _MIN_CELLS, _MAX_CELLS)))
    return Solid(guess_body(silhouette, view), view.camera)


def build_shape(solid: Solid) -> Shape:
    """Mesh the solid, level it and set it on the ground."""
    body, silhouette = solid.body, solid.body.silhouette
    volume, first = sample_volume(body)
    corner = np.array([silhouette.x[0], silhouette.y[0], first])
    net = mesh_volume(
        volume, silhouette.signed, lambda points: _reach_box(points * silhouette.cell + corner, silhouette)
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
    return Shape(((level - origin) * metre).astype(np.float32), faces, seen, placement, mirror)


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
