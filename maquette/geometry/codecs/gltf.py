"""Read the meshes of glTF 2.0, binary or text.

Only bytes inside the file are read: the binary chunk and ``data:`` URIs. Any other URI is
refused. Every offset and count is checked against the buffer before an array is made.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Material, Part, clean_mesh
from maquette.geometry.errors import MeshError, UnreadableMesh
from maquette.geometry.textures import decode_texture

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MAX_JSON = 64 * 1024 * 1024
_MAX_PARTS = 4096
_MAX_IMPLIED = 1_000_000
"""Longest array of zeros that an accessor without bytes may stand for."""
_WRONG = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, struct.error)


def read_gltf(data: bytes, max_vertices: int) -> Asset:
    """Read every triangle mesh of the default scene, placed where its node puts it.

    Raises :class:`UnreadableMesh` for damage, external files and compressed meshes, and
    :class:`MeshError` for indices out of range.
    """
    try:
        document, binary = _split(data)
        return _Reader(document, binary, max_vertices).asset()
    except _WRONG as error:
        if isinstance(error, MeshError):
            raise
        raise UnreadableMesh("The glTF file is damaged or breaks the format.") from error
    except RecursionError as error:
        raise UnreadableMesh("The glTF file is nested too deeply.") from error


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a GLB apart into its JSON document and binary chunk; text glTF has no chunk."""
    text, binary = data, b""
    if data[:4] == b"glTF":
        _, version, length = struct.unpack_from("<III", data)
        if version != 2:
            raise UnreadableMesh(f"The GLB file has version {version}; only 2 can be read.")
        if length > len(data):
            raise UnreadableMesh("The GLB file is incomplete.")
        chunks = _chunks(data[:length])
        if not chunks or chunks[0][0] != 0x4E4F534A:
            raise UnreadableMesh("The GLB file has no JSON chunk.")
        text = chunks[0][1]
        if len(chunks) > 1 and chunks[1][0] == 0x004E4942:
            binary = chunks[1][1]
    if len(text) > _MAX_JSON:
        raise UnreadableMesh("The glTF file has more than 64 MiB of JSON.")
    if not text.lstrip()[:1] == b"{":
        raise UnreadableMesh("The file is no glTF file.")
    document = json.loads(text)
    if not str(document["asset"]["version"]).startswith("2."):
        raise UnreadableMesh("The glTF file is not of version 2.")
    return document, binary


def _chunks(data: bytes) -> list[tuple[int, bytes]]:
    chunks, at = [], 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        if at + 8 + length > len(data):
            raise UnreadableMesh("The GLB file is incomplete.")
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length
    return chunks


class _Reader:
    """One document being read."""

    def __init__(self, document: dict[str, Any], binary: bytes, max_vertices: int) -> None:
        self._document = document
        self._binary = binary
        self._max = max_vertices
        self._buffers: dict[int, bytes] = {}
        self._materials: dict[int, Material] = {}
        self._parts: list[Part] = []
        self._visited: set[int] = set()
        self._vertices = 0

    def asset(self) -> Asset:
        """Walk the default scene (or every root, when there is none)."""
        nodes = self._document.get("nodes", [])
        scenes = self._document.get("scenes", [])
        if scenes:
            scene = scenes[_index(self._document.get("scene", 0))]
            roots, name = scene.get("nodes", []), str(scene.get("name", "scene"))
        else:
            children = {child for node in nodes for child in node.get("children", [])}
            roots, name = [index for index in range(len(nodes)) if index not in children], "scene"
        self._walk(nodes, [_index(root) for root in roots])
        if not self._parts:
            raise UnreadableMesh("The glTF file has no triangles.")
        return Asset(name, tuple(self._parts))

    def _walk(self, nodes: list[dict[str, Any]], roots: list[int]) -> None:
        pending = [(root, np.eye(4)) for root in reversed(roots)]
        while pending:
            index, above = pending.pop()
            # Nodes form strict trees (section 3.5.1); one that contains itself has no end.
            if index in self._visited:
                raise UnreadableMesh("A node of the glTF file stands in two places.")
            self._visited.add(index)
            node = nodes[index]
            placed = above @ _local_matrix(node)
            if "mesh" in node:
                self._mesh(_index(node["mesh"]), str(node.get("name", f"part_{index}")), placed)
            pending += [(_index(child), placed) for child in reversed(node.get("children", []))]

    def _mesh(self, index: int, name: str, placed: NDArray[np.float64]) -> None:
        primitives = self._document["meshes"][index]["primitives"]
        for number, primitive in enumerate(primitives):
            faces = None
            if primitive.get("mode", _TRIANGLES) in (_TRIANGLES, _STRIP, _FAN):
                faces = self._faces(primitive)
            if len(self._parts) >= _MAX_PARTS:
                raise UnreadableMesh(f"The glTF file has more than {_MAX_PARTS} parts.")
            if faces is not None and len(faces):
                label = name if len(primitives) == 1 else f"{name}_{number}"
                self._parts.append(self._part(primitive, faces, label, placed))

    def _part(
        self, primitive: dict[str, Any], faces: NDArray[np.int64], name: str, placed: NDArray[np.float64]
    ) -> Part:
        attributes = primitive["attributes"]
        points = self._accessor(_index(attributes["POSITION"])).astype(np.float64)
        self._vertices += len(points)
        if self._vertices > self._max:
            raise UnreadableMesh(f"The glTF file has more than {self._max} vertices.")
        turn = placed[:3, :3]
        normals = uv = None
        if "NORMAL" in attributes:
            cofactor = np.linalg.det(turn) * np.linalg.pinv(turn).T
            normals = self._like(points, attributes["NORMAL"], 3) @ cofactor.T
        if "TEXCOORD_0" in attributes:
            uv = self._like(points, attributes["TEXCOORD_0"], 2)
        if np.linalg.det(turn) < 0:
            faces = faces[:, ::-1]
        mesh = clean_mesh(points @ turn.T + placed[:3, 3], faces, normals=normals, uv=uv)
        return Part(name, mesh, self._material(primitive.get("material")))

    def _like(self, points: NDArray[np.float64], accessor: Any, width: int) -> NDArray[np.float64]:
        values = self._accessor(_index(accessor)).astype(np.float64)
        if values.shape != (len(points), width):
            raise UnreadableMesh("The attributes of a glTF mesh differ in length.")
        return values

    def _faces(self, primitive: dict[str, Any]) -> NDArray[np.int64] | None:
        if "POSITION" not in primitive.get("attributes", {}):
            return None
        if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
            raise UnreadableMesh("The glTF file is compressed with Draco, which cannot be read.")
        if "indices" in primitive:
            order = self._accessor(_index(primitive["indices"])).astype(np.int64).ravel()
        else:
            order = np.arange(self._count(_index(primitive["attributes"]["POSITION"])))
        mode = primitive.get("mode", _TRIANGLES)
        if mode == _TRIANGLES:
            return order[: len(order) // 3 * 3].reshape(-1, 3)
        if mode == _FAN:
            first = np.full(max(len(order) - 2, 0), order[0] if len(order) else 0)
            return np.stack([first, order[1:-1], order[2:]], axis=1)
        strip = np.stack([order[:-2], order[1:-1], order[2:]], axis=1)
        strip[1::2] = strip[1::2, ::-1]
        return strip

    def _count(self, index: int) -> int:
        count = _index(self._document["accessors"][index]["count"])
        if count > 6 * self._max:
            raise UnreadableMesh(f"The glTF file claims an array of {count} values; that is too many.")
        return count

    def _accessor(self, index: int) -> NDArray[Any]:
        """Read an accessor as ``(count, width)``, normalised integers as floats."""
        entry = self._document["accessors"][index]
        count, width = self._count(index), _WIDTHS[entry["type"]]
        dtype = np.dtype(_COMPONENTS[entry["componentType"]])
        if "bufferView" in entry:
            values = self._strided(
                _index(entry["bufferView"]), _index(entry.get("byteOffset", 0)), count, width, dtype
            )
        elif count > _MAX_IMPLIED:
            raise UnreadableMesh("The glTF file claims a large array that it does not hold.")
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in entry:
            values = self._with_sparse(values, entry["sparse"])
        if entry.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float64) / np.iinfo(dtype).max, -1.0)
        return values

    def _with_sparse(self, values: NDArray[Any], sparse: dict[str, Any]) -> NDArray[Any]:
        count = _index(sparse["count"])
        where, what = sparse["indices"], sparse["values"]
        kind = np.dtype(_COMPONENTS[where["componentType"]])
        rows = self._strided(_index(where["bufferView"]), _index(where.get("byteOffset", 0)), count, 1, kind)
        width = values.shape[1]
        fresh = self._strided(
            _index(what["bufferView"]), _index(what.get("byteOffset", 0)), count, width, values.dtype
        )
        changed = values.copy()
        changed[rows.ravel().astype(np.int64)] = fresh
        return changed

    def _strided(
        self, view_index: int, offset: int, count: int, width: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        view = self._document["bufferViews"][view_index]
        data = self._view_bytes(view)
        row = dtype.itemsize * width
        stride = _index(view.get("byteStride", 0)) or row
        if count and offset + stride * (count - 1) + row > len(data):
            raise UnreadableMesh("An array of the glTF file reaches past the end of its buffer.")
        if stride < row or count == 0:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))

    def _view_bytes(self, view: dict[str, Any]) -> bytes:
        data = self._buffer(_index(view["buffer"]))
        start, length = _index(view.get("byteOffset", 0)), _index(view["byteLength"])
        if start + length > len(data):
            raise UnreadableMesh("A view of the glTF file reaches past the end of its buffer.")
        return data[start : start + length]

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            entry = self._document["buffers"][index]
            uri = entry.get("uri")
            self._buffers[index] = self._binary if uri is None else _data_uri(uri)
        return self._buffers[index]

    def _material(self, index: Any) -> Material:
        if index is None:
            return Material()
        number = _index(index)
        if number not in self._materials:
            entry = self._document["materials"][number]
            shading = entry.get("pbrMetallicRoughness", {})
            factor = [float(value) for value in shading.get("baseColorFactor", (1, 1, 1, 1))]
            self._materials[number] = Material(
                name=str(entry.get("name", "material")),
                base_color=(factor[0], factor[1], factor[2], factor[3]),
                base_color_texture=self._texture(shading.get("baseColorTexture")),
                metallic=float(shading.get("metallicFactor", 1.0)),
                roughness=float(shading.get("roughnessFactor", 1.0)),
                double_sided=bool(entry.get("doubleSided", False)),
            )
        return self._materials[number]

    def _texture(self, reference: dict[str, Any] | None) -> NDArray[np.uint8] | None:
        if reference is None:
            return None
        texture = self._document["textures"][_index(reference["index"])]
        if "source" not in texture:
            return None
        image = self._document["images"][_index(texture["source"])]
        if "bufferView" in image:
            return decode_texture(
                self._view_bytes(self._document["bufferViews"][_index(image["bufferView"])])
            )
        return decode_texture(_data_uri(image["uri"]))


def _index(value: Any) -> int:
    """Take a JSON number as a count or place; negative ones would address from the end."""
    number = int(value)
    if isinstance(value, bool) or number != value or number < 0:
        raise UnreadableMesh("The glTF file has a wrong number where a place in a list belongs.")
    return number


def _data_uri(uri: Any) -> bytes:
    if not isinstance(uri, str) or not uri.startswith("data:"):
        raise UnreadableMesh("The glTF file refers to another file; only self-contained files can be read.")
    head, _, body = uri.partition(",")
    if not head.endswith(";base64"):
        raise UnreadableMesh("The glTF file has data that is not base64.")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise UnreadableMesh("The glTF file has broken base64 data.") from error


def _local_matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """Return the node's 4 × 4 matrix from ``matrix`` or translation, rotation and scale."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = (float(value) for value in node.get("rotation", (0, 0, 0, 1)))
    length = (x * x + y * y + z * z + w * w) ** 0.5 or 1.0
    x, y, z, w = x / length, y / length, z / length, w / length
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.asarray(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
