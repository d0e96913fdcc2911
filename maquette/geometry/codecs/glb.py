"""Write binary glTF 2.0 (one file, texture embedded, byte for byte repeatable)."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Material, Mesh
from maquette.geometry.textures import encode_png

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_ARRAY, _ELEMENTS = 34962, 34963
_UNSIGNED_BYTE, _UNSIGNED_SHORT, _UNSIGNED_INT, _FLOAT = 5121, 5123, 5125, 5126
_LINEAR, _TRILINEAR, _CLAMP = 9729, 9987, 33071


def write_glb(asset: Asset) -> bytes:
    """Encode an asset as GLB; each part becomes a node with its own mesh and material."""
    return _Document(asset).encode()


class _Document:
    """A glTF document under construction: the JSON and the one binary buffer."""

    def __init__(self, asset: Asset) -> None:
        self._binary = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "Maquette"},
            "scene": 0,
            "scenes": [{"name": asset.name, "nodes": list(range(len(asset.parts)))}],
            "nodes": [{"name": part.name, "mesh": index} for index, part in enumerate(asset.parts)],
        }
        self._json["meshes"] = [
            {"name": part.name, "primitives": [self._primitive(part.mesh, index)]}
            for index, part in enumerate(asset.parts)
        ]
        self._json["materials"] = [self._material(part.material) for part in asset.parts]

    def encode(self) -> bytes:
        """Lay out header, JSON chunk and binary chunk (glTF 2.0, section 4.4)."""
        if self._images:
            self._json["images"] = self._images
            self._json["samplers"] = [
                {"magFilter": _LINEAR, "minFilter": _TRILINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}
            ]
            self._json["textures"] = [{"sampler": 0, "source": source} for source in range(len(self._images))]
        self._json["accessors"] = self._accessors
        self._json["bufferViews"] = self._views
        self._json["buffers"] = [{"byteLength": len(self._binary)}]
        text = json.dumps(self._json, separators=(",", ":"), ensure_ascii=True).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self._binary) + b"\0" * (-len(self._binary) % 4)
        total = 12 + 8 + len(text) + 8 + len(binary)
        return b"".join(
            [
                struct.pack("<III", _MAGIC, 2, total),
                struct.pack("<II", len(text), _JSON),
                text,
                struct.pack("<II", len(binary), _BIN),
                binary,
            ]
        )

    def _primitive(self, mesh: Mesh, material: int) -> dict[str, Any]:
        attributes = {"POSITION": self._accessor(mesh.vertices.astype("<f4"), "VEC3", _FLOAT, extremes=True)}
        if mesh.normals is not None:
            attributes["NORMAL"] = self._accessor(mesh.normals.astype("<f4"), "VEC3", _FLOAT)
        if mesh.uv is not None:
            attributes["TEXCOORD_0"] = self._accessor(mesh.uv.astype("<f4"), "VEC2", _FLOAT)
        if mesh.colors is not None:
            attributes["COLOR_0"] = self._accessor(
                _linear(mesh.colors), "VEC4", _UNSIGNED_BYTE, normalized=True
            )
        # 65535 restarts a primitive, so it is no index in 16 bit.
        small = len(mesh.vertices) < 65535
        indices = self._accessor(
            mesh.faces.astype("<u2" if small else "<u4").ravel(),
            "SCALAR",
            _UNSIGNED_SHORT if small else _UNSIGNED_INT,
            target=_ELEMENTS,
        )
        return {"attributes": attributes, "indices": indices, "material": material, "mode": 4}

    def _material(self, material: Material) -> dict[str, Any]:
        shading: dict[str, Any] = {
            "baseColorFactor": list(material.base_color),
            "metallicFactor": material.metallic,
            "roughnessFactor": material.roughness,
        }
        if material.base_color_texture is not None:
            view = self._view(encode_png(material.base_color_texture))
            self._images.append({"name": "base_color", "mimeType": "image/png", "bufferView": view})
            shading["baseColorTexture"] = {"index": len(self._images) - 1}
        return {
            "name": material.name,
            "pbrMetallicRoughness": shading,
            "doubleSided": material.double_sided,
        }

    def _accessor(
        self,
        values: NDArray[Any],
        kind: str,
        component: int,
        *,
        target: int = _ARRAY,
        extremes: bool = False,
        normalized: bool = False,
    ) -> int:
        entry: dict[str, Any] = {
            "bufferView": self._view(values.tobytes(), target),
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if extremes:
            entry["min"] = [float(value) for value in values.min(axis=0)]
            entry["max"] = [float(value) for value in values.max(axis=0)]
        if normalized:
            entry["normalized"] = True
        self._accessors.append(entry)
        return len(self._accessors) - 1

    def _view(self, data: bytes, target: int | None = None) -> int:
        self._binary += b"\0" * (-len(self._binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self._binary += data
        self._views.append(view)
        return len(self._views) - 1


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring sRGB vertex colours to the linear ones glTF asks for (section 3.7.2.1)."""
    value = colors[:, :3] / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.concatenate([np.round(linear * 255).astype(np.uint8), colors[:, 3:]], axis=1)
