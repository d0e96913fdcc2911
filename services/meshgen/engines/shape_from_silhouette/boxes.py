"""Built things seen over a corner: one box for each part that stands on another."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import cv2
import numpy as np
from scipy import ndimage, signal

from services.meshgen.engines.shape_from_silhouette.body import Box, Plane, inside_cone, reflect
from services.meshgen.engines.shape_from_silhouette.camera import Camera
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette

_NECK = 0.85
"""Width of a neck as a share of that of what is above and below it."""
_LEAST_PART = 0.14
"""Height of a part from which on it gets a box of its own, as a share of the longest side."""
_CORE = 0.55
"""Radius of the disc that a part without its arms and knobs lets pass, as a share of its largest disc."""
_GROWN = 1.35
"""How far, in such radii, the core is grown again: into the corners."""
_TURNS, _TILTS = (-18.0, -12.0, -6.0, 0.0, 6.0, 12.0, 18.0), (-15.0, -10.0, -5.0, 0.0, 5.0)
"""Degrees by which yaw and pitch are tried around what the ground contact tells."""
_RATIOS = (0.6, 0.75, 0.9, 1.0, 1.1, 1.33, 1.67)
"""Factors on the ratio of the two level sides that are tried."""
_A_BOX, _PER_DEGREE, _PER_RATIO = 0.9, 0.002, 0.02
"""Overlap with a box from which on it is believed, and what it must gain by a turn or another ratio."""
_LEAST_PITCH, _LEAST_YAW = 6.0, 12.0
_KEPT = 0.93
"""Share of the picture's outline that a carved box must still fill for its halves to be alike."""
_LIFTS, _OVERHANG = (0.0, 0.06, 0.12, 0.18, 0.25, 0.33), 0.015
"""Shares of its height by which a box is raised, and the share of a part that may stay outside."""
_SAMPLES = 9
"""Places along a line of sight at which carving is tried."""
_COARSE_CELL = 0.01
"""Cell, as a share of the longest side, that is fine enough for comparing outlines."""

Sides = tuple[float, float, float]


def fit_camera(silhouette: Silhouette, camera: Camera, sides: Sides) -> tuple[Camera, Sides]:
    """Turn the camera to where the largest part looks most like a box; return it and the box's sides."""
    silhouette = _coarse(silhouette)
    largest = max(_cores(silhouette), key=lambda core: int(core.sum()))
    start = sides[0] / sides[2]
    best, chosen, proportion = -1.0, camera, start
    for turn, tilt, ratio in product(_TURNS, _TILTS, _RATIOS):
        tried = Camera(camera.yaw + turn, camera.pitch + tilt)
        corner = tried.yaw % 90.0
        if tried.pitch < _LEAST_PITCH or not _LEAST_YAW < corner < 90.0 - _LEAST_YAW:
            continue
        box = _around(silhouette, largest, tried, start * ratio)
        fit = 0.0 if box is None else overlap(silhouette, (box,), largest)
        # Of two that fit alike the one nearer to what the ground tells is the better guess.
        rated = fit - _PER_DEGREE * (abs(turn) + abs(tilt)) - _PER_RATIO * abs(np.log(ratio))
        if fit > _A_BOX and rated > best:
            best, chosen, proportion = rated, tried, start * ratio
    whole = _around(silhouette, silhouette.inside, chosen, proportion)
    if best < 0.0 or whole is None:
        return camera, sides
    across, up, deep = (2.0 * float(half) for half in whole.half)
    return chosen, (across, up, deep)


def _coarse(silhouette: Silhouette) -> Silhouette:
    """Return a silhouette on every second or third node: fine enough to compare outlines."""
    step = max(round(_COARSE_CELL / silhouette.cell), 1)
    return replace(
        silhouette,
        signed=silhouette.signed[::step, ::step] / step,
        x=silhouette.x[::step],
        y=silhouette.y[::step],
        cell=silhouette.cell * step,
    )


def stack_boxes(silhouette: Silhouette, camera: Camera, proportion: float) -> tuple[Box, ...]:
    """Return a box for each part of the outline that a neck parts from the next, upright ones all.

    ``proportion`` is the ratio of the sides across and away from the model's front.
    """
    boxes = []
    for core in _cores(silhouette):
        box = _around(silhouette, core, camera, proportion)
        if box is not None:
            boxes.append(_raised(silhouette, core, box))
    return tuple(boxes)


def _raised(silhouette: Silhouette, core: Mask, box: Box) -> Box:
    """Raise the top of a box until its outline holds the whole part: a vault is lower at the corners."""
    tried = box
    for lift in _LIFTS:
        rise = box.half[1] * lift
        half, centre = box.half + np.array([0.0, rise, 0.0]), box.centre + rise * box.axes[:, 1]
        tried = replace(box, half=half, centre=centre)
        near, far = tried.depths(silhouette)
        if (core & (near <= far)).sum() < _OVERHANG * core.sum():
            break
    return tried


def overlap(silhouette: Silhouette, boxes: tuple[Box, ...], mask: Mask) -> float:
    """Return what the outline of boxes has in common with a part of the silhouette, 0–1."""
    covered = np.zeros_like(mask)
    for box in boxes:
        near, far = box.depths(silhouette)
        covered |= near > far
    return float((covered & mask).sum() / max(int((covered | mask).sum()), 1))


def with_symmetry(silhouette: Silhouette, box: Box) -> Box:
    """Give a box those of its upright planes of symmetry that the outline agrees with."""
    near, far = box.depths(silhouette)
    inside = (near > far) & silhouette.inside
    planes: tuple[Plane, ...] = ()
    for axis in (0, 2):
        normal = box.axes[:, axis]
        tried = (*planes, Plane(normal, float(normal @ box.centre)))
        if _filled(silhouette, inside, near, far, tried) >= _KEPT:
            planes = tried
    return replace(box, mirrors=planes)


def _filled(
    silhouette: Silhouette, inside: Mask, near: Field, far: Field, planes: tuple[Plane, ...]
) -> float:
    """Return the share of lines of sight on which carving by mirrored outlines leaves something."""
    x, y = np.meshgrid(silhouette.x, silhouette.y, indexing="ij")
    left = np.zeros(int(inside.sum()), dtype=bool)
    for share in np.linspace(0.02, 0.98, _SAMPLES):
        depth = far + share * (near - far)
        points = np.stack([x[inside], y[inside], depth[inside]], axis=1)
        kept = np.ones(len(points), dtype=bool)
        for plane in planes:
            kept &= inside_cone(silhouette, reflect(points, plane))
        left |= kept
    return float(left.mean()) if len(left) else 0.0


def _cores(silhouette: Silhouette) -> list[Mask]:
    """Return the parts of the outline from the ground up, each without its arms and knobs."""
    inside = silhouette.inside
    cores = []
    for part in _parts(silhouette):
        depth = _depth(part)
        reach = _CORE * float(depth.max())
        core = _depth(depth <= reach) < _GROWN * reach
        labels, count = ndimage.label(core & part & inside)
        if count:
            cores.append(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))
    return cores


def _depth(mask: Mask) -> Field:
    """Return the distance in cells to what is outside a mask."""
    solid = mask.astype(np.uint8)
    return np.asarray(cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float64)


def _parts(silhouette: Silhouette) -> list[Mask]:
    """Cut the outline level where it has a neck."""
    inside = silhouette.inside
    width = ndimage.gaussian_filter1d(inside.sum(axis=0) * silhouette.cell, 0.012 / silhouette.cell)
    rows = np.flatnonzero(inside.any(axis=0))
    ends = [int(rows[0]), int(rows[-1]) + 1]
    least = _LEAST_PART / silhouette.cell
    cuts = [ends[0]]
    for row in signal.argrelmin(width, order=3, mode="clip")[0]:
        below, above = width[cuts[-1] : row], width[row : ends[1]]
        if row - cuts[-1] < least or ends[1] - row < least:
            continue
        if width[row] < _NECK * min(float(below.max()), float(above.max())):
            cuts.append(int(row))
    cuts.append(ends[1])
    parts = []
    for start, end in pairwise(cuts):
        part = inside.copy()
        part[:, :start] = part[:, end:] = False
        parts.append(part)
    return parts


def _around(silhouette: Silhouette, core: Mask, camera: Camera, proportion: float) -> Box | None:
    """Return the box whose picture has the width and height of a part; None where there is none."""
    columns, rows = np.flatnonzero(core.any(axis=1)), np.flatnonzero(core.any(axis=0))
    width, height = len(columns) * silhouette.cell, (rows[-1] - rows[0] + 1) * silhouette.cell
    across, up, away = np.abs(camera.rotation).T
    deep = width / (proportion * across[0] + away[0])
    wide = proportion * deep
    tall = (height - wide * across[1] - deep * away[1]) / up[1]
    if tall < 0.1 * height:
        return None
    x = float(silhouette.x[columns].mean())
    y = float(silhouette.y[[rows[0], rows[-1]]].mean())
    # All stand on one upright axis, which is seen as the line through the middle of the picture.
    pitch = np.radians(camera.pitch)
    centre = np.array([x, y, y * np.tan(pitch)])
    return Box(camera.rotation, np.array([wide, tall, deep]) / 2, centre)
