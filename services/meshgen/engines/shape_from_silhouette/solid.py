"""Guess the solid behind a silhouette: sheets, box, mirror and ground from what the outline tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.meshgen.engines.shape_from_silhouette.body import Body, Box, Sheet
from services.meshgen.engines.shape_from_silhouette.camera import Camera
from services.meshgen.engines.shape_from_silhouette.contact import Contact
from services.meshgen.engines.shape_from_silhouette.level import guess_level
from services.meshgen.engines.shape_from_silhouette.poisson import spread
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette
from services.meshgen.engines.shape_from_silhouette.symmetry import fit_mirror
from services.meshgen.engines.shape_from_silhouette.thickness import squared_thickness
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


def guess_body(silhouette: Silhouette, view: Viewpoint) -> Body:
    """Return the solid behind a silhouette that is seen as ``view`` tells."""
    if view.oblique is None:
        return guess_level(silhouette, view)
    if view.box_like:
        return _boxed(silhouette, view.camera, view.oblique)
    return _oblique(silhouette, view.camera, view.oblique)


def _oblique(silhouette: Silhouette, camera: Camera, oblique: Oblique) -> Body:
    """Return a sheet along the middle of the box's ellipsoid, bent so that the feet are on the ground."""
    squared = squared_thickness(silhouette, silhouette.signed)
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
    mirror = fit_mirror(body, mirror_plane(camera, oblique.contact, ground))
    if mirror is None:
        return body
    thinner = _thick_enough(silhouette, middle, sheet.squared * _MIRRORED**2)
    return replace(body, sheets=(Sheet(middle, thinner),), mirror=mirror)


def _thick_enough(silhouette: Silhouette, middle: Field, squared: Field) -> Field:
    """Thicken thin limbs of a steep sheet, which the grid could not hold."""
    slope_x, slope_y = np.gradient(middle, silhouette.cell)
    least = np.clip(1.6 * silhouette.signed, 0.0, 1.2) * silhouette.cell
    steep = least**2 * (1.0 + slope_x**2 + slope_y**2)
    return np.where(silhouette.inside, np.maximum(squared, steep), squared)


def _boxed(silhouette: Silhouette, camera: Camera, oblique: Oblique) -> Body:
    """Return what the silhouette cuts out of its box, and a sheet through it for what stands out."""
    box = Box(camera.rotation, np.array(oblique.box) / 2)
    near, far = box.depths(silhouette)
    within = (near > far) & silhouette.inside
    middle = np.where(within, (near + far) / 2, 0.0)
    half = np.where(within, (near - far) / 2, 0.0)
    middle = spread(silhouette.inside, middle, np.where(within, 10.0, 0.0), 1.0 / silhouette.cell)
    squared = squared_thickness(silhouette, silhouette.signed)
    limited = np.where(within, np.minimum(squared, (0.8 * half) ** 2 + silhouette.cell**2), squared)
    ground = ground_plane(camera, -float(box.half[1]))
    return Body(silhouette, (Sheet(middle, limited),), ground, None, box)


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
