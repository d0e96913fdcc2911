"""The asset model: what every codec writes and reads.

Conventions of glTF 2.0 hold everywhere: Y up, the front looks along +Z, lengths in metres,
faces wind counter-clockwise seen from outside, and (0, 0) of the texture coordinates is the
upper left corner of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.errors import MeshError

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
Bytes = NDArray[np.uint8]

_FAR = 1e15
"""Metres. Products of larger coordinates leave the range of float32."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles with one set of attributes a vertex.

    ``vertices (n, 3)``, ``faces (m, 3)``, ``normals (n, 3)`` of length one, ``uv (n, 2)``,
    ``colors (n, 4)`` straight-alpha sRGB. A vertex on a seam of the texture is stored once for
    each side; :func:`maquette.geometry.topology.weld` joins them again.
    """

    vertices: Floats
    faces: Indices
    normals: Floats | None = None
    uv: Floats | None = None
    colors: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """A metallic-roughness material (glTF 2.0, section 3.9)."""

    name: str = "material"
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Linear factor that multiplies the texture."""
    base_color_texture: Bytes | None = None
    """``(h, w, 3)`` or ``(h, w, 4)`` sRGB."""
    metallic: float = 0.0
    roughness: float = 0.8
    double_sided: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A named mesh and the material it wears."""

    name: str
    mesh: Mesh
    material: Material = field(default_factory=Material)


@dataclass(frozen=True, slots=True)
class Asset:
    """A scene of one or more parts in one common space."""

    name: str
    parts: tuple[Part, ...]

    @property
    def vertex_count(self) -> int:
        """Vertices of all parts."""
        return sum(len(part.mesh.vertices) for part in self.parts)

    @property
    def face_count(self) -> int:
        """Triangles of all parts."""
        return sum(len(part.mesh.faces) for part in self.parts)

    @property
    def texture(self) -> Bytes | None:
        """The first base-colour texture, or None."""
        textures = (part.material.base_color_texture for part in self.parts)
        return next((texture for texture in textures if texture is not None), None)


def clean_mesh(
    vertices: NDArray[np.generic],
    faces: NDArray[np.generic],
    *,
    normals: NDArray[np.generic] | None = None,
    uv: NDArray[np.generic] | None = None,
    colors: Bytes | None = None,
) -> Mesh:
    """Build a mesh from arrays that nobody vouches for.

    Drops faces that touch a coordinate that is no number or that name a vertex twice, then
    drops vertices without a face. Normals that are no unit vectors are renewed as zero-safe
    units, texture coordinates that are no numbers become 0. Raises :class:`MeshError` when an
    index is out of range, a coordinate is beyond ``1e15`` metres, or no triangle is left.
    """
    points = np.asarray(vertices, dtype=np.float64).reshape(-1, 3)
    corners, used = clean_faces(points, faces)
    if not len(corners):
        raise MeshError("The mesh has no triangle.")
    renumber = np.cumsum(used) - 1
    return Mesh(
        vertices=points[used].astype(np.float32),
        faces=renumber[corners].astype(np.int32),
        normals=None if normals is None else unit_vectors(np.asarray(normals, np.float64)[used]),
        uv=None
        if uv is None
        else np.nan_to_num(np.asarray(uv, np.float64)[used], posinf=0, neginf=0).astype("f4"),
        colors=None if colors is None else np.ascontiguousarray(colors[used]),
    )


def clean_faces(
    points: NDArray[np.float64], faces: NDArray[np.generic]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the faces ``(m, 3)`` that can be used and which of ``points (n, 3)`` they touch.

    Raises :class:`MeshError` for an index out of range and for coordinates beyond ``1e15`` metres.
    """
    corners = np.asarray(faces).reshape(-1, 3).astype(np.int64)
    if corners.size and (corners.min() < 0 or corners.max() >= len(points)):
        raise MeshError("A face of the mesh names a vertex that does not exist.")
    finite = np.asarray(np.isfinite(points).all(axis=1))
    if finite.any() and np.abs(points[finite]).max() > _FAR:
        raise MeshError("The mesh has coordinates too large to compute with.")
    distinct = (
        (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    )
    corners = corners[distinct & finite[corners].all(axis=1)]
    used = np.zeros(len(points), dtype=bool)
    used[corners] = True
    return corners, used


def unit_vectors(vectors: NDArray[np.floating]) -> Floats:
    """Scale ``(n, 3)`` vectors to length one; those without a direction become +Y."""
    values = np.nan_to_num(np.asarray(vectors, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    units = np.where(length > 1e-20, values / np.maximum(length, 1e-20), (0.0, 1.0, 0.0))
    return units.astype(np.float32)
