"""From where the picture was taken and how large the object is in each direction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.meshgen.engines.shape_from_silhouette.armchair import Arms, find_arms
from services.meshgen.engines.shape_from_silhouette.body import Box, Plane, Vector
from services.meshgen.engines.shape_from_silhouette.boxes import fit_camera
from services.meshgen.engines.shape_from_silhouette.camera import Camera
from services.meshgen.engines.shape_from_silhouette.contact import Contact, find_contact
from services.meshgen.engines.shape_from_silhouette.lathe import turned_pitch
from services.meshgen.engines.shape_from_silhouette.muzzle import Muzzle
from services.meshgen.engines.shape_from_silhouette.rim import Rim
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette
from services.meshgen.engines.shape_from_silhouette.straightness import straight_share

_SYMMETRIC = 0.9
"""Overlap of an outline with its mirror image from which on it is seen from the front."""
_BUILT, _ALL_STRAIGHT = 0.25, 0.6
"""Share of straight outline from which on a thing may be a box, and from which on it surely is built."""
_BOX_LIKE = 0.7
"""Overlap of the silhouette with the outline of its box from which on a thing is a box."""
_NEARLY_SYMMETRIC = 0.8
"""The same where nothing tells of an oblique view."""
_THINNEST, _LONGEST = 0.08, 1.6
"""Bounds of a box that is believed, as shares of the silhouette's longest side."""
_EVEN = 0.7
"""Ratio of the sides of a box up to which they do not tell which of them is the front."""
_STANDS_HIGH = 0.3
"""Sides of the base as a share of the height below which something stands like a person."""

_MUCH_OVER = 1.8
"""Width of the picture as a multiple of the base's from which on the base tells little of the object."""
_LONG_BASE = 2.5
"""Ratio of the sides of a base that is believed all the same: an animal on four legs."""


@dataclass(frozen=True, slots=True)
class Oblique:
    """What an oblique view tells: the rectangle on which the object stands and the box that it fills.

    ``box`` are the lengths along the model's x, y and z as shares of the silhouette's longest
    side. ``framed`` tells that the outline is straight nearly everywhere, as that of a chair.
    """

    contact: Contact
    box: tuple[float, float, float]
    framed: bool

    def box_like(self, silhouette: Silhouette, camera: Camera, straight: float) -> bool:
        """Tell whether something with this share of straight outline is about a box."""
        if straight < _BUILT:
            return False
        near, far = Box(camera.rotation, np.array(self.box) / 2).depths(silhouette)
        covered, inside = near > far, silhouette.inside
        return bool((covered & inside).sum() >= _BOX_LIKE * (covered | inside).sum())


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """The camera and what else the outline tells of the view.

    ``symmetric`` tells whether the outline is its own mirror image, ``box_like`` whether it is
    about that of its box, ``turned`` whether it can be that of a solid of revolution.
    ``oblique`` is None for a view from the front or the side; ``arms`` are those of a chair from the side,
    ``rim`` that of a round thing seen from above, ``muzzle`` one that points at the viewer.
    """

    camera: Camera
    symmetric: bool
    oblique: Oblique | None = None
    box_like: bool = False
    turned: bool = False
    arms: Arms | None = None
    rim: Rim | None = None
    muzzle: Muzzle | None = None


def find_viewpoint(silhouette: Silhouette) -> Viewpoint:
    """Tell a front view (symmetric), an oblique one (two slopes at the base) and any other."""
    symmetry, straight = mirror_overlap(silhouette), straight_share(silhouette)
    contact = find_contact(silhouette)
    found = None if contact is None else _oblique(silhouette, contact, straight >= _ALL_STRAIGHT)
    if found is not None:
        camera, oblique = found
        box_like = oblique.box_like(silhouette, camera, straight)
        # Seen over a corner, a crate has a symmetric outline as well.
        if symmetry < _SYMMETRIC or (box_like and oblique.framed):
            if box_like:
                camera, sides = fit_camera(silhouette, camera, oblique.box)
                oblique = replace(oblique, box=sides)
            return Viewpoint(camera, False, oblique, box_like)
    arms = find_arms(silhouette) if symmetry < _SYMMETRIC else None
    if arms is not None:
        return Viewpoint(Camera(0.0, arms.pitch), False, arms=arms)
    if symmetry < _NEARLY_SYMMETRIC:
        return Viewpoint(Camera(), False)
    pitch = turned_pitch(silhouette)
    return Viewpoint(Camera(0.0, pitch or 0.0), True, turned=pitch is not None)


def _oblique(silhouette: Silhouette, contact: Contact, framed: bool) -> tuple[Camera, Oblique] | None:
    """Choose which side of the base is the front; None when the box is out of proportion."""
    left, height, right = _box(silhouette, contact)
    if min(left, right) < _THINNEST or max(left, right) > _LONGEST:
        return None
    # The model's x axis is the one across: the short one of an animal or a vehicle, the one
    # from foot to foot of a person. The base tells it better than the box: wings spread across.
    across_left = contact.left <= 1.1 * contact.right
    if max(contact.left, contact.right) < _STANDS_HIGH * height:
        even = _EVEN < left / right < 1 / _EVEN
        across_left = contact.yaw <= 45.0 if even else left >= right
    if across_left:
        return Camera(contact.yaw, contact.pitch), Oblique(contact, (left, height, right), framed)
    return Camera(contact.yaw - 90.0, contact.pitch), Oblique(contact, (right, height, left), framed)


def mirror_overlap(silhouette: Silhouette) -> float:
    """Return the share that an outline and its left-right mirror image have in common."""
    inside = silhouette.inside
    image = inside[::-1]
    return float((inside & image).sum() / (inside | image).sum())


def _box(silhouette: Silhouette, contact: Contact) -> tuple[float, float, float]:
    """Return the lengths along the left side, up and along the right side of the contact."""
    yaw, pitch = np.radians(contact.yaw), np.radians(contact.pitch)
    width, height = silhouette.extent
    ratio = contact.left / contact.right
    over = width / (contact.left * np.cos(yaw) + contact.right * np.sin(yaw))
    if over > _MUCH_OVER and 1 / _LONG_BASE < ratio < _LONG_BASE:
        # A small base tells little about what stands on it: arms, a bag that bulges.
        ratio = _ratio_of_spread(silhouette, contact)
    right = width / (ratio * np.cos(yaw) + np.sin(yaw))
    left = ratio * right
    covered = (left * np.sin(yaw) + right * np.cos(yaw)) * np.sin(pitch)
    return left, max((height - covered) / np.cos(pitch), 0.1), right


def _ratio_of_spread(silhouette: Silhouette, contact: Contact) -> float:
    """Tell the ratio of the sides from how the silhouette leans.

    What spreads along the left side makes the silhouette fall to the right, what spreads
    along the right side makes it rise: the mixed second moment weighs one against the other.
    """
    yaw, pitch = np.radians(contact.yaw), np.radians(contact.pitch)
    inside = silhouette.inside
    x, y = np.meshgrid(silhouette.x, silhouette.y, indexing="ij")
    moments = np.cov(np.stack([x[inside], y[inside]]))
    lean = moments[0, 1] / (np.cos(yaw) * np.sin(yaw) * np.sin(pitch))
    left = max(moments[0, 0] - lean * np.sin(yaw) ** 2, 0.0)
    right = max(moments[0, 0] + lean * np.cos(yaw) ** 2, 0.0)
    # Half of the whole spread on each side keeps the guess near a square.
    even = 0.5 * moments[0, 0]
    return float(np.sqrt((left + even) / (right + even)))


def middle_slopes(camera: Camera, box: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the slopes along x and y of the surface midway through an ellipsoid, and its half depth.

    The chords of an ellipsoid along one direction have their middles in a plane.
    """
    rotation = camera.rotation
    inverse = rotation @ np.diag([4.0 / side**2 for side in box]) @ rotation.T
    return (
        float(-inverse[2, 0] / inverse[2, 2]),
        float(-inverse[2, 1] / inverse[2, 2]),
        float(inverse[2, 2] ** -0.5),
    )


def ground_plane(camera: Camera, offset: float) -> Plane:
    """Return the ground, its normal up, in the picture's frame."""
    return Plane(camera.rotation[:, 1], offset)


def mirror_plane(camera: Camera, contact: Contact, ground: float) -> Plane:
    """Return the upright plane through the middle of the base that halves the object."""
    rotation = camera.rotation
    up = rotation[:, 1]
    x, y = contact.corner
    corner: Vector = np.array([x, y, (ground - up[1] * y) / max(up[2], 1e-6)])
    axes = Camera(contact.yaw, contact.pitch).rotation
    centre = corner - axes[:, 0] * contact.left / 2 - axes[:, 2] * contact.right / 2
    normal = rotation[:, 0]
    return Plane(normal, float(normal @ centre))
