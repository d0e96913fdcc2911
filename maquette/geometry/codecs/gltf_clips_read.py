"""Read the clips of a rigged glTF document (glTF 2.0, sections 3.11 and C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs.gltf_arrays import index
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig
from maquette.geometry.codecs.gltf_scene import Matrix, local_matrix, place_nodes
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip, Skeleton

_WIDTH = {"translation": 3, "rotation": 4, "scale": 3}


def read_clips(document: GltfDocument, rig: FileRig, fps: float, *, max_seconds: float) -> tuple[Clip, ...]:
    """Return the document's clips that move the rig, each sampled at an even rate.

    Raises :class:`MeshError` for a clip that is too long, and for times and values that are no
    numbers or do not fit together.
    """
    found = []
    joints = set(rig.nodes)
    for number, entry in enumerate(document.json.get("animations", [])):
        try:
            channels = _channels(document, entry)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, MeshError):
                raise
            raise MeshError("An animation of the glTF file breaks the format.") from error
        if any(channel.node in joints for channel in channels):
            name = str(entry.get("name") or f"clip_{number}")
            found.append(_sample(document, rig, name, channels, fps, max_seconds))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Channel:
    node: int
    path: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    """``(k, w)``, of a cubic spline ``(k, 3, w)``."""
    kind: str

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values at ``times``, ``(t, w)``."""
        last = len(self.times) - 1
        low = np.clip(np.searchsorted(self.times, times, "right") - 1, 0, last)
        high = np.minimum(low + 1, last)
        step = self.times[high] - self.times[low]
        share = np.where(step > 0, (times - self.times[low]) / np.where(step > 0, step, 1.0), 0.0)
        share = np.clip(share, 0.0, 1.0)[:, None]
        if self.kind == "CUBICSPLINE":
            return self._cubic(low, high, share, step[:, None])
        first, second = self.values[low], self.values[high]
        if self.kind == "STEP":
            return np.asarray(first)
        if self.path == "rotation":
            return _slerp(first, second, share)
        return np.asarray(first + share * (second - first))

    def _cubic(
        self, low: NDArray[np.int64], high: NDArray[np.int64], share: Matrix, step: Matrix
    ) -> NDArray[np.float64]:
        """Section C.5 of glTF 2.0."""
        square, cube = share**2, share**3
        return np.asarray(
            (2 * cube - 3 * square + 1) * self.values[low, 1]
            + step * (cube - 2 * square + share) * self.values[low, 2]
            + (-2 * cube + 3 * square) * self.values[high, 1]
            + step * (cube - square) * self.values[high, 0]
        )


def _slerp(first: Matrix, second: Matrix, share: Matrix) -> Matrix:
    cos = (first * second).sum(axis=1, keepdims=True)
    second = np.where(cos < 0, -second, second)
    angle = np.arccos(np.clip(np.abs(cos), 0.0, 1.0))
    near = angle < 1e-4
    sin = np.where(near, 1.0, np.sin(angle))
    before = np.where(near, 1.0 - share, np.sin((1.0 - share) * angle) / sin)
    after = np.where(near, share, np.sin(share * angle) / sin)
    return np.asarray(before * first + after * second)


def _channels(document: GltfDocument, entry: dict[str, Any]) -> list[_Channel]:
    channels = []
    for channel in entry["channels"]:
        target = channel["target"]
        path = target.get("path")
        if "node" not in target or path not in _WIDTH:
            continue
        sampler = entry["samplers"][index(channel["sampler"])]
        times = document.arrays.accessor(index(sampler["input"])).astype(np.float64).ravel()
        values = document.arrays.accessor(index(sampler["output"])).astype(np.float64)
        kind = str(sampler.get("interpolation", "LINEAR"))
        if kind == "CUBICSPLINE":
            values = values.reshape(-1, 3, values.shape[1])
        if not len(times) or len(values) != len(times) or values.shape[-1] != _WIDTH[path]:
            raise MeshError("A channel of the clip is empty, or its times and values do not fit together.")
        if not np.isfinite(times).all() or not np.isfinite(values).all():
            raise MeshError("A channel of the clip has values that are no numbers.")
        if (np.diff(times) < 0).any() or times[0] < 0:
            raise MeshError("The times of a channel of the clip do not rise.")
        channels.append(_Channel(index(target["node"]), path, times, values, kind))
    return channels


def _sample(
    document: GltfDocument, rig: FileRig, name: str, channels: list[_Channel], fps: float, max_seconds: float
) -> Clip:
    start, end = min(c.times[0] for c in channels), max(c.times[-1] for c in channels)
    if end - start > max_seconds:
        raise MeshError(f"The clip is {end - start:.0f} seconds long; at most {max_seconds:.0f} can be used.")
    times = start + np.arange(int((end - start) * fps + 1e-3) + 1) / fps
    parts: dict[int, dict[str, Matrix]] = {}
    for channel in channels:
        parts.setdefault(channel.node, {})[channel.path] = channel.at(times)
    worlds = _node_worlds(document.json, parts, len(times))
    world = np.stack([np.broadcast_to(worlds[node], (len(times), 4, 4)) for node in rig.nodes], axis=1)
    skeleton = rig.skeleton
    length = np.maximum(np.linalg.norm(world[..., :3, :3], axis=2, keepdims=True), 1e-12)
    turns = Rotation.from_matrix((world[..., :3, :3] / length).reshape(-1, 3, 3)).as_matrix()
    return clip_of_worlds(
        skeleton, name, times - start, turns.reshape(*world.shape[:2], 3, 3), world[..., :3, 3]
    )


def clip_of_worlds(skeleton: Skeleton, name: str, times: Matrix, turns: Matrix, points: Matrix) -> Clip:
    """Build a clip from the joints' rotations ``(t, j, 3, 3)`` and places ``(t, j, 3)`` in the world."""
    rotations = np.empty((*turns.shape[:2], 4))
    translations = {}
    rest = skeleton.local[:, :3, 3]
    size = float(np.ptp(skeleton.heads, axis=0).max()) or 1.0
    for joint, parent in enumerate(skeleton.parents.tolist()):
        local, place = turns[:, joint], points[:, joint]
        if parent >= 0:
            back = np.swapaxes(turns[:, parent], 1, 2)
            local = back @ local
            place = np.einsum("tij,tj->ti", back, place - points[:, parent])
        rotations[:, joint] = Rotation.from_matrix(local).as_quat()
        if parent < 0 or np.abs(place - rest[joint]).max() > 1e-4 * size:
            translations[joint] = place
    return Clip(name, times, rotations, translations)


def _node_worlds(json: dict[str, Any], parts: dict[int, dict[str, Matrix]], frames: int) -> dict[int, Matrix]:
    """Return the nodes' transforms to the world, ``(t, 4, 4)`` or ``(1, 4, 4)`` where nothing moves."""
    worlds: dict[int, Matrix] = {}
    above = {index(c): n for n, node in enumerate(json["nodes"]) for c in node.get("children", [])}
    for node in place_nodes(json):
        local = local_matrix(json["nodes"][node])[None]
        if node in parts:
            local = _moving(json["nodes"][node], parts[node], frames)
        worlds[node] = worlds[above[node]] @ local if above.get(node) in worlds else local
    return worlds


def _moving(node: dict[str, Any], parts: dict[str, Matrix], frames: int) -> Matrix:
    turns = parts.get("rotation", np.tile(node.get("rotation", (0.0, 0.0, 0.0, 1.0)), (frames, 1)))
    if (np.linalg.norm(turns, axis=1) < 1e-6).any():
        raise MeshError("A rotation of the clip has no direction.")
    scales = parts.get("scale", np.tile(node.get("scale", (1.0, 1.0, 1.0)), (frames, 1)))
    local = np.tile(np.eye(4), (frames, 1, 1))
    local[:, :3, :3] = Rotation.from_quat(turns).as_matrix() * scales[:, None, :]
    local[:, :3, 3] = parts.get(
        "translation", np.asarray(node.get("translation", (0.0, 0.0, 0.0)), np.float64)
    )
    return local
