"""The rig of a model as JSON beside a format that holds none."""

from __future__ import annotations

from typing import Any

import numpy as np

from maquette.geometry.codecs.gltf_arrays import index
from maquette.geometry.codecs.gltf_character import Character, read_character
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import measure_rig, read_rig
from maquette.geometry.errors import MeshError
from maquette.geometry.topology import weld

FORMAT, VERSION = "maquette-rig", 1


def write_sidecar(glb: bytes, max_vertices: int) -> dict[str, Any]:
    """Return the rig of a GLB for the OBJ file that `encode` makes of it.

    ``bones`` are as `measure_rig` tells them. ``joints (v, 4)`` count in ``bones`` and belong, with
    ``weights (v, 4)``, to the ``v`` lines of the OBJ file in their order; both are empty where the
    model has no weights. Raises :class:`maquette.geometry.errors.MeshError`.
    """
    told: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "space": "right-handed, Y up, metres",
        "bones": measure_rig(glb, max_vertices)["bones"],
        "joints": [],
        "weights": [],
    }
    document = GltfDocument(glb, max_vertices)
    rig = read_rig(document)
    if rig is None or not rig.moves.any():
        return told
    joints, weights = _influences(document, read_character(document, max_vertices), rig.nodes)
    told["joints"], told["weights"] = joints, weights
    return told


def _influences(
    document: GltfDocument, character: Character, nodes: tuple[int, ...]
) -> tuple[np.ndarray[Any, np.dtype[np.uint16]], np.ndarray[Any, np.dtype[np.float32]]]:
    """Return joints and weights of the ``v`` lines: those of each part welded, part after part."""
    count = len(character.vertices)
    joints, weights = np.zeros((count, 4), np.uint16), np.zeros((count, 4), np.float32)
    for block in character.blocks:
        found = _attributes(document, block.node, block.accessor)
        if found is None:
            # A mesh that no joint moves stands by itself: the first joint holds it.
            weights[block.vertex, 0] = 1.0
            continue
        worn = document.json["skins"][index(document.json["nodes"][block.node]["skin"])]["joints"]
        order = np.array([nodes.index(index(joint)) for joint in worn], dtype=np.uint16)
        joints[block.vertex] = order[document.arrays.accessor(found[0]).astype(np.int64)]
        weights[block.vertex] = document.arrays.accessor(found[1])
    joints[weights == 0] = 0
    rows = []
    for piece in character.pieces:
        points = character.vertices[piece.vertex].astype(np.float32)
        source = weld(points, np.zeros((0, 3), np.int32))[2]
        rows.append(piece.vertex[source])
    chosen = np.concatenate(rows)
    return joints[chosen], weights[chosen]


def _attributes(document: GltfDocument, node: int, accessor: int) -> tuple[int, int] | None:
    entry = document.json["nodes"][node]
    for primitive in document.json["meshes"][index(entry["mesh"])]["primitives"]:
        attributes = primitive.get("attributes", {})
        if "skin" in entry and attributes.get("POSITION") == accessor and "JOINTS_0" in attributes:
            if "WEIGHTS_0" not in attributes:
                raise MeshError("A mesh has joints without weights.")
            return index(attributes["JOINTS_0"]), index(attributes["WEIGHTS_0"])
    return None
