"""Rigged characters that tests are about."""

from __future__ import annotations

import numpy as np

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.codecs import encode
from maquette.geometry.codecs.gltf_character import read_character
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig_write import write_skeleton, write_skin
from maquette.geometry.rig import Skeleton, Skin

MOST = 1_000_000


def splinters(skeleton: Skeleton, *, scale: float = 1.0) -> bytes:
    """Return a GLB with a triangle at each joint, moved by that joint alone.

    With ``scale`` the joints stand under an armature of that scale, and so do their own units.
    """
    heads = skeleton.heads
    steps = ([0.0, 0.0, 0.0], [0.05, 0.0, 0.0], [0.0, 0.05, 0.0])
    corners = np.concatenate([heads + np.array(step) for step in steps]).astype(np.float32)
    count = len(heads)
    faces = np.stack([np.arange(count) + k * count for k in range(3)], axis=1).astype(np.int32)
    asset = Asset("scene", (Part("body", Mesh(corners, faces), Material("skin")),))
    document = GltfDocument(encode(asset, "glb")[0].data, MOST)
    whole = read_character(document, MOST)
    joints, weights = np.zeros((3 * count, 4), np.uint16), np.zeros((3 * count, 4), np.float32)
    joints[:, 0], weights[:, 0] = np.arange(3 * count) % count, 1.0
    nodes = write_skeleton(document, skeleton)
    bind = skeleton.rest @ np.diag([scale, scale, scale, 1.0])
    write_skin(document, whole, nodes, bind, Skin(joints, weights))
    if scale != 1.0:
        _put_under_armature(document, nodes, scale)
    return document.encode()


def _put_under_armature(document: GltfDocument, nodes: tuple[int, ...], scale: float) -> None:
    entries = document.json["nodes"]
    roots = document.json["scenes"][0]["nodes"]
    roots.remove(nodes[0])
    entries.append({"name": "armature", "scale": [scale] * 3, "children": [nodes[0]]})
    roots.append(len(entries) - 1)
    for node in nodes:
        entries[node]["translation"] = [value / scale for value in entries[node]["translation"]]
