"""The library's own figure as something to look at: a jointed mannequin on a chequered floor.

Its left arm and leg have another colour than its right ones, and the floor stays where it is while
the camera goes along: so turns, mirrored motions and the way over the ground can be told.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Bytes, Floats, Indices, Material, Mesh, Part
from maquette.geometry.topology import vertex_normals
from services.animation.motion.figure import ANKLE, JOINTS

Vectors = NDArray[np.float64]
Point = tuple[float, float, float]

_AROUND, _ALONG = 12, 4
"""Corners of a limb around its length, and rings of each of its round ends."""
_BODY, _LEFT, _RIGHT, _FACE = (226, 218, 206), (74, 152, 178), (222, 128, 92), (96, 84, 78)
_TILE = 0.5
"""Side of a square of the floor, metres."""
_FLOOR = ((214, 216, 220), (186, 190, 197))
_UNDER = -0.004
"""Height of the floor: soles stand on it, not in it."""

# Joint, ends in its axes (metres), radius at either end.
_Limb = tuple[str, Point, Point, float, float]
_TRUNK: tuple[_Limb, ...] = (
    ("hips", (0.075, -0.01, 0.0), (-0.075, -0.01, 0.0), 0.105, 0.105),
    ("hips", (0.0, 0.0, 0.0), (0.0, 0.1, 0.0), 0.115, 0.1),
    ("spine", (0.0, 0.0, 0.0), (0.0, 0.12, 0.0), 0.1, 0.11),
    ("chest", (0.045, 0.02, 0.0), (0.045, 0.14, 0.005), 0.09, 0.095),
    ("chest", (-0.045, 0.02, 0.0), (-0.045, 0.14, 0.005), 0.09, 0.095),
    ("upperChest", (0.08, 0.05, 0.0), (-0.08, 0.05, 0.0), 0.095, 0.095),
    ("upperChest", (0.0, 0.1, -0.005), (0.0, 0.16, -0.005), 0.06, 0.05),
    ("neck", (0.0, 0.0, 0.0), (0.0, 0.09, 0.012), 0.047, 0.045),
    ("head", (0.0, 0.07, 0.012), (0.0, 0.135, 0.005), 0.083, 0.093),
)
_FEATURES: tuple[_Limb, ...] = (
    ("head", (0.0, 0.085, 0.095), (0.0, 0.065, 0.11), 0.014, 0.016),
    ("head", (0.035, 0.115, 0.082), (0.035, 0.115, 0.085), 0.011, 0.011),
    ("head", (-0.035, 0.115, 0.082), (-0.035, 0.115, 0.085), 0.011, 0.011),
)
_SIDE: tuple[_Limb, ...] = (
    ("Shoulder", (0.03, 0.0, 0.0), (0.14, 0.0, 0.0), 0.05, 0.055),
    ("UpperArm", (0.0, 0.0, 0.0), (0.28, 0.0, 0.0), 0.052, 0.04),
    ("LowerArm", (0.0, 0.0, 0.0), (0.26, 0.0, 0.0), 0.04, 0.028),
    ("Hand", (0.01, 0.0, 0.018), (0.09, 0.0, 0.022), 0.021, 0.017),
    ("Hand", (0.01, 0.0, -0.014), (0.085, 0.0, -0.02), 0.021, 0.016),
    ("ThumbMetacarpal", (0.0, 0.0, 0.0), (0.03, -0.005, 0.025), 0.016, 0.013),
    ("ThumbProximal", (0.0, 0.0, 0.0), (0.04, 0.0, 0.022), 0.013, 0.01),
    *(
        (f"{finger}{part}", (0.0, 0.0, 0.0), (length, 0.0, 0.0), 0.011, 0.009)
        for finger in ("Index", "Middle", "Ring", "Little")
        for part, length in (("Proximal", 0.04), ("Intermediate", 0.025), ("Distal", 0.02))
    ),
    ("UpperLeg", (0.0, 0.0, 0.0), (0.0, -0.43, 0.0), 0.085, 0.058),
    ("LowerLeg", (0.0, 0.0, 0.0), (0.0, -0.42, 0.0), 0.058, 0.038),
    ("Foot", (0.0, -ANKLE + 0.038, -0.05), (0.0, -ANKLE + 0.036, 0.12), 0.038, 0.034),
    ("Toes", (0.0, 0.014, 0.0), (0.0, 0.008, 0.055), 0.032, 0.024),
)


def pose_mannequin(places: Vectors, turns: Vectors) -> Mesh:
    """Return the mannequin with its joints at ``places (j, 3)``, turned by ``turns (j, 3, 3)``."""
    points, faces, owner, colors = _built()
    moved = np.einsum("nab,nb->na", turns[owner], points) + places[owner]
    corners = moved.astype(np.float32)
    return Mesh(corners, faces, vertex_normals(corners, faces), colors=colors)


def floor_around(place: Vectors, reach: float) -> Mesh:
    """Return the squares of the floor whose middles are within ``reach`` metres of ``place (3,)``."""
    low = np.floor((place[[0, 2]] - reach) / _TILE).astype(int)
    high = np.ceil((place[[0, 2]] + reach) / _TILE).astype(int)
    grid = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    column, row = (axis.ravel() for axis in grid)
    middle = (np.stack([column, row], axis=1) + 0.5) * _TILE
    near = np.linalg.norm(middle - place[[0, 2]], axis=1) <= reach
    corners = np.zeros((int(near.sum()), 4, 3), np.float32)
    half = 0.5 * _TILE * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    corners[..., [0, 2]], corners[..., 1] = middle[near, None] + half, _UNDER
    first = 4 * np.arange(len(corners), dtype=np.int32)[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]], np.int32)).reshape(-1, 3)
    shade = np.array(_FLOOR, np.uint8)[(column + row)[near] % 2]
    colors = np.repeat(np.concatenate([shade, np.full((len(shade), 1), 255, np.uint8)], axis=1), 4, axis=0)
    return Mesh(corners.reshape(-1, 3), faces, colors=colors)


def scene(*meshes: Mesh) -> Asset:
    """Return meshes as one asset to be drawn."""
    return Asset("scene", tuple(Part(str(index), mesh, Material()) for index, mesh in enumerate(meshes)))


@cache
def _built() -> tuple[Vectors, Indices, NDArray[np.int64], Bytes]:
    """Return points in the axes of the joints that own them, triangles, owners and colours."""
    limbs = [(limb, _BODY) for limb in _TRUNK] + [(limb, _FACE) for limb in _FEATURES]
    for side, color, sign in (("left", _LEFT, 1.0), ("right", _RIGHT, -1.0)):
        for name, (x, y, z), (u, v, w), first, last in _SIDE:
            limbs.append(((f"{side}{name}", (x * sign, y, z), (u * sign, v, w), first, last), color))
    points, faces, owner, colors = [], [], [], []
    count = 0
    for (name, start, end, first, last), color in limbs:
        corners, triangles = _capsule(np.array(start), np.array(end), first, last)
        points.append(corners)
        faces.append(triangles + count)
        owner += [JOINTS[name]] * len(corners)
        colors += [(*color, 255)] * len(corners)
        count += len(corners)
    return (
        np.concatenate(points),
        np.concatenate(faces).astype(np.int32),
        np.array(owner),
        np.array(colors, np.uint8),
    )


def _capsule(start: Vectors, end: Vectors, first: float, last: float) -> tuple[Floats, Indices]:
    """Return a limb with round ends of two radii: points ``(n, 3)`` and outward triangles ``(m, 3)``."""
    axis = end - start
    length = float(np.linalg.norm(axis))
    axis /= max(length, 1e-9)
    across = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
    across /= np.linalg.norm(across)
    third = np.cross(axis, across)
    rise = np.linspace(0.0, np.pi / 2, _ALONG + 1)
    along = np.concatenate([-first * np.cos(rise), length + last * np.sin(rise)])
    radius = np.concatenate([first * np.sin(rise), last * np.cos(rise)])
    angle = np.linspace(0.0, 2 * np.pi, _AROUND, endpoint=False)
    ring = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * third
    points = start + along[:, None, None] * axis + radius[:, None, None] * ring
    rings = len(along)
    here = np.arange(_AROUND)
    beside = (here + 1) % _AROUND
    level = (np.arange(rings - 1) * _AROUND)[:, None]
    lower, upper = level + here, level + beside
    faces = np.concatenate(
        [
            np.stack([lower, upper, lower + _AROUND], axis=-1).reshape(-1, 3),
            np.stack([upper, upper + _AROUND, lower + _AROUND], axis=-1).reshape(-1, 3),
        ]
    )
    return points.reshape(-1, 3), faces
