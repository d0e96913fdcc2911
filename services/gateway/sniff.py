"""Name what a mesh file holds from its first bytes and its length. Nothing is parsed.

A full look happens in the sandbox of the capability that reads the mesh; this is the cheap check at
the door, so that a picture renamed .glb is refused at once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

BVH_TYPE = "application/x-bvh"
"""Nobody has registered one."""
MESH_MEDIA_TYPES: Mapping[str, str] = {
    "glb": "model/gltf-binary",
    "obj": "application/wavefront-obj",
    "fbx": "model/fbx",
    "ply": "model/ply",
    "stl": "model/stl",
    "gltf": "model/gltf+json",
    "bvh": BVH_TYPE,
}

HEAD_BYTES = 64 * 1024
"""Bytes from the start that `sniff_mesh` looks at."""

_OBJ_VERTEX = re.compile(rb"v\s+[-+.\d]+[\d.eE+-]*\s")
_STL_HEADER = 84
_STL_TRIANGLE = 50
_OBJ_WORDS = (
    b"v ",
    b"vn ",
    b"vt ",
    b"f ",
    b"o ",
    b"g ",
    b"s ",
    b"mtllib ",
    b"usemtl ",
    b"#",
    b"l ",
    b"p ",
    b"vp ",
)


def sniff_mesh(head: bytes, size: int) -> str | None:
    """Name the format (glb, obj, fbx, ply, stl, gltf, bvh) of a file of ``size`` bytes, or None.

    ``head`` holds its first `HEAD_BYTES` bytes. A GLB must tell its own length truly, a binary STL
    must be as long as its triangles.
    """
    if head.startswith(b"glTF"):
        return "glb" if _whole_glb(head, size) else None
    if head.startswith((b"Kaydara FBX Binary  \x00", b"; FBX ")):
        return "fbx"
    if head.startswith((b"ply\n", b"ply\r\n")):
        return "ply" if b"format " in head[:256] else None
    if size >= _STL_HEADER and len(head) >= _STL_HEADER:
        triangles = int.from_bytes(head[80:84], "little")
        if size == _STL_HEADER + _STL_TRIANGLE * triangles and triangles:
            return "stl"
    return _sniff_text(head)


def _whole_glb(head: bytes, size: int) -> bool:
    if len(head) < 20:
        return False
    version, length, _, chunk = struct.unpack_from("<III4s", head, 4)
    return bool(version == 2 and length == size and chunk == b"JSON")


def _sniff_text(head: bytes) -> str | None:
    if b"\x00" in head:
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"solid") and (b"facet" in head or b"endsolid" in head):
        return "stl"
    if start[:9].upper() == b"HIERARCHY":
        return "bvh" if b"ROOT" in start[:4096].upper() else None
    if start.startswith(b"{"):
        return "gltf" if b'"asset"' in head or b'"buffers"' in head else None
    lines = [line.lstrip() for line in head.splitlines()[:4096]]
    if len(head) >= HEAD_BYTES:
        lines = lines[:-1]
    lines = [line for line in lines if line]
    told = all(line.startswith(_OBJ_WORDS) for line in lines)
    return "obj" if told and any(_OBJ_VERTEX.match(line) for line in lines) else None
