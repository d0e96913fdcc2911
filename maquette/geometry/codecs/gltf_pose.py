"""A rigged glTF document in a pose: its triangles as the skin moves them (glTF 2.0, section 3.7.3.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset
from maquette.geometry.codecs.gltf_arrays import index
from maquette.geometry.codecs.gltf_character import Character, read_character
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig
from maquette.geometry.codecs.gltf_scene import Matrix


class Puppet:
    """An asset and the joints that move it.

    ``asset`` is what `decode` reads of the document's bytes. Vertices that no joint moves, or that
    have joints without weights, stay. Raises :class:`maquette.geometry.errors.MeshError` as
    `read_character` does.
    """

    def __init__(self, document: GltfDocument, rig: FileRig, asset: Asset, max_vertices: int) -> None:
        self._character = read_character(document, max_vertices)
        self._rig = rig
        self._asset = asset
        self._joints, self._weights = _influences(document, self._character, rig.nodes)

    def pose(self, world: Matrix) -> Asset:
        """Return the asset with the joints at ``world (j, 4, 4)``; its normals are left out."""
        moves = (world @ np.linalg.inv(self._rig.skeleton.rest))[:, :3]
        points = np.concatenate([self._character.vertices, np.ones((len(self._weights), 1))], axis=1)
        moved = np.zeros((len(points), 3))
        for place in range(self._joints.shape[1]):
            placed = np.einsum("nab,nb->na", moves[self._joints[:, place]], points)
            moved += self._weights[:, place, None] * placed
        still = self._weights.sum(axis=1) < 0.5
        moved[still] = self._character.vertices[still]
        parts = [
            replace(
                part,
                mesh=replace(part.mesh, vertices=moved[piece.vertex].astype(np.float32), normals=None),
            )
            for part, piece in zip(self._asset.parts, self._character.pieces, strict=True)
        ]
        return replace(self._asset, parts=tuple(parts))

    @property
    def skin(self) -> tuple[Matrix, NDArray[np.int64], Matrix]:
        """Vertices ``(n, 3)`` at rest, and the joints and weights ``(n, 4)`` that move them."""
        return self._character.vertices, self._joints, self._weights


def _influences(
    document: GltfDocument, character: Character, nodes: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return joints and weights ``(n, 4)`` of the character's vertices; zero weights where none are."""
    json = document.json
    joints = np.zeros((len(character.vertices), 4), np.int64)
    weights = np.zeros((len(character.vertices), 4))
    for block in character.blocks:
        entry = json["nodes"][block.node]
        if "skin" not in entry:
            carrier = _carrier(json, block.node, nodes)
            if carrier >= 0:
                joints[block.vertex, 0], weights[block.vertex, 0] = carrier, 1.0
            continue
        worn = json["skins"][index(entry["skin"])]["joints"]
        order = np.array([nodes.index(index(joint)) for joint in worn])
        for primitive in json["meshes"][index(entry["mesh"])]["primitives"]:
            attributes = primitive.get("attributes", {})
            if attributes.get("POSITION") == block.accessor and {"JOINTS_0", "WEIGHTS_0"} <= set(attributes):
                named = document.arrays.accessor(index(attributes["JOINTS_0"])).astype(np.int64)
                weight = document.arrays.accessor(index(attributes["WEIGHTS_0"])).astype(np.float64)
                joints[block.vertex] = order[np.minimum(named, len(order) - 1)]
                weights[block.vertex] = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
                break
    return joints, weights


def _carrier(json: dict[str, Any], node: int, nodes: tuple[int, ...]) -> int:
    """Return the joint that a mesh without a skin hangs on, as a helmet on a head; -1 for none."""
    parents = {
        index(child): at for at, each in enumerate(json["nodes"]) for child in each.get("children", ())
    }
    while node not in nodes:
        if node not in parents:
            return -1
        node = parents[node]
    return nodes.index(node)
