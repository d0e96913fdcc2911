"""PLY: write binary little-endian, read text and both binary orders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Bytes, Mesh, Part, clean_mesh
from maquette.geometry.errors import UnreadableMesh
from maquette.geometry.textures import sample_texture
from maquette.geometry.topology import welded

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def write_ply(asset: Asset) -> bytes:
    """Encode all parts as one binary PLY with normals and, where known, vertex colours.

    PLY has no texture here: a textured part gets the colour of its texture at each vertex.
    Seams are joined, so a closed mesh stays closed.
    """
    meshes = [welded(part.mesh) for part in asset.parts]
    colors = [_colors(part, mesh) for part, mesh in zip(asset.parts, meshes, strict=True)]
    fields = [("position", "<f4", 3)]
    with_normals = all(mesh.normals is not None for mesh in meshes)
    with_colors = any(color is not None for color in colors)
    if with_normals:
        fields.append(("normal", "<f4", 3))
    if with_colors:
        fields.append(("color", "u1", 4))
    vertices = np.zeros(sum(len(mesh.vertices) for mesh in meshes), dtype=np.dtype(fields))
    faces = np.zeros(sum(len(mesh.faces) for mesh in meshes), dtype=[("n", "u1"), ("i", "<i4", 3)])
    faces["n"] = 3
    vertex = face = 0
    for mesh, color in zip(meshes, colors, strict=True):
        block = slice(vertex, vertex + len(mesh.vertices))
        vertices["position"][block] = mesh.vertices
        if with_normals:
            vertices["normal"][block] = mesh.normals
        if with_colors:
            vertices["color"][block] = 255 if color is None else color
        faces["i"][face : face + len(mesh.faces)] = mesh.faces + vertex
        vertex, face = vertex + len(mesh.vertices), face + len(mesh.faces)
    header = _header(len(vertices), len(faces), with_normals, with_colors)
    return header.encode("ascii") + vertices.tobytes() + faces.tobytes()


def _colors(part: Part, mesh: Mesh) -> Bytes | None:
    texture = part.material.base_color_texture
    if mesh.colors is not None or texture is None or mesh.uv is None:
        return mesh.colors
    return sample_texture(texture, mesh.uv)


def _header(vertices: int, faces: int, normals: bool, colors: bool) -> str:
    lines = ["ply", "format binary_little_endian 1.0", "comment Maquette", f"element vertex {vertices}"]
    lines += [f"property float {name}" for name in "xyz"]
    if normals:
        lines += [f"property float n{name}" for name in "xyz"]
    if colors:
        lines += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    lines += [f"element face {faces}", "property list uchar int vertex_indices", "end_header"]
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class _Element:
    """One ``element`` of a header: properties as (name, type, type of the list's count or '')."""

    name: str
    count: int
    properties: list[tuple[str, str, str]]


def read_ply(data: bytes, max_vertices: int) -> Asset:
    """Read the triangles of a PLY; polygons are fanned.

    Raises :class:`UnreadableMesh` for a damaged file and for a point cloud.
    """
    order, elements, body = _parse_header(data)
    for element in elements:
        if element.count > 4 * max_vertices:
            raise UnreadableMesh(f"The PLY file claims {element.count} of {element.name}; that is too many.")
    source: _Text | _Binary = _Text(data[body:]) if order == "" else _Binary(data[body:], order)
    columns: dict[str, NDArray[np.float64]] = {}
    faces: NDArray[np.int64] | None = None
    try:
        for element in elements:
            if element.name == "face":
                faces = source.polygons(element)
            else:
                values = source.table(element)
                if element.name == "vertex":
                    columns = values
    except (ValueError, IndexError, OverflowError) as error:
        if isinstance(error, UnreadableMesh):
            raise
        raise UnreadableMesh("The PLY file is damaged or incomplete.") from error
    if faces is None or not len(faces):
        raise UnreadableMesh("The PLY file has no faces.")
    if not {"x", "y", "z"} <= columns.keys():
        raise UnreadableMesh("The PLY file has no vertex positions.")
    return Asset("ply", (Part("mesh", _mesh(columns, faces)),))


def _mesh(columns: dict[str, NDArray[np.float64]], faces: NDArray[np.int64]) -> Mesh:
    def stacked(*names: str) -> NDArray[np.float64] | None:
        return np.stack([columns[name] for name in names], axis=1) if set(names) <= columns.keys() else None

    points = np.stack([columns[name] for name in "xyz"], axis=1)
    colors = None
    rgb = stacked("red", "green", "blue")
    if rgb is not None:
        colors = np.full((len(rgb), 4), 255, dtype=np.uint8)
        colors[:, :3] = np.clip(np.nan_to_num(rgb), 0, 255)
        if "alpha" in columns:
            colors[:, 3] = np.clip(np.nan_to_num(columns["alpha"]), 0, 255)
    return clean_mesh(points, faces, normals=stacked("nx", "ny", "nz"), colors=colors)


def _parse_header(data: bytes) -> tuple[str, list[_Element], int]:
    end = data.find(b"end_header", 0, 65536)
    stop = data.find(b"\n", end)
    if not data.startswith(b"ply") or end < 0 or stop < 0:
        raise UnreadableMesh("The file is no PLY file.")
    order: str | None = None
    elements: list[_Element] = []
    try:
        for line in data[:end].decode("ascii", errors="replace").splitlines()[1:]:
            words = line.split()
            if not words or words[0] in ("comment", "obj_info"):
                continue
            if words[0] == "format":
                order = _ORDERS[words[1]]
            elif words[0] == "element":
                elements.append(_Element(words[1], int(words[2]), []))
            elif words[0] == "property" and words[1] == "list":
                elements[-1].properties.append((words[4], _TYPES[words[3]], _TYPES[words[2]]))
            elif words[0] == "property":
                elements[-1].properties.append((words[2], _TYPES[words[1]], ""))
    except (KeyError, IndexError, ValueError) as error:
        raise UnreadableMesh("The header of the PLY file cannot be understood.") from error
    if order is None or any(element.count < 0 for element in elements):
        raise UnreadableMesh("The header of the PLY file cannot be understood.")
    return order, elements, stop + 1


class _Text:
    """The body of a text PLY, one row a line."""

    def __init__(self, body: bytes) -> None:
        self._lines = [line for line in body.splitlines() if line.strip()]
        self._next = 0

    def _take(self, count: int) -> list[bytes]:
        lines = self._lines[self._next : self._next + count]
        if len(lines) < count:
            raise UnreadableMesh("The PLY file ends too early.")
        self._next += count
        return lines

    def table(self, element: _Element) -> dict[str, NDArray[np.float64]]:
        """Read rows of scalars by column name; rows with lists are skipped."""
        lines = self._take(element.count)
        if any(count_type for _, _, count_type in element.properties):
            return {}
        width = len(element.properties)
        rows = np.array([[float(word) for word in line.split()[:width]] for line in lines])
        rows = rows.reshape(len(lines), width)
        return {name: rows[:, column] for column, (name, _, _) in enumerate(element.properties)}

    def polygons(self, element: _Element) -> NDArray[np.int64]:
        """Read the list of corners of each face, which must be its first property."""
        corners = []
        for line in self._take(element.count):
            words = line.split()
            size = int(words[0])
            if len(words) < size + 1:
                raise UnreadableMesh("A face of the PLY file is incomplete.")
            ring = [int(word) for word in words[1 : size + 1]]
            corners += [(ring[0], second, third) for second, third in pairwise(ring[1:])]
        return np.array(corners, dtype=np.int64).reshape(-1, 3)


class _Binary:
    """The body of a binary PLY."""

    def __init__(self, body: bytes, order: str) -> None:
        self._body = body
        self._order = order
        self._at = 0

    def _array(self, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
        if dtype.itemsize * count > len(self._body) - self._at:
            raise UnreadableMesh("The PLY file ends too early.")
        values = np.frombuffer(self._body, dtype, count, self._at)
        self._at += dtype.itemsize * count
        return values

    def table(self, element: _Element) -> dict[str, NDArray[np.float64]]:
        """Read rows of scalars by column name; rows with lists are walked over."""
        if any(count_type for _, _, count_type in element.properties):
            for _ in range(element.count):
                self._skip_row(element)
            return {}
        if not element.properties:
            return {}
        kinds = [(f"c{i}", self._order + kind) for i, (_, kind, _) in enumerate(element.properties)]
        rows = self._array(np.dtype(kinds), element.count)
        return {name: rows[f"c{i}"].astype(np.float64) for i, (name, _, _) in enumerate(element.properties)}

    def polygons(self, element: _Element) -> NDArray[np.int64]:
        """Read the corners of each face: at once when all are triangles, else one by one."""
        uniform = self._triangles(element)
        if uniform is not None:
            return uniform
        corners: list[tuple[int, int, int]] = []
        for _ in range(element.count):
            ring = self._skip_row(element)
            corners += [(ring[0], second, third) for second, third in pairwise(ring[1:])]
        return np.array(corners, dtype=np.int64).reshape(-1, 3)

    def _triangles(self, element: _Element) -> NDArray[np.int64] | None:
        if len(element.properties) != 1 or not element.properties[0][2]:
            return None
        _, kind, count_kind = element.properties[0]
        dtype = np.dtype([("n", self._order + count_kind), ("i", self._order + kind, 3)])
        if dtype.itemsize * element.count > len(self._body) - self._at:
            return None
        rows = np.frombuffer(self._body, dtype, element.count, self._at)
        if not (rows["n"] == 3).all():
            return None
        self._at += dtype.itemsize * element.count
        return rows["i"].astype(np.int64)

    def _skip_row(self, element: _Element) -> list[int]:
        """Walk over one row and return its first list."""
        first: list[int] | None = None
        for _, kind, count_kind in element.properties:
            size = 1
            if count_kind:
                size = int(self._array(np.dtype([("n", self._order + count_kind)]), 1)["n"][0])
                if size < 0:
                    raise UnreadableMesh("A list of the PLY file has a negative length.")
            values = self._array(np.dtype([("v", self._order + kind)]), size)["v"]
            if count_kind and first is None:
                first = [int(value) for value in values]
        return first or []
