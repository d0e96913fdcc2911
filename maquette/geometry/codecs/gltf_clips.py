"""Write clips into a rigged glTF document, beside what is there (glTF 2.0, section 3.11)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs.gltf_arrays import index
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig
from maquette.geometry.codecs.gltf_scene import Matrix, local_matrix, place_nodes
from maquette.geometry.rig import Clip, Skeleton

_STILL_TURN = 1e-6
"""Difference of quaternions that no eye sees."""
_STILL = 1e-6
"""Share of the skeleton's size that a joint may be off and counts as in place."""
_KEPT = ("name", "children", "matrix", "translation", "rotation", "scale")


def world_poses(skeleton: Skeleton, clip: Clip) -> Matrix:
    """Return the joints' rigid transforms to the world, ``(t, j, 4, 4)``."""
    frames, count = len(clip.times), len(skeleton.names)
    rest = skeleton.local
    world = np.empty((frames, count, 4, 4))
    for joint, parent in enumerate(skeleton.parents.tolist()):
        local = np.tile(rest[joint], (frames, 1, 1))
        local[:, :3, :3] = Rotation.from_quat(clip.rotations[:, joint]).as_matrix()
        if joint in clip.translations:
            local[:, :3, 3] = clip.translations[joint]
        world[:, joint] = local if parent < 0 else world[:, parent] @ local
    return world


def write_clips(document: GltfDocument, rig: FileRig, clips: Sequence[Clip]) -> None:
    """Add clips of ``rig.skeleton`` to the document it was read from.

    A joint has a channel where it does not stay as its node is; rotations are linear. Nothing that
    is in the document changes, but for joints placed by a matrix, which come to be placed by
    translation, rotation and scale, as the format asks of nodes that move.
    """
    for node in rig.nodes:
        _part_matrix(document.json["nodes"][node])
    for clip in clips:
        _ClipWriter(document, rig, clip).write()


def strip_to_clips(document: GltfDocument, rig: FileRig, clips: Sequence[Clip]) -> bytes:
    """Return a GLB with the document's nodes and joints and these clips, and without anything to see."""
    kept: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Maquette"},
        "nodes": [
            {name: node[name] for name in _KEPT if name in node} for node in document.json.get("nodes", [])
        ],
    }
    for name in ("scene", "scenes"):
        if name in document.json:
            kept[name] = document.json[name]
    bare = GltfDocument(json.dumps(kept).encode(), 1)
    columns = np.linalg.inv(rig.bind).transpose(0, 2, 1).reshape(-1, 16).astype("<f4")
    # The last row is (0, 0, 0, 1) to the bit, as the format asks.
    columns[:, [3, 7, 11, 15]] = (0, 0, 0, 1)
    bare.json["skins"] = [{"joints": list(rig.nodes), "inverseBindMatrices": bare.add_array(columns, "MAT4")}]
    write_clips(bare, rig, clips)
    return bare.encode()


def _part_matrix(node: dict[str, Any]) -> None:
    if "matrix" not in node:
        return
    matrix = local_matrix(node)[None]
    del node["matrix"]
    places, turns, scales = _parted(matrix)
    node["translation"] = [float(value) for value in places[0]]
    node["rotation"] = [float(value) for value in turns[0]]
    node["scale"] = [float(value) for value in scales[0]]


def _parted(matrices: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Return translations ``(t, 3)``, rotations ``(t, 4)`` and scales ``(t, 3)`` of ``(t, 4, 4)``."""
    scales = np.linalg.norm(matrices[:, :3, :3], axis=1)
    scales[np.linalg.det(matrices[:, :3, :3]) < 0] *= -1.0
    turns = Rotation.from_matrix(matrices[:, :3, :3] / scales[:, None, :]).as_quat()
    jumps = (turns[1:] * turns[:-1]).sum(axis=1) < 0
    signs = np.concatenate([[1.0], np.where(np.cumsum(jumps) % 2, -1.0, 1.0)])
    return matrices[:, :3, 3], turns * signs[:, None], scales


@dataclass
class _ClipWriter:
    document: GltfDocument
    rig: FileRig
    clip: Clip

    def write(self) -> None:
        """Add the animation."""
        self.inputs: dict[int, int] = {}
        self.channels: list[dict[str, Any]] = []
        self.samplers: list[dict[str, Any]] = []
        nodes = self.document.json["nodes"]
        size = float(np.ptp(self.rig.skeleton.heads, axis=0).max()) or 1.0
        for node, local, unit in self._locals():
            places, turns, scales = _parted(local)
            entry = nodes[node]
            own = np.asarray(entry.get("rotation", (0.0, 0.0, 0.0, 1.0)), np.float64)
            if own @ turns[0] < 0:
                turns = -turns
            at = np.asarray(entry.get("translation", (0.0, 0.0, 0.0)), np.float64)
            wide = np.asarray(entry.get("scale", (1.0, 1.0, 1.0)), np.float64)
            self._channel(node, "translation", places, at, _STILL * size / unit)
            self._channel(node, "rotation", turns, own, _STILL_TURN)
            self._channel(node, "scale", scales, wide, 1e-4 * float(np.abs(wide).max()))
        if not self.channels:
            # A clip in which nothing moves is held by its first joint.
            still = np.asarray(nodes[self.rig.nodes[0]].get("rotation", (0.0, 0.0, 0.0, 1.0)), np.float64)
            self._channel(self.rig.nodes[0], "rotation", np.tile(still, (len(self.clip.times), 1)), still, -1)
        self.document.json.setdefault("animations", []).append(
            {"name": self.clip.name, "channels": self.channels, "samplers": self.samplers}
        )

    def _locals(self) -> list[tuple[int, Matrix, float]]:
        """Return each joint's node, its transform to its parent over time, and the parent's scale."""
        json, rig = self.document.json, self.rig
        places = place_nodes(json)
        above = {index(child): node for node in places for child in json["nodes"][node].get("children", [])}
        moved = world_poses(rig.skeleton, self.clip) @ np.linalg.inv(rig.skeleton.rest) @ rig.bind
        worlds: dict[int, Matrix] = {node: moved[:, joint] for joint, node in enumerate(rig.nodes)}
        found = []
        for node in places:
            parent = above.get(node)
            over = np.eye(4)[None] if parent is None else worlds.get(parent, places[parent][None])
            if node not in worlds:
                if parent is not None and parent in worlds:
                    worlds[node] = over @ local_matrix(json["nodes"][node])
                continue
            unit = abs(float(np.linalg.det(over[0, :3, :3]))) ** (1.0 / 3.0)
            found.append((node, np.linalg.inv(over) @ worlds[node], max(unit, 1e-12)))
        return found

    def _channel(self, node: int, path: str, values: Matrix, own: Matrix, slack: float) -> None:
        if np.abs(values - own).max() <= slack:
            return
        if len(values) > 1 and 0 <= np.abs(values - values[0]).max() <= slack:
            values = values[:1]
        data = self.document.add_array(values.astype("<f4"), "VEC4" if path == "rotation" else "VEC3")
        self.samplers.append({"input": self._times(len(values)), "output": data, "interpolation": "LINEAR"})
        self.channels.append({"sampler": len(self.samplers) - 1, "target": {"node": node, "path": path}})

    def _times(self, count: int) -> int:
        if count not in self.inputs:
            times = self.clip.times[:count].astype("<f4")
            number = self.document.add_array(times[:, None], "SCALAR")
            entry = self.document.json["accessors"][number]
            entry["min"], entry["max"] = [float(times[0])], [float(times[-1])]
            self.inputs[count] = number
        return self.inputs[count]
