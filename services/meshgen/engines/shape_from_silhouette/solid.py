"""Guess the solid behind a silhouette: sheets, box, mirror and ground from what the outline tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.meshgen.engines.shape_from_silhouette.armchair import armchair
from services.meshgen.engines.shape_from_silhouette.body import Body, Sheet
from services.meshgen.engines.shape_from_silhouette.boxes import stack_boxes, with_symmetry
from services.meshgen.engines.shape_from_silhouette.camera import Camera
from services.meshgen.engines.shape_from_silhouette.contact import Contact
from services.meshgen.engines.shape_from_silhouette.level import guess_level
from services.meshgen.engines.shape_from_silhouette.parts import flatness
from services.meshgen.engines.shape_from_silhouette.poisson import spread
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette
from services.meshgen.engines.shape_from_silhouette.symmetry import fit_mirror, paired
from services.meshgen.engines.shape_from_silhouette.thickness import squared_thickness
from services.meshgen.engines.shape_from_silhouette.vessel import vessel
from services.meshgen.engines.shape_from_silhouette.viewpoint import (
    Oblique,
    Viewpoint,
    ground_plane,
    middle_slopes,
    mirror_plane,
)

_FOOT_WEIGHT, _FOOT_REACH, _FRAME_REACH = 10.0, 0.4, 4.0
"""How firmly feet stand on the ground, how far a body follows them and how far a frame does."""
_STRETCH = (0.6, 1.2)
"""Bounds of the factor on the inflated thickness."""
_MIRRORED = 0.88
"""The same factor where the mirror image thickens the body once more."""

_HALVES_SEEN = 0.42
"""Sine of the angle between view and mirror plane up to which the picture shows both halves."""


def guess_body(silhouette: Silhouette, view: Viewpoint) -> Body:
    """Return the solid behind a silhouette that is seen as ``view`` tells."""
    round_one = None if view.rim is None else vessel(silhouette, view.rim)
    if round_one is not None:
        return round_one
    if view.arms is not None:
        return armchair(silhouette, view.arms)
    if view.oblique is None:
        return guess_level(silhouette, view)
    if view.box_like:
        return _boxed(silhouette, view.camera, view.oblique)
    return _oblique(silhouette, view.camera, view.oblique)


def _oblique(silhouette: Silhouette, camera: Camera, oblique: Oblique) -> Body:
    """Return a sheet along the middle of the box's ellipsoid, bent so that the feet are on the ground."""
    squared = squared_thickness(silhouette, silhouette.signed) * flatness(silhouette) ** 2
    slope_x, slope_y, half = middle_slopes(camera, oblique.box)
    x, y = np.meshgrid(silhouette.x, silhouette.y, indexing="ij")
    middle = slope_x * x + slope_y * y
    up = camera.rotation[:, 1]
    feet, on_feet = _feet(silhouette, oblique.contact)
    ground = float((up[1] * y + up[2] * middle)[on_feet].mean()) if on_feet.any() else -0.5
    depth = (ground - up[1] * feet) / up[2]
    weight = np.where(on_feet, _FOOT_WEIGHT, 0.0)
    reach = (_FRAME_REACH if oblique.framed else _FOOT_REACH) / silhouette.cell
    middle = middle + spread(silhouette.inside, depth - middle, weight, reach)
    stretch = np.clip(half / np.sqrt(squared.max()), *_STRETCH)
    sheet = Sheet(middle, _thick_enough(silhouette, middle, squared * stretch**2))
    # Whatever was taken for a foot, the ground may cut nothing off that the picture shows.
    top = up[1] * y + up[2] * (middle + np.sqrt(np.maximum(_MIRRORED**2 * sheet.squared, 0.0)))
    ground = min(ground, float(top[silhouette.inside].min()))
    body = Body(silhouette, (sheet,), ground_plane(camera, ground))
    plane = mirror_plane(camera, oblique.contact, ground)
    # Seen nearly from the front, both halves are in the picture.
    mirror = fit_mirror(body, plane) if abs(plane.normal[2]) > _HALVES_SEEN else None
    if mirror is None:
        return body
    thinner = Sheet(middle, _thick_enough(silhouette, middle, sheet.squared * _MIRRORED**2))
    twin = thinner if oblique.framed else paired(silhouette, thinner, mirror)
    return replace(body, sheets=(thinner,), mirror=mirror, reflected=(twin,))


def _thick_enough(silhouette: Silhouette, middle: Field, squared: Field) -> Field:
    """Thicken thin limbs of a steep sheet, which the grid could not hold."""
    slope_x, slope_y = np.gradient(middle, silhouette.cell)
    least = np.clip(1.6 * silhouette.signed, 0.0, 1.2) * silhouette.cell
    steep = least**2 * (1.0 + slope_x**2 + slope_y**2)
    return np.where(silhouette.inside, np.maximum(squared, steep), squared)


def _boxed(silhouette: Silhouette, camera: Camera, oblique: Oblique) -> Body:
    """Return what the silhouette cuts out of its boxes, and a sheet through them for what stands out."""
    across, _, deep = oblique.box
    boxes = tuple(with_symmetry(silhouette, box) for box in stack_boxes(silhouette, camera, across / deep))
    near, far = np.full_like(silhouette.signed, -1e9), np.full_like(silhouette.signed, 1e9)
    for box in boxes:
        front, back = box.depths(silhouette)
        near = np.where(front > back, np.maximum(near, front), near)
        far = np.where(front > back, np.minimum(far, back), far)
    within = (near > far) & silhouette.inside
    half = np.where(within, (near - far) / 2, 0.0)
    # What joins parts that stand on one another, or carries them, is on their axis.
    middle = np.tile(np.tan(np.radians(camera.pitch)) * silhouette.y, (len(silhouette.x), 1))
    if len(boxes) == 1:
        middle = np.where(within, (near + far) / 2, 0.0)
        middle = spread(silhouette.inside, middle, np.where(within, 10.0, 0.0), 1.0 / silhouette.cell)
    squared = squared_thickness(silhouette, silhouette.signed)
    limited = np.where(within, np.minimum(squared, (0.8 * half) ** 2 + silhouette.cell**2), squared)
    up = camera.rotation[:, 1]
    y = np.broadcast_to(silhouette.y, middle.shape)
    top = up[1] * y + up[2] * (middle + np.sqrt(np.maximum(limited, 0.0)))
    bottoms = [float(up @ box.centre - box.half[1]) for box in boxes]
    ground = min(*bottoms, float(top[silhouette.inside].min()))
    return Body(silhouette, (Sheet(middle, limited),), ground_plane(camera, ground), boxes=boxes)


def _feet(silhouette: Silhouette, contact: Contact) -> tuple[Field, Mask]:
    """Return the height in the picture and the nodes at which the object meets the ground."""
    inside = silhouette.inside
    columns = np.flatnonzero(inside.any(axis=1))
    row = inside[columns].argmax(axis=1)
    x, y = silhouette.x[columns], silhouette.y[row]
    yaw, pitch = np.radians(contact.yaw), np.radians(contact.pitch)
    axes = np.array([[-np.cos(yaw), np.sin(yaw)], [np.sin(yaw) * np.sin(pitch), np.cos(yaw) * np.sin(pitch)]])
    left, right = np.linalg.solve(axes, np.stack([x - contact.corner[0], y - contact.corner[1]]))
    near = (np.abs(left) < 0.04) | (np.abs(right) < 0.04)
    within = (left > -0.05) & (right > -0.05) & (left < 1.15 * contact.left) & (right < 1.15 * contact.right)
    lowest = np.array([y[np.abs(x - here) < 0.03].min() for here in x])
    on = within & (near | (y <= lowest + 0.01))
    height, mask = np.zeros_like(silhouette.signed), np.zeros_like(inside)
    mask[columns[on], row[on]] = True
    height[columns[on], row[on]] = y[on]
    return height, mask
