"""Read the meshes of glTF 2.0, binary or text, with their materials."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Material, Part, clean_mesh
from maquette.geometry.codecs.gltf_arrays import WRONG, Arrays, Container, data_uri, index, split
from maquette.geometry.codecs.gltf_scene import mesh_place, place_nodes, roots_of
from maquette.geometry.errors import MeshError, UnreadableMesh
from maquette.geometry.textures import decode_texture

_MAX_PARTS = 4096


def read_gltf(data: bytes, max_vertices: int) -> Asset:
    """Read every triangle mesh of the default scene, placed where its node or its skin puts it.

    Raises :class:`UnreadableMesh` for damage, external files and compressed meshes, and
    :class:`MeshError` for indices out of range.
    """
    try:
        return _Reader(split(data), max_vertices).asset()
    except WRONG as error:
        if isinstance(error, MeshError):
            raise
        raise UnreadableMesh("The glTF file is damaged or breaks the format.") from error
    except RecursionError as error:
        raise UnreadableMesh("The glTF file is nested too deeply.") from error


class _Reader:
    """One document being read."""

    def __init__(self, container: Container, max_vertices: int) -> None:
        self._document = container.document
        self._arrays = Arrays(container, max_vertices)
        self._max = max_vertices
        self._materials: dict[int, Material] = {}
        self._parts: list[Part] = []
        self._vertices = 0

    def asset(self) -> Asset:
        """Read the meshes of the default scene's nodes."""
        nodes = self._document.get("nodes", [])
        places = place_nodes(self._document)
        for number in places:
            node = nodes[number]
            if "mesh" in node:
                placed = mesh_place(self._document, self._arrays, places, number)
                self._mesh(index(node["mesh"]), str(node.get("name", f"part_{number}")), placed)
        if not self._parts:
            raise UnreadableMesh("The glTF file has no triangles.")
        return Asset(roots_of(self._document)[1], tuple(self._parts))

    def _mesh(self, number: int, name: str, placed: NDArray[np.float64]) -> None:
        primitives = self._document["meshes"][number]["primitives"]
        for place, primitive in enumerate(primitives):
            faces = self._arrays.faces(primitive)
            if len(self._parts) >= _MAX_PARTS:
                raise UnreadableMesh(f"The glTF file has more than {_MAX_PARTS} parts.")
            if faces is not None and len(faces):
                label = name if len(primitives) == 1 else f"{name}_{place}"
                self._parts.append(self._part(primitive, faces, label, placed))

    def _part(
        self, primitive: dict[str, Any], faces: NDArray[np.int64], name: str, placed: NDArray[np.float64]
    ) -> Part:
        attributes = primitive["attributes"]
        points = self._arrays.accessor(index(attributes["POSITION"])).astype(np.float64)
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
        values = self._arrays.accessor(index(accessor)).astype(np.float64)
        if values.shape != (len(points), width):
            raise UnreadableMesh("The attributes of a glTF mesh differ in length.")
        return values

    def _material(self, reference: Any) -> Material:
        if reference is None:
            return Material()
        number = index(reference)
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
        texture = self._document["textures"][index(reference["index"])]
        if "source" not in texture:
            return None
        image = self._document["images"][index(texture["source"])]
        if "bufferView" in image:
            return decode_texture(self._arrays.view(index(image["bufferView"])))
        return decode_texture(data_uri(image["uri"]))
