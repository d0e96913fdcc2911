"""The triangles of a glTF document in one space, each vertex known by its place in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from maquette.geometry.asset import clean_faces
from maquette.geometry.codecs.gltf_arrays import WRONG, index
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_scene import Matrix, mesh_place, place_nodes
from maquette.geometry.errors import MeshError, UnreadableMesh


@dataclass(frozen=True, slots=True)
class Block:
    """The vertices of one POSITION accessor, as one node places them.

    ``vertex (k,)`` says which vertex of the character each is; for one that no face touches, the
    nearest.
    """

    node: int
    accessor: int
    vertex: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """A primitive with triangles; ``vertex (u,)`` are the vertices its faces touch, in file order."""

    node: int
    vertex: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Character:
    """All triangles of the default scene in the world.

    ``vertices (n, 3)`` float64 metres, ``faces (m, 3)`` int32; every vertex is touched by a face.
    ``pieces`` come in the order of the parts that `read_gltf` returns. ``places`` are the
    transforms to the world of the nodes with meshes, as `gltf_scene.mesh_place` tells them.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    blocks: tuple[Block, ...]
    pieces: tuple[Piece, ...]
    places: dict[int, Matrix]

    def renumbered(self, number: dict[int, int]) -> Character:
        """Return the same character in a document whose nodes have new numbers."""
        return replace(
            self,
            blocks=tuple(replace(block, node=number[block.node]) for block in self.blocks),
            pieces=tuple(replace(piece, node=number[piece.node]) for piece in self.pieces),
            places={number[node]: place for node, place in self.places.items()},
        )


def read_character(document: GltfDocument, max_vertices: int, *, rigid: bool = True) -> Character:
    """Read the triangles of a document's default scene.

    Without ``rigid``, nodes that have no skin are left out where others have one. Raises
    :class:`UnreadableMesh` and :class:`MeshError` as `read_gltf` does, and for more than
    ``max_vertices`` vertices.
    """
    try:
        return _Gatherer(document, max_vertices, rigid=rigid).character()
    except WRONG as error:
        if isinstance(error, MeshError):
            raise
        raise UnreadableMesh("The glTF file is damaged or breaks the format.") from error


class _Gatherer:
    """Collects blocks of vertices and the faces between them."""

    def __init__(self, document: GltfDocument, max_vertices: int, *, rigid: bool) -> None:
        self._json = document.json
        self._arrays = document.arrays
        self._max = max_vertices
        self._rigid = rigid
        self._total = 0
        self._blocks: dict[tuple[int, int], tuple[int, NDArray[np.float64]]] = {}
        """Where each block begins, and its points in the world."""
        self._pieces: list[tuple[int, NDArray[np.int64]]] = []
        self._faces: list[NDArray[np.int64]] = []
        self._places: dict[int, Matrix] = {}

    def character(self) -> Character:
        """Gather everything, then number the vertices that faces touch."""
        places = place_nodes(self._json)
        nodes = self._json.get("nodes", [])
        some_skinned = any("skin" in nodes[number] for number in places)
        for number in places:
            node = nodes[number]
            if "mesh" in node and (self._rigid or "skin" in node or not some_skinned):
                self._places[number] = mesh_place(self._json, self._arrays, places, number)
                for primitive in self._json["meshes"][index(node["mesh"])]["primitives"]:
                    self._primitive(number, primitive)
        if not self._faces:
            raise UnreadableMesh("The glTF file has no triangles.")
        return self._numbered()

    def _primitive(self, node: int, primitive: dict[str, Any]) -> None:
        attributes = primitive.get("attributes", {})
        if "POSITION" not in attributes:
            return
        faces = self._arrays.faces(primitive)
        start, points = self._block(node, index(attributes["POSITION"]))
        if faces is None or not len(faces):
            return
        if np.linalg.det(self._places[node][:3, :3]) < 0:
            faces = faces[:, ::-1]
        corners, used = clean_faces(points, faces)
        if not len(corners):
            raise MeshError("The mesh has no triangle.")
        self._faces.append(corners + start)
        self._pieces.append((node, np.flatnonzero(used) + start))

    def _block(self, node: int, accessor: int) -> tuple[int, NDArray[np.float64]]:
        known = self._blocks.get((node, accessor))
        if known is not None:
            return known
        local = self._arrays.accessor(accessor).astype(np.float64)
        if local.shape[1] != 3:
            raise UnreadableMesh("The positions of a glTF mesh are no points.")
        if self._total + len(local) > self._max:
            raise UnreadableMesh(f"The model has more than {self._max:,} vertices.")
        place = self._places[node]
        block = (self._total, local @ place[:3, :3].T + place[:3, 3])
        self._blocks[node, accessor] = block
        self._total += len(local)
        return block

    def _numbered(self) -> Character:
        points = np.concatenate([points for _, points in self._blocks.values()])
        faces = np.concatenate(self._faces)
        used = np.zeros(len(points), dtype=bool)
        used[faces] = True
        number = np.cumsum(used) - 1
        vertices = points[used]
        if not used.all():
            loose = np.where(np.isfinite(points[~used]), points[~used], 0.0)
            number[~used] = cKDTree(vertices).query(np.clip(loose, -1e15, 1e15))[1]
        return Character(
            vertices=vertices,
            faces=number[faces].astype(np.int32),
            blocks=tuple(
                Block(node, accessor, number[start : start + len(block)])
                for (node, accessor), (start, block) in self._blocks.items()
            ),
            pieces=tuple(Piece(node, number[vertex]) for node, vertex in self._pieces),
            places=self._places,
        )
