"""Where the nodes of a glTF document are, and where that puts their meshes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.codecs.gltf_arrays import Arrays, index
from maquette.geometry.errors import UnreadableMesh

Matrix = NDArray[np.float64]

_LEAST_DETERMINANT = 1e-18


def roots_of(document: dict[str, Any]) -> tuple[list[int], str]:
    """Return the roots of the default scene and its name; every root where there is no scene."""
    scenes = document.get("scenes", [])
    if scenes:
        scene = scenes[index(document.get("scene", 0))]
        return [index(root) for root in scene.get("nodes", [])], str(scene.get("name", "scene"))
    nodes = document.get("nodes", [])
    children = {child for node in nodes for child in node.get("children", [])}
    return [number for number in range(len(nodes)) if number not in children], "scene"


def place_nodes(document: dict[str, Any]) -> dict[int, Matrix]:
    """Return the transforms to the world of the default scene's nodes, in depth-first order.

    Raises :class:`UnreadableMesh` for a node in two places (section 3.5.1: nodes form strict trees).
    """
    nodes = document.get("nodes", [])
    places: dict[int, Matrix] = {}
    pending = [(root, np.eye(4)) for root in reversed(roots_of(document)[0])]
    while pending:
        number, above = pending.pop()
        if number in places:
            raise UnreadableMesh("A node of the glTF file stands in two places.")
        node = nodes[number]
        places[number] = above @ local_matrix(node)
        pending += [(index(child), places[number]) for child in reversed(node.get("children", []))]
    return places


def mesh_place(document: dict[str, Any], arrays: Arrays, places: dict[int, Matrix], number: int) -> Matrix:
    """Return the transform that brings the mesh of a node to the world.

    A skinned mesh goes where its joints put it and ignores its own node (section 3.7.3.3): it is
    placed as the joint nearest to the root places it, so a model saved in a pose comes in its
    bind pose.
    """
    node = document["nodes"][number]
    if "skin" not in node:
        return places[number]
    skin = document["skins"][index(node["skin"])]
    joints = [index(joint) for joint in skin["joints"]]
    inverse = inverse_binds(arrays, skin)
    first = next((joint for joint in places if joint in set(joints)), None)
    if first is None:
        return places[number]
    placed = places[first] @ inverse[joints.index(first)]
    usable = bool(np.isfinite(placed).all()) and abs(np.linalg.det(placed[:3, :3])) > _LEAST_DETERMINANT
    return placed if usable else places[number]


def inverse_binds(arrays: Arrays, skin: dict[str, Any]) -> Matrix:
    """Return a skin's inverse bind matrices ``(j, 4, 4)``; identities where it names none."""
    count = len(skin["joints"])
    if "inverseBindMatrices" not in skin:
        return np.tile(np.eye(4), (count, 1, 1))
    values = arrays.accessor(index(skin["inverseBindMatrices"]))[:count]
    # Matrices are stored column by column.
    return values.astype(np.float64).reshape(count, 4, 4).transpose(0, 2, 1)


def local_matrix(node: dict[str, Any]) -> Matrix:
    """Return the node's 4 × 4 matrix from ``matrix`` or translation, rotation and scale."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    matrix[:3, :3] = turn_of(node.get("rotation", (0, 0, 0, 1)))
    matrix[:3, :3] *= np.asarray(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def turn_of(quaternion: Any) -> Matrix:
    """Return the rotation ``(3, 3)`` of a quaternion (x, y, z, w) of any length."""
    x, y, z, w = (float(value) for value in quaternion)
    length = (x * x + y * y + z * z + w * w) ** 0.5 or 1.0
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(turn: Matrix) -> tuple[float, float, float, float]:
    """Return the unit quaternion (x, y, z, w), w ≥ 0, of a rotation ``(3, 3)``.

    The eigenvector of the largest eigenvalue of K (Bar-Itzhack 2000): exact for rotations, the
    nearest rotation's for matrices that are nearly one.
    """
    m = turn
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    vector = np.linalg.eigh(k)[1][:, -1]
    x, y, z, w = (float(value) for value in (vector if vector[3] >= 0 else -vector))
    return x, y, z, w
