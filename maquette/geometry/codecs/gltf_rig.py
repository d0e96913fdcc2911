"""The skeleton and the skin weights that a glTF document has (glTF 2.0, section 3.7.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.codecs.gltf_arrays import WRONG, index
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_scene import (
    Matrix,
    inverse_binds,
    mesh_place,
    place_nodes,
    quaternion_of,
    turn_of,
)
from maquette.geometry.errors import MeshError, UnreadableMesh
from maquette.geometry.rig import Skeleton

_LEAST_DETERMINANT = 1e-18


@dataclass(frozen=True, slots=True)
class FileRig:
    """The rig a file has.

    ``nodes`` are the joints' nodes. ``bind (j, 4, 4)`` are the joints' transforms to the world in
    the bind pose as the file has them; ``skeleton.rest`` are the same without their scale.
    ``moves (j,)`` tells the joints that have weight on any vertex, ``adopted (j,)`` those that have
    no joint above them in the file and hang on the first one in ``skeleton`` alone; ``animations``
    is how many clips move a joint.
    """

    skeleton: Skeleton
    nodes: tuple[int, ...]
    bind: Matrix
    moves: NDArray[np.bool_]
    adopted: NDArray[np.bool_]
    animations: int


def read_rig(document: GltfDocument) -> FileRig | None:
    """Return the joints of all skins of the default scene as one skeleton; None without a joint.

    A joint without a joint above it hangs on the first one. Raises :class:`UnreadableMesh`.
    """
    try:
        return _read_rig(document)
    except WRONG as error:
        if isinstance(error, MeshError):
            raise
        raise UnreadableMesh("A skin of the glTF file breaks the format.") from error


def _read_rig(document: GltfDocument) -> FileRig | None:
    json = document.json
    places = place_nodes(json)
    bind: dict[int, Matrix] = {}
    moves: set[int] = set()
    for number, skin in enumerate(json.get("skins", [])):
        joints = [index(joint) for joint in skin["joints"]]
        wearers = [node for node in places if json["nodes"][node].get("skin") == number]
        _note_binds(document, places, skin, wearers, bind)
        for node in wearers:
            moves |= {joints[place] for place in _weighted(document, node) if place < len(joints)}
    # Depth first: parents come before their children.
    nodes = [node for node in places if node in bind]
    if not nodes:
        return None
    parents = _joint_parents(json, places, nodes)
    adopted = parents < 0
    parents[adopted] = 0
    parents[0], adopted[0] = -1, False
    rest = np.array([_rigid(bind[node]) for node in nodes])
    names = _unique([str(json["nodes"][node].get("name") or f"joint_{node}") for node in nodes])
    clips = sum(bool(moved_nodes(clip) & set(bind)) for clip in json.get("animations", []))
    return FileRig(
        skeleton=Skeleton(names, parents, rest),
        nodes=tuple(nodes),
        bind=np.array([bind[node] for node in nodes]),
        moves=np.array([node in moves for node in nodes]),
        adopted=adopted,
        animations=clips,
    )


def _note_binds(
    document: GltfDocument,
    places: dict[int, Matrix],
    skin: dict[str, Any],
    wearers: list[int],
    bind: dict[int, Matrix],
) -> None:
    """Note where a skin's joints are in the bind pose: the mesh's place times the inverse of the inverse."""
    joints = [index(joint) for joint in skin["joints"]]
    inverse = inverse_binds(document.arrays, skin)
    place = np.eye(4)
    if wearers:
        place = mesh_place(document.json, document.arrays, places, wearers[0])
    for joint, matrix in zip(joints, inverse, strict=True):
        if joint not in places or joint in bind:
            continue
        usable = np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:3, :3])) > _LEAST_DETERMINANT
        bind[joint] = place @ np.linalg.inv(matrix) if usable else places[joint]


def _weighted(document: GltfDocument, node: int) -> set[int]:
    """Return the places, in its skin, of the joints that move any vertex of a node's mesh."""
    found: set[int] = set()
    for primitive in document.json["meshes"][index(document.json["nodes"][node]["mesh"])]["primitives"]:
        attributes = primitive.get("attributes", {})
        for name in attributes:
            if not name.startswith("JOINTS_"):
                continue
            weights = attributes.get(f"WEIGHTS_{name.removeprefix('JOINTS_')}")
            if weights is not None:
                joints = document.arrays.accessor(index(attributes[name]))
                weight = document.arrays.accessor(index(weights))
                if joints.shape == weight.shape:
                    found |= {int(joint) for joint in np.unique(joints[weight > 0])}
    return found


def _joint_parents(json: dict[str, Any], places: dict[int, Matrix], nodes: list[int]) -> NDArray[np.int32]:
    above = {index(child): node for node in places for child in json["nodes"][node].get("children", [])}
    order = {node: number for number, node in enumerate(nodes)}
    parents = np.full(len(nodes), -1, dtype=np.int32)
    for number, node in enumerate(nodes):
        parent = above.get(node)
        while parent is not None and parent not in order:
            parent = above.get(parent)
        if parent is not None:
            parents[number] = order[parent]
    return parents


def _rigid(matrix: Matrix) -> Matrix:
    length = np.maximum(np.linalg.norm(matrix[:3, :3], axis=0), 1e-12)
    rigid = np.eye(4)
    rigid[:3, :3] = turn_of(quaternion_of(matrix[:3, :3] / length))
    rigid[:3, 3] = matrix[:3, 3]
    return rigid


def _unique(names: list[str]) -> tuple[str, ...]:
    taken: set[str] = set()
    for number, name in enumerate(names):
        fresh, copy = name, 2
        while fresh in taken:
            fresh, copy = f"{name}_{copy}", copy + 1
        taken.add(fresh)
        names[number] = fresh
    return tuple(names)


def moved_nodes(clip: dict[str, Any]) -> set[int]:
    """Return the nodes that an animation moves."""
    targets = [channel.get("target", {}).get("node") for channel in clip.get("channels", [])]
    return {index(node) for node in targets if node is not None}


def measure_rig(data: bytes, max_vertices: int) -> dict[str, Any]:
    """Measure the rig of a glTF file for people; without a joint the counts are zero.

    Positions are metres and rotations quaternions (x, y, z, w), both in the space of the model.
    Raises :class:`UnreadableMesh`.
    """
    document = GltfDocument(data, max_vertices)
    rig = read_rig(document)
    told = {"animations": len(document.json.get("animations", []))}
    if rig is None:
        return {"bone_count": 0, "bones": [], "has_skinning": False, "unweighted_vertices": 0, **told}
    names, parents = rig.skeleton.names, np.where(rig.adopted, -1, rig.skeleton.parents).tolist()
    bones = [
        {
            "name": name,
            "parent": None if parent < 0 else names[parent],
            "position": [round(float(value), 6) for value in rest[:3, 3]],
            "rotation": [round(value, 6) for value in quaternion_of(rest[:3, :3])],
        }
        for name, parent, rest in zip(names, parents, rig.skeleton.rest, strict=True)
    ]
    return {
        "bone_count": len(bones),
        "bones": bones,
        "has_skinning": bool(rig.moves.any()),
        "unweighted_vertices": _unweighted(document),
        **told,
    }


def _unweighted(document: GltfDocument) -> int:
    """Count the vertices of skinned meshes that no joint moves."""
    count, seen = 0, set()
    for node in document.json.get("nodes", []):
        if "skin" not in node or "mesh" not in node:
            continue
        for primitive in document.json["meshes"][index(node["mesh"])]["primitives"]:
            weights = primitive.get("attributes", {}).get("WEIGHTS_0")
            if weights is not None and weights not in seen:
                seen.add(weights)
                count += int((document.arrays.accessor(index(weights)).sum(axis=1) < 0.5).sum())
    return count
