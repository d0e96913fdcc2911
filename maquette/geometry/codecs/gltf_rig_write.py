"""Write a skeleton and skin weights into a glTF document, or take them out of it.

Everything else of the document stays as it is (glTF 2.0, sections 3.7.3 and 3.7.4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.codecs.gltf_arrays import index
from maquette.geometry.codecs.gltf_character import Character
from maquette.geometry.codecs.gltf_document import ARRAY_BUFFER, GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig, moved_nodes
from maquette.geometry.codecs.gltf_scene import Matrix, place_nodes, quaternion_of
from maquette.geometry.rig import Skeleton, Skin

_SAFE_EXTENSIONS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_mesh_", "KHR_lights_")
"""Extensions that name no node by its number; with others in use, no node is taken out."""


def write_skeleton(document: GltfDocument, skeleton: Skeleton) -> tuple[int, ...]:
    """Add the joints to the default scene; return their nodes."""
    nodes = document.json.setdefault("nodes", [])
    first = len(nodes)
    for name, local in zip(skeleton.names, skeleton.local, strict=True):
        node: dict[str, Any] = {"name": name, "translation": [float(value) for value in local[:3, 3]]}
        turn = quaternion_of(local[:3, :3])
        if turn[3] < 1.0:
            node["rotation"] = list(turn)
        nodes.append(node)
    for joint, parent in enumerate(skeleton.parents.tolist()):
        if parent >= 0:
            nodes[first + parent].setdefault("children", []).append(first + joint)
    scenes = document.json.get("scenes", [])
    if scenes:
        scenes[index(document.json.get("scene", 0))].setdefault("nodes", []).append(first)
    return tuple(range(first, first + len(skeleton.names)))


def write_skin(
    document: GltfDocument,
    character: Character,
    nodes: tuple[int, ...],
    bind: Matrix,
    skin: Skin | None,
) -> None:
    """Let the joints at ``nodes`` move the character's meshes; without ``skin`` only name them.

    ``bind (j, 4, 4)`` are the joints' transforms to the world in the bind pose. Each mesh gets a
    skin whose inverse bind matrices take in where its node has put it, and one set of four
    influences in place of those it had.
    """
    if skin is None:
        _put_meshes(document.json, character)
        _add_skin(document, nodes, np.linalg.inv(bind).astype(np.float64))
        return
    _dress(document, character.places, nodes, bind)
    _write_weights(document, character, skin)


def renew_rig(document: GltfDocument, character: Character, rig: FileRig, skin: Skin) -> None:
    """Write new weights for the joints a document has; joints and their bind pose stay.

    ``skin.joints`` count in ``rig.nodes``. A mesh whose skin names other joints, or the same in
    another order, gets a skin that names all of them.
    """
    json = document.json
    skins = json.get("skins", [])
    bare = {}
    for node, place in character.places.items():
        worn = json["nodes"][node].get("skin")
        if worn is None or [index(joint) for joint in skins[index(worn)]["joints"]] != list(rig.nodes):
            bare[node] = place
            json["nodes"][node].pop("skin", None)
    _drop_unworn_skins(json)
    _dress(document, bare, rig.nodes, rig.bind)
    if rig.adopted.any():
        # Joints with several roots have none that all hang on, which is what `skeleton` would name.
        for skin_entry in json["skins"]:
            skin_entry.pop("skeleton", None)
    _write_weights(document, character, skin)


def _drop_unworn_skins(json: dict[str, Any]) -> None:
    wearers = [node for node in json["nodes"] if "skin" in node]
    worn = sorted({index(node["skin"]) for node in wearers})
    for node in wearers:
        node["skin"] = worn.index(index(node["skin"]))
    json["skins"] = [json["skins"][number] for number in worn]


def _put_meshes(json: dict[str, Any], character: Character) -> None:
    """Put each mesh, by its own node, where a skin that is gone has put it."""
    worlds = place_nodes(json)
    above = {index(child): node for node in worlds for child in json["nodes"][node].get("children", [])}
    for number, place in character.places.items():
        if np.allclose(worlds[number], place, rtol=1e-6, atol=1e-9):
            continue
        parent = worlds[above[number]] if number in above else np.eye(4)
        node = json["nodes"][number]
        for name in ("translation", "rotation", "scale"):
            node.pop(name, None)
        local = np.linalg.inv(parent) @ place
        node["matrix"] = [float(value) for value in local.T.ravel()]


def _dress(document: GltfDocument, places: dict[int, Matrix], nodes: tuple[int, ...], bind: Matrix) -> None:
    """Give mesh nodes a skin that takes in their places; nodes at one place share it."""
    unbound = np.linalg.inv(bind).astype(np.float64)
    made: dict[bytes, int] = {}
    for node, place in places.items():
        matrices = unbound @ place
        key = matrices.astype("<f4").tobytes()
        if key not in made:
            made[key] = _add_skin(document, nodes, matrices)
        document.json["nodes"][node]["skin"] = made[key]


def _add_skin(document: GltfDocument, nodes: tuple[int, ...], inverse: Matrix) -> int:
    columns = inverse.transpose(0, 2, 1).reshape(-1, 16).astype("<f4")
    # The last row is (0, 0, 0, 1) to the bit, as the format asks.
    columns[:, [3, 7, 11, 15]] = (0, 0, 0, 1)
    skins = document.json.setdefault("skins", [])
    skins.append(
        {
            "inverseBindMatrices": document.add_array(columns, "MAT4"),
            "joints": list(nodes),
            "skeleton": nodes[0],
        }
    )
    return len(skins) - 1


def _write_weights(document: GltfDocument, character: Character, skin: Skin) -> None:
    """Write the weights of every mesh in place of those it had, shared where vertices are shared."""
    _part_shared_meshes(document.json, character)
    small = int(skin.joints.max(initial=0)) < 256
    accessors = {}
    for block in character.blocks:
        joints, weights = _exact(skin.joints[block.vertex], skin.weights[block.vertex])
        accessors[block.node, block.accessor] = (
            document.add_array(joints.astype("u1" if small else "<u2"), "VEC4", target=ARRAY_BUFFER),
            document.add_array(weights, "VEC4", target=ARRAY_BUFFER),
        )
    for node in character.places:
        mesh = document.json["meshes"][document.json["nodes"][node]["mesh"]]
        for primitive in mesh["primitives"]:
            attributes = primitive.get("attributes", {})
            _drop_weights(attributes)
            if "POSITION" in attributes:
                found = accessors[node, index(attributes["POSITION"])]
                attributes["JOINTS_0"], attributes["WEIGHTS_0"] = found


def _part_shared_meshes(json: dict[str, Any], character: Character) -> None:
    """Give every node a mesh of its own: where two share one, each place has weights of its own."""
    taken: set[int] = set()
    for node in character.places:
        mesh = index(json["nodes"][node]["mesh"])
        if mesh in taken:
            copy = {**json["meshes"][mesh]}
            copy["primitives"] = [
                {**primitive, "attributes": {**primitive.get("attributes", {})}}
                for primitive in copy["primitives"]
            ]
            json["meshes"].append(copy)
            mesh = len(json["meshes"]) - 1
        json["nodes"][node]["mesh"] = mesh
        taken.add(mesh)


def _exact(
    joints: NDArray[np.uint16], weights: NDArray[np.float32]
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Let each row of weights sum to one in float32, and unused places name joint 0."""
    joints, weights = joints.copy(), weights.astype(np.float64)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    exact = weights.astype("<f4")
    exact[:, 0] = 1.0 - exact[:, 1:].sum(axis=1, dtype=np.float64)
    joints[exact <= 0] = 0
    return joints, np.maximum(exact, 0)


def _drop_weights(attributes: dict[str, Any]) -> None:
    for name in [name for name in attributes if name.startswith(("JOINTS_", "WEIGHTS_"))]:
        del attributes[name]


def forget_rig(document: GltfDocument, joints: tuple[int, ...]) -> dict[int, int]:
    """Take all skins, weights and clips of joints out; then the joints that hold nothing else.

    Returns the new number of each node that is left, by its old one.
    """
    json = document.json
    for node in json.get("nodes", []):
        node.pop("skin", None)
    for mesh in json.get("meshes", []):
        for primitive in mesh["primitives"]:
            _drop_weights(primitive.get("attributes", {}))
    json.pop("skins", None)
    _forget_clips(json, set(joints))
    if all(name.startswith(_SAFE_EXTENSIONS) for name in json.get("extensionsUsed", ())):
        return _remove_nodes(json, _bare(json, set(joints)))
    return {node: node for node in range(len(json.get("nodes", [])))}


def _forget_clips(json: dict[str, Any], joints: set[int]) -> None:
    kept = [clip for clip in json.get("animations", []) if not moved_nodes(clip) & joints]
    if kept:
        json["animations"] = kept
    else:
        json.pop("animations", None)


def _bare(json: dict[str, Any], joints: set[int]) -> set[int]:
    """Return the joints with nothing below them but joints, and nothing of their own but a place."""
    nodes = json.get("nodes", [])
    bare = {node for node in joints if not set(nodes[node]) & {"mesh", "camera", "extensions"}}
    while True:
        held = {node for node in bare if not set(nodes[node].get("children", [])) <= bare}
        if not held:
            return bare
        bare -= held


def _remove_nodes(json: dict[str, Any], gone: set[int]) -> dict[int, int]:
    """Remove nodes and number the others anew wherever the core format names them."""
    nodes = json.get("nodes", [])
    place = {node: number for number, node in enumerate(n for n in range(len(nodes)) if n not in gone)}
    json["nodes"] = [node for number, node in enumerate(nodes) if number not in gone]
    for holder, name in [(node, "children") for node in json["nodes"]] + [
        (scene, "nodes") for scene in json.get("scenes", [])
    ]:
        if name in holder:
            kept = [place[index(node)] for node in holder[name] if index(node) in place]
            if kept:
                holder[name] = kept
            else:
                del holder[name]
    for clip in json.get("animations", []):
        for channel in clip.get("channels", []):
            target = channel.get("target", {})
            if "node" in target:
                target["node"] = place[index(target["node"])]
    return place
