"""STL: write binary, read binary and text."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Part, clean_mesh
from maquette.geometry.errors import UnreadableMesh
from maquette.geometry.topology import face_normals, weld

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)


def write_stl(asset: Asset) -> bytes:
    """Encode the triangles of all parts as binary STL, metres, Y up."""
    blocks = []
    for part in asset.parts:
        mesh = part.mesh
        normals = face_normals(mesh.vertices, mesh.faces)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        record = np.zeros(len(mesh.faces), dtype=_RECORD)
        record["normal"] = normals / np.maximum(length, 1e-30)
        record["corners"] = mesh.vertices[mesh.faces]
        blocks.append(record.tobytes())
    # A text STL starts with "solid", so a binary one must not.
    header = b"Maquette binary STL".ljust(80, b"\0")
    return header + np.uint32(asset.face_count).tobytes() + b"".join(blocks)


def read_stl(data: bytes, max_vertices: int) -> Asset:
    """Read an STL and join its corners. Raises :class:`UnreadableMesh` for anything else."""
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    if count >= 0 and len(data) == 84 + _RECORD.itemsize * count:
        if 3 * count > 6 * max_vertices:
            raise UnreadableMesh(f"The STL file has {count} faces; that is too many.")
        corners: NDArray[np.float32] = np.frombuffer(data, _RECORD, count, 84)["corners"].reshape(-1, 3)
    elif data[:512].lstrip()[:5].lower() == b"solid":
        corners = _text_corners(data, max_vertices)
    else:
        raise UnreadableMesh("The STL file is damaged: its size does not fit its number of faces.")
    if not len(corners):
        raise UnreadableMesh("The STL file has no faces.")
    faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    points, faces, _ = weld(np.ascontiguousarray(corners, dtype=np.float32), faces)
    return Asset("stl", (Part("mesh", clean_mesh(points, faces)),))


def _text_corners(data: bytes, max_vertices: int) -> NDArray[np.float32]:
    found = _VERTEX.findall(data)
    if len(found) > 6 * max_vertices:
        raise UnreadableMesh("The STL file has too many faces.")
    try:
        corners = np.array(found, dtype="S32").astype(np.float32).reshape(-1, 3)
    except ValueError as error:
        raise UnreadableMesh("A line of the STL file cannot be understood.") from error
    if len(corners) % 3:
        raise UnreadableMesh("The STL file ends in the middle of a face.")
    return corners
