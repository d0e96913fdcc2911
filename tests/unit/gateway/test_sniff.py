"""Meshes are known by what is in them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.sniff import HEAD_BYTES, MESH_MEDIA_TYPES, sniff_mesh

GLB = b"glTF" + struct.pack("<III", 2, 24, 4) + b"JSON" + b"{}  "
STL = bytes(80) + struct.pack("<I", 2) + bytes(100)

GOOD = {
    "glb": GLB,
    "obj": b"# made by hand\nmtllib a.mtl\no box\nv 0 0 0\nv 1 0 0\nf 1 1 2\n",
    "fbx": b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(100),
    "ply": b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n",
    "stl": STL,
    "gltf": b'\xef\xbb\xbf {"asset": {"version": "2.0"}}',
    "bvh": b"HIERARCHY\nROOT hips\n{\n",
}
BAD = {
    "nothing": b"",
    "a lying GLB": GLB + b"more",
    "half a GLB": GLB[:12],
    "an STL too short": STL[:-1],
    "an STL of nothing": bytes(84),
    "JSON": b'{"hello": "world"}',
    "words": b"v is a letter",
    "a hierarchy of nothing": b"HIERARCHY\n",
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "HTML": b"<html>\nv 0 0 0\n</html>",
}


@pytest.mark.parametrize("kind", GOOD)
def test_each_format_is_known(kind):
    assert sniff_mesh(GOOD[kind][:HEAD_BYTES], len(GOOD[kind])) == kind
    assert kind in MESH_MEDIA_TYPES


def test_text_stl_and_text_fbx_are_known():
    text = b"solid cube\n facet normal 0 0 1\n"
    assert sniff_mesh(text, len(text)) == "stl"
    assert sniff_mesh(b"; FBX 7.4.0 project file\n", 30) == "fbx"


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_of_them_is_none(name):
    assert sniff_mesh(BAD[name], len(BAD[name])) is None


def test_an_obj_whose_head_ends_in_the_middle_of_a_line_is_known():
    data = b"v 0.1 0.2 0.3\n" * 6000
    assert sniff_mesh(data[:HEAD_BYTES], len(data)) == "obj"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_looked_at_without_an_error(head, size):
    assert sniff_mesh(head, size) in (None, *MESH_MEDIA_TYPES)
