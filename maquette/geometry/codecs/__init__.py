"""Mesh files: which formats there are, how to write and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maquette.geometry.asset import Asset
from maquette.geometry.errors import UnreadableMesh

MEDIA_TYPES: Mapping[str, str] = {
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "ply": "model/ply",
    "stl": "model/stl",
}

WRITABLE = ("glb", "obj", "ply", "stl")
READABLE = ("glb", "gltf", "obj", "ply", "stl")


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """One file of an encoded asset; ``role`` is mesh, material or texture."""

    role: str
    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class MeshLimits:
    """What a mesh file may be."""

    max_bytes: int = 200 * 1024 * 1024
    max_vertices: int = 5_000_000


def encode(asset: Asset, kind: str, stem: str = "model") -> tuple[EncodedFile, ...]:
    """Encode an asset as glb, obj, ply or stl; the mesh comes first, what it refers to after it.

    Raises ValueError for a format that cannot be written.
    """
    if kind == "obj":
        from maquette.geometry.codecs.obj import write_obj

        roles = {
            "obj": ("mesh", MEDIA_TYPES["obj"]),
            "mtl": ("material", "model/mtl"),
            "png": ("texture", "image/png"),
        }
        files = write_obj(asset, stem)
        return tuple(EncodedFile(*_role(roles, name), data) for name, data in files.items())
    if kind == "glb":
        from maquette.geometry.codecs.glb import write_glb as write
    elif kind == "ply":
        from maquette.geometry.codecs.ply import write_ply as write
    elif kind == "stl":
        from maquette.geometry.codecs.stl import write_stl as write
    else:
        raise ValueError(f"{kind} cannot be written; {', '.join(WRITABLE)} can")
    return (EncodedFile("mesh", f"{stem}.{kind}", MEDIA_TYPES[kind], write(asset)),)


def _role(roles: Mapping[str, tuple[str, str]], name: str) -> tuple[str, str, str]:
    role, media_type = roles[name.rsplit(".", 1)[1]]
    return role, name, media_type


def read_mesh(path: Path, limits: MeshLimits = MeshLimits()) -> Asset:
    """Read a mesh file, taking its format from its bytes and, failing that, from its name.

    No other file is ever opened. Raises :class:`UnreadableMesh` or its parent
    :class:`maquette.geometry.errors.MeshError` with a sentence for the sender.
    """
    size = path.stat().st_size
    if size == 0:
        raise UnreadableMesh("The file is empty.")
    if size > limits.max_bytes:
        raise UnreadableMesh(
            f"The file is {size / 2**20:.1f} MiB; {limits.max_bytes / 2**20:.0f} MiB are allowed."
        )
    return decode(path.read_bytes(), path.suffix.lower().lstrip("."), limits)


def decode(data: bytes, suffix: str, limits: MeshLimits = MeshLimits()) -> Asset:
    """Read the bytes of a mesh file; ``suffix`` decides between formats that bytes do not tell."""
    if data[:4] == b"glTF" or suffix in ("glb", "gltf"):
        if suffix == "glb" and data[:4] != b"glTF":
            raise UnreadableMesh("The file is no GLB file.")
        from maquette.geometry.codecs.gltf import read_gltf as read
    elif data[:3] == b"ply" and suffix in ("", "ply"):
        from maquette.geometry.codecs.ply import read_ply as read
    elif suffix == "obj":
        from maquette.geometry.codecs.obj import read_obj as read
    elif suffix == "stl":
        from maquette.geometry.codecs.stl import read_stl as read
    else:
        raise UnreadableMesh(f"The file is no mesh that can be read; {', '.join(READABLE)} can.")
    return read(data, limits.max_vertices)
