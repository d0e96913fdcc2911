"""The thumbnail of a rigged model: the model, pale, and its bones in front of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Bytes, Material, Mesh, Part
from maquette.geometry.render import View, render

SIDE = 512
_VIEW = View(yaw=24.0, pitch=10.0, size=SIDE)
_BONE = Material(name="bone", base_color=(0.95, 0.45, 0.10, 1.0))
_PALE = 0.55
"""How much of the model's colour shows behind the bones."""
_THICK, _SMALL = 0.09, 0.012
"""Width of a bone as a share of its length; half size of a joint as a share of the model's height."""
_OCTAHEDRON = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int32
)


def draw_rig(asset: Asset, bones: Sequence[Mapping[str, Any]]) -> Bytes:
    """Draw a model and its bones: ``(SIDE, SIDE, 4) uint8``, transparent background.

    ``bones`` are those of :func:`maquette.geometry.codecs.gltf_rig.measure_rig`.
    """
    model = render(asset, _VIEW)
    if not bones:
        return model
    drawn = render(_bones(asset, bones), _VIEW, around=asset)
    pale = model.astype(np.float32)
    pale[..., :3] = 255 - (255 - pale[..., :3]) * _PALE
    over = drawn[..., 3:].astype(np.float32) / 255
    alpha = over + pale[..., 3:] / 255 * (1 - over)
    color = drawn[..., :3] * over + pale[..., :3] * (pale[..., 3:] / 255) * (1 - over)
    return np.concatenate([color / np.maximum(alpha, 1e-6), alpha * 255], axis=2).round().astype(np.uint8)


def _bones(asset: Asset, bones: Sequence[Mapping[str, Any]]) -> Asset:
    points = np.concatenate([part.mesh.vertices for part in asset.parts])
    small = _SMALL * float(np.ptp(points, axis=0).max())
    place = {bone["name"]: np.asarray(bone["position"], dtype=np.float64) for bone in bones}
    shapes = [_joint(head, small) for head in place.values()]
    # The first joint stands on the ground: a bone to it would be a pole through the model.
    shapes += [
        _bone(place[bone["parent"]], place[bone["name"]])
        for bone in bones
        if bone["parent"] is not None and bone["parent"] != bones[0]["name"]
    ]
    vertices = np.concatenate(shapes).astype(np.float32)
    starts = np.arange(len(shapes), dtype=np.int32)[:, None, None] * 6
    faces = (starts + _OCTAHEDRON).reshape(-1, 3).astype(np.int32)
    # Corners of its own for each face: the edges stay sharp.
    sharp = Mesh(vertices[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3))
    return Asset("bones", (Part("bones", sharp, _BONE),))


def _joint(head: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    sides = np.concatenate([np.eye(3), -np.eye(3)])[[0, 3, 1, 4, 2, 5]]
    return np.asarray(head + sides * size)


def _bone(head: NDArray[np.float64], tail: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the six corners of a bone, widest near its head."""
    along = tail - head
    length = max(float(np.linalg.norm(along)), 1e-12)
    first = np.cross(along, np.eye(3)[int(np.abs(along).argmin())])
    first *= _THICK * length / max(float(np.linalg.norm(first)), 1e-12)
    second = np.cross(along / length, first)
    waist = head + 0.15 * along
    return np.stack([waist + first, waist - first, waist + second, waist - second, tail, head])
