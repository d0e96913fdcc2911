"""From the cut-outs of several pictures to one model: views, body, mesh, texture, and what to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.topology import vertex_normals
from maquette.runtime.errors import InvalidArgument
from services.meshgen.engines.shape_from_silhouette.hull.body import (
    Body,
    agreement,
    carve,
    count_cells,
    register,
)
from services.meshgen.engines.shape_from_silhouette.hull.charts import unwrap
from services.meshgen.engines.shape_from_silhouette.hull.frames import arrange
from services.meshgen.engines.shape_from_silhouette.hull.guess import guess_views, is_symmetric
from services.meshgen.engines.shape_from_silhouette.hull.implied import implied_side
from services.meshgen.engines.shape_from_silhouette.hull.paint import Shot, paint
from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import Viewpoint, name_of
from services.meshgen.engines.shape_from_silhouette.matting import Cutout
from services.meshgen.engines.shape_from_silhouette.nets import mesh_volume
from services.meshgen.engines.shape_from_silhouette.progress import Progress
from services.meshgen.engines.shape_from_silhouette.texture import spread_colors

_FIRST_CELLS = 64
_MIN_CELLS, _MAX_CELLS = 48, 256
_MAX_NODES = 10_000_000
_AGREED = 0.9
"""Overlap with a picture's outline below which a warning says so."""
_HOPELESS = 0.35
_ONE_THING = 0.12
"""Share of colours in common with the first picture below which a warning says so."""


@dataclass(frozen=True, slots=True)
class Model:
    """What several pictures made: the asset, facts for ``info``, and warnings."""

    asset: Asset
    info: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def build_model(
    cutouts: Sequence[Cutout],
    given: Sequence[Viewpoint],
    *,
    vertex_target: int,
    texture_side: int,
    plain: Material,
    progress: Progress,
) -> Model:
    """Make one model of two to six pictures, painted where ``texture_side`` is not 0.

    ``given`` is empty where the viewpoints are to be guessed. Raises :class:`InvalidArgument` for
    pictures that no one thing can look like.
    """
    progress.enter("shaping", "Carving the visual hull")
    views = tuple(given) or guess_views(cutouts)
    symmetric = _is_symmetric(cutouts, views)
    silhouettes = register(arrange(cutouts, views))
    side = implied_side(silhouettes)
    used = [*silhouettes, side] if side is not None else silhouettes
    body = carve(used, _FIRST_CELLS)
    body = carve(used, _choose_cells(body, vertex_target))
    met = [agreement(body, one) for one in silhouettes]
    if min(met) < _HOPELESS:
        raise InvalidArgument(
            "The pictures cannot be of one thing: no body has these outlines.", reason="INVALID_INPUT_FILE"
        )
    progress.enter("meshing", "Closing the surface")
    net = mesh_volume(body.field)
    points, faces = body.to_frame(net.vertices), net.faces.astype(np.int32)
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    metres = (points - (centre[0], low[1], centre[2])) / float((high - low).max())
    vertices = metres.astype(np.float32)
    normals = vertex_normals(vertices, faces)
    mesh, material = Mesh(vertices, faces, normals), plain
    if texture_side:
        progress.enter("unwrapping", "Unwrapping the surface")
        atlas = unwrap(vertices, faces, views, texture_side)
        progress.enter("texturing", "Painting from every picture")
        shots = [
            Shot(one, spread_colors(cutout).sharp) for one, cutout in zip(silhouettes, cutouts, strict=True)
        ]
        texture = paint(atlas, points, faces, shots, cell=body.cell, symmetric=symmetric)
        uv = (atlas.texels / atlas.side).astype(np.float32)
        mesh = Mesh(vertices[atlas.source], atlas.faces, normals[atlas.source], uv)
        material = Material(name="pictures", base_color_texture=texture, roughness=plain.roughness)
    names = [name_of(view) for view in views]
    info = {"views": names, "views_given": bool(given), "views_agreement": [round(one, 3) for one in met]}
    warnings = _warnings(names, bool(given), met, cutouts)
    return Model(Asset("model", (Part("model", mesh, material),)), info, warnings)


def _is_symmetric(cutouts: Sequence[Cutout], views: Sequence[Viewpoint]) -> bool:
    """Tell whether the thing's left is its right's mirror image, as far as front or back show."""
    seen = [cutout for cutout, view in zip(cutouts, views, strict=True) if view.level and view.yaw % 180 == 0]
    return bool(seen) and all(is_symmetric(cutout) for cutout in seen)


def _choose_cells(coarse: Body, vertex_target: int) -> int:
    """Return the cells along the longest side that give about the wanted vertices."""
    # The vertices of a surface net grow with the area, so with the square of the cells.
    factor = (vertex_target / max(count_cells(coarse.field), 1)) ** 0.5
    roomiest = (_MAX_NODES / coarse.field.size) ** (1 / 3)
    return int(np.clip(round(_FIRST_CELLS * min(factor, roomiest)), _MIN_CELLS, _MAX_CELLS))


def _warnings(
    names: Sequence[str], given: bool, met: Sequence[float], cutouts: Sequence[Cutout]
) -> tuple[str, ...]:
    warnings = []
    if not given:
        warnings.append(f"The pictures were taken for these views, in their order: {', '.join(names)}.")
    for number, (name, share) in enumerate(zip(names, met, strict=True), 1):
        if share < _AGREED:
            warnings.append(
                f"Picture {number} ({name}) does not agree with the others: "
                f"the model meets {share:.0%} of its outline."
            )
    first = _histogram(cutouts[0])
    for number, (name, cutout) in enumerate(zip(names, cutouts, strict=True), 1):
        if float(np.minimum(first, _histogram(cutout)).sum()) < _ONE_THING:
            warnings.append(f"Picture {number} ({name}) has other colours; is it of the same thing?")
    return tuple(warnings)


def _histogram(cutout: Cutout) -> NDArray[np.float64]:
    """Return the shares of 4 × 4 × 4 colours on the object, softened by their neighbours."""
    count = cv2.calcHist(
        [np.ascontiguousarray(cutout.rgb)],
        [0, 1, 2],
        (cutout.alpha > 0.9).astype(np.uint8),
        [8, 8, 8],
        [0, 256, 0, 256, 0, 256],
    )
    wide = np.pad(np.asarray(count, dtype=np.float64), 1)
    soft = sum(
        wide[1 + x : 9 + x, 1 + y : 9 + y, 1 + z : 9 + z]
        for x in (-1, 0, 1)
        for y in (-1, 0, 1)
        for z in (-1, 0, 1)
    )
    return np.asarray(soft / max(float(np.sum(soft)), 1e-9))
