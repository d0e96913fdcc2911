"""What our codecs write, others read, and what they read back is what was written."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image

from maquette.geometry.asset import Asset, Material, Mesh, Part, clean_mesh
from maquette.geometry.codecs import decode, encode
from maquette.geometry.errors import MeshError, UnreadableMesh
from maquette.geometry.topology import is_watertight, measure, vertex_normals, volume, weld

ROOT = Path(__file__).resolve().parents[3]
VALIDATOR = ROOT / "node_modules" / "gltf-validator"


def _cube() -> Asset:
    """A textured unit cube on the ground with a seam round every side."""
    box = trimesh.creation.box()
    corners = (box.vertices[box.faces].reshape(-1, 3) + np.array((0, 0.5, 0))).astype(np.float32)
    faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    points, welded, _ = weld(corners, faces)
    normals = vertex_normals(points, welded)[welded].reshape(-1, 3)
    uv = np.random.default_rng(3).random((len(corners), 2)).astype(np.float32)
    texture = np.random.default_rng(4).integers(0, 255, (16, 32, 3), dtype=np.uint8)
    return Asset(
        "cube",
        (Part("cube", Mesh(corners, faces, normals, uv), Material("paint", base_color_texture=texture)),),
    )


def test_glb_is_read_by_others_with_texture_and_bounds() -> None:
    asset = _cube()
    data = encode(asset, "glb")[0].data
    document = pygltflib.GLTF2.load_from_bytes(data)
    position = document.accessors[document.meshes[0].primitives[0].attributes.POSITION]
    assert position.min == [-0.5, 0.0, -0.5] and position.max == [0.5, 1.0, 0.5]
    assert document.materials[0].pbrMetallicRoughness.metallicFactor == 0.0
    view = document.bufferViews[document.images[0].bufferView]
    png = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), asset.texture)
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    other = scene.to_geometry() if hasattr(scene, "to_geometry") else scene
    assert other.volume == pytest.approx(1.0)


def test_glb_round_trip_changes_nothing() -> None:
    asset = _cube()
    again = decode(encode(asset, "glb")[0].data, "glb")
    old, new = asset.parts[0], again.parts[0]
    assert np.array_equal(old.mesh.vertices, new.mesh.vertices) and np.array_equal(
        old.mesh.faces, new.mesh.faces
    )
    assert old.mesh.uv is not None and new.mesh.uv is not None and np.array_equal(old.mesh.uv, new.mesh.uv)
    assert np.array_equal(old.material.base_color_texture, new.material.base_color_texture)
    assert new.material.roughness == old.material.roughness and again.name == "cube"


@pytest.mark.skipif(
    not VALIDATOR.is_dir() or not shutil.which("node"), reason="gltf-validator is not installed"
)
@pytest.mark.parametrize("colored", [False, True])
def test_glb_has_no_error_for_the_khronos_validator(tmp_path: Path, colored: bool) -> None:
    asset = _cube()
    if colored:
        mesh = asset.parts[0].mesh
        colors = np.full((len(mesh.vertices), 4), (200, 100, 50, 255), dtype=np.uint8)
        asset = Asset("colored", (Part("c", Mesh(mesh.vertices, mesh.faces, mesh.normals, None, colors)),))
    path = tmp_path / "model.glb"
    path.write_bytes(encode(asset, "glb")[0].data)
    run = subprocess.run(
        ["node", str(ROOT / "tests" / "gltf_validator.mjs"), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    issues = json.loads(run.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_obj_comes_with_its_material_and_texture(tmp_path: Path) -> None:
    files = encode(_cube(), "obj")
    assert [(file.role, file.name) for file in files] == [
        ("mesh", "model.obj"),
        ("material", "model.mtl"),
        ("texture", "texture.png"),
    ]
    for file in files:
        (tmp_path / file.name).write_bytes(file.data)
    other = trimesh.load_mesh(tmp_path / "model.obj")
    assert other.volume == pytest.approx(1.0)
    assert other.visual.material.image.size == (32, 16)


def test_obj_stores_seam_vertices_once() -> None:
    text = encode(_cube(), "obj")[0].data.decode()
    assert sum(line.startswith("v ") for line in text.splitlines()) == 8


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_each_format_comes_back_closed_and_the_right_way_out(kind: str) -> None:
    mesh = decode(encode(_cube(), kind)[0].data, kind).parts[0].mesh
    assert is_watertight(mesh.vertices, mesh.faces)
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kind", ["ply", "stl"])
def test_plain_formats_are_read_by_others(kind: str) -> None:
    other = trimesh.load_mesh(io.BytesIO(encode(_cube(), kind)[0].data), file_type=kind)
    assert other.is_watertight and other.volume == pytest.approx(1.0)


def test_ply_carries_the_colour_of_the_texture() -> None:
    mesh = _cube().parts[0].mesh
    red = np.full((4, 4, 3), (250, 10, 20), dtype=np.uint8)
    asset = Asset("red", (Part("red", mesh, Material(base_color_texture=red)),))
    other = trimesh.load_mesh(io.BytesIO(encode(asset, "ply")[0].data), file_type="ply", process=False)
    assert (other.visual.vertex_colors[:, :3] == (250, 10, 20)).all()


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_equal_assets_give_equal_bytes(kind: str) -> None:
    assert [file.data for file in encode(_cube(), kind)] == [file.data for file in encode(_cube(), kind)]


def test_measures_are_taken_on_the_mesh() -> None:
    facts = measure(_cube())
    assert facts["vertex_count"] == 36 and facts["face_count"] == 12 and facts["texture_resolution"] == 32
    assert facts["watertight"] is True and facts["bounds_max"] == [0.5, 1.0, 0.5]


def test_an_open_mesh_is_not_called_watertight() -> None:
    mesh = _cube().parts[0].mesh
    assert not is_watertight(mesh.vertices, mesh.faces[1:])
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(mesh.vertices, flipped)


def test_cleaning_drops_what_is_no_triangle_and_refuses_wrong_indices() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan, 0, 0]])
    mesh = clean_mesh(points, np.array([[0, 1, 2], [0, 1, 3], [1, 1, 2]]))
    assert mesh.faces.tolist() == [[0, 1, 2]] and len(mesh.vertices) == 3
    with pytest.raises(MeshError, match="does not exist"):
        clean_mesh(points, np.array([[0, 1, 4]]))
    with pytest.raises(MeshError, match="too large"):
        clean_mesh(points[:3] * 1e20, np.array([[0, 1, 2]]))


def _document(**changes: object) -> bytes:
    triangle = "data:application/octet-stream;base64,AAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAgD8AAAAA"
    document = {
        "asset": {"version": "2.0"},
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36, "uri": triangle}],
    }
    return json.dumps(document | changes).encode()


def test_a_self_contained_gltf_is_read() -> None:
    assert decode(_document(), "gltf").face_count == 1


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "file:///etc/passwd", "../secret.bin", "http://127.0.0.1/x", "data:,x"]
)
def test_gltf_never_follows_a_uri(uri: str) -> None:
    with pytest.raises(UnreadableMesh, match=r"another file|not base64"):
        decode(_document(buffers=[{"byteLength": 36, "uri": uri}]), "gltf")


@pytest.mark.parametrize(
    "changes",
    [
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 10**12, "type": "VEC3"}]},
        {"accessors": [{"componentType": 5126, "count": 20_000_000, "type": "VEC3"}]},
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}]},
        {
            "accessors": [
                {"bufferView": 0, "byteOffset": -8, "componentType": 5126, "count": 1, "type": "VEC3"}
            ]
        },
        {"accessors": [{"bufferView": -1, "componentType": 5126, "count": 3, "type": "VEC3"}]},
        {"bufferViews": [{"buffer": 0, "byteOffset": 30, "byteLength": 36}]},
        {"nodes": [{"mesh": 0, "children": [0]}], "scenes": [{"nodes": [0]}]},
        {"nodes": [{"mesh": 7}]},
        {"nodes": [{"mesh": 0, "matrix": [1, 2]}]},
        {"nodes": "wrong"},
        {"asset": {"version": "1.0"}},
    ],
)
def test_lies_in_a_gltf_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MeshError):
        decode(_document(**changes), "gltf")


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (
            "ply",
            b"ply\nformat binary_big_endian 1.0\nelement vertex 9000000000\nproperty float x\nend_header\n",
        ),
        ("ply", b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nend_header\n1\n"),
        ("ply", b"ply\nnonsense"),
        ("stl", b"solid x\nfacet\nvertex 0 0\n"),
        ("stl", bytes(80) + b"\xff\xff\xff\x7f" + bytes(50)),
        ("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        ("obj", b"v a b c\n"),
        ("glb", b"glTF" + bytes(20)),
        ("xyz", b"hello"),
    ],
)
def test_damaged_files_are_refused(suffix: str, data: bytes) -> None:
    with pytest.raises(UnreadableMesh):
        decode(data, suffix)


def test_obj_material_libraries_are_never_opened(tmp_path: Path) -> None:
    data = b"mtllib /etc/passwd\nusemtl x\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"
    asset = decode(data, "obj")
    assert asset.face_count == 2 and asset.texture is None
