"""The picture's camera, how a model appears in it, and the model's mirror plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    """From where the picture was taken, in degrees.

    Turned about Y by ``yaw`` and then about X by ``pitch``, the model, which stands level on
    the ground, is back in the picture's frame: x right, y up, z towards the viewer. So ``yaw``
    counts degrees to the right of the model's front, ``pitch`` degrees above the horizon.
    """

    yaw: float = 0.0
    pitch: float = 0.0

    @property
    def rotation(self) -> Points:
        """Return the ``(3, 3)`` matrix that takes model directions into the picture's frame."""
        yaw, pitch = np.radians(self.yaw), np.radians(self.pitch)
        about_y = np.array(
            [[np.cos(yaw), 0.0, -np.sin(yaw)], [0.0, 1.0, 0.0], [np.sin(yaw), 0.0, np.cos(yaw)]]
        )
        about_x = np.array(
            [[1.0, 0.0, 0.0], [0.0, np.cos(pitch), -np.sin(pitch)], [0.0, np.sin(pitch), np.cos(pitch)]]
        )
        return np.asarray(about_x @ about_y)

    @property
    def direction(self) -> Points:
        """Return the unit vector ``(3,)`` in model space that points to the camera."""
        return np.asarray(self.rotation[2])


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a point of the model appears on the cut-out.

    The model is turned into the picture's frame, then projected along z:
    ``pixel = origin + scale · (x, -y)``.
    """

    origin: tuple[float, float]
    scale: float
    camera: Camera = Camera()

    def to_pixels(self, points: NDArray[np.floating]) -> Points:
        """Project ``(n, 3)`` metres to ``(n, 2)`` pixels of the cut-out."""
        right, up, _ = self.camera.rotation
        flat = np.asarray(points, dtype=np.float64) @ np.stack([right, -up], axis=1)
        return np.asarray(self.origin + self.scale * flat)

    def depth(self, points: NDArray[np.floating]) -> Points:
        """Return how far towards the camera ``(n, 3)`` points lie, ``(n,)`` metres; larger is nearer."""
        return np.asarray(np.asarray(points, dtype=np.float64) @ self.camera.direction)


@dataclass(frozen=True, slots=True)
class MirrorPlane:
    """A plane of symmetry in model space: the points with ``normal · p = offset`` (metres)."""

    normal: tuple[float, float, float]
    offset: float

    def reflect(self, points: NDArray[np.floating]) -> Points:
        """Return the mirror images of ``(n, 3)`` points."""
        place = np.asarray(points, dtype=np.float64)
        normal = np.array(self.normal)
        return np.asarray(place - 2.0 * (place @ normal - self.offset)[:, None] * normal)
