"""A rig goes into a glTF document, and everything else in it stays as it was."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.codecs import decode, encode
from maquette.geometry.codecs.gltf_arrays import Arrays, split
from maquette.geometry.codecs.gltf_character import read_character
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import measure_rig, read_rig
from maquette.geometry.codecs.gltf_rig_write import forget_rig, renew_rig, write_skeleton, write_skin
from maquette.geometry.codecs.gltf_scene import inverse_binds, place_nodes, quaternion_of, turn_of
from maquette.geometry.codecs.rig_sidecar import write_sidecar
from maquette.geometry.errors import UnreadableMesh
from maquette.geometry.rig import Skeleton, Skin

ROOT = Path(__file__).resolve().parents[3]
VALIDATOR = ROOT / "node_modules" / "gltf-validator"
MOST = 100_000


def grid(size: int = 5) -> Mesh:
    """A square sheet in the plane z = 0 with texture coordinates."""
    x, y = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(size * size)], axis=1).astype(np.float32)
    corner = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + size], axis=1),
            np.stack([corner + 1, corner + size + 1, corner + size], axis=1),
        ]
    )
    return Mesh(points, faces.astype(np.int32), uv=points[:, :2].copy())


def model() -> bytes:
    """A textured model of two parts with names, extras and an extension that nobody here knows."""
    texture = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    cloth = Material("Stoff ä", base_color_texture=texture)
    asset = Asset("scene", (Part("Körper", grid(), cloth), Part("hat", grid(3), Material("felt"))))
    document, binary = _taken_apart(encode(asset, "glb")[0].data)
    document["nodes"][1] |= {
        "translation": [0.5, 2.0, -1.0],
        "rotation": [0.0, 0.7071067811865476, 0.0, 0.7071067811865476],
        "scale": [2.0, 0.5, 1.0],
        "extras": {"note": "keep me"},
    }
    document["extensionsUsed"] = ["VENDOR_something"]
    document["materials"][0]["extensions"] = {"VENDOR_something": {"strength": 0.125}}
    return _joined(document, binary)


def _taken_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    container = split(data)
    return container.document, container.binary


def _joined(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", 0x46546C67, 2, 28 + len(text) + len(binary))
    return (
        head
        + struct.pack("<II", len(text), 0x4E4F534A)
        + text
        + struct.pack("<II", len(binary), 0x4E4942)
        + binary
    )


def skeleton() -> Skeleton:
    """Three joints in a chain, each turned."""
    rest = np.tile(np.eye(4), (3, 1, 1))
    rest[:, :3, 3] = ((0, 0, 0), (0.2, 0.5, 0), (0.2, 1.0, 0.1))
    rest[1, :3, :3] = turn_of((0.1, 0.2, 0.3, 0.9))
    rest[2, :3, :3] = turn_of((0.7, 0.0, 0.1, 0.7))
    return Skeleton(("root", "mid", "tip"), np.array([-1, 0, 1], np.int32), rest)


def weights(count: int, joints: int = 3) -> Skin:
    """Weights that differ at each vertex."""
    rng = np.random.default_rng(7)
    chosen = np.array([rng.permutation(joints) for _ in range(count)])[:, :2]
    share = rng.uniform(0.5, 1.0, count)
    rows = np.zeros((count, 4), np.float32)
    rows[:, 0], rows[:, 1] = share, 1 - share
    columns = np.zeros((count, 4), np.uint16)
    columns[:, :2] = chosen
    columns[rows == 0] = 0
    return Skin(columns, rows)


def rigged(data: bytes) -> tuple[bytes, Skin]:
    document = GltfDocument(data, MOST)
    character = read_character(document, MOST)
    skin = weights(len(character.vertices))
    nodes = write_skeleton(document, skeleton())
    write_skin(document, character, nodes, skeleton().rest, skin)
    return document.encode(), skin


def test_all_that_was_in_the_document_is_still_in_it() -> None:
    data = model()
    before, binary = _taken_apart(data)
    after, longer = _taken_apart(rigged(data)[0])
    assert longer.startswith(binary[: before["buffers"][0]["byteLength"]])
    for name in ("asset", "images", "textures", "samplers", "materials", "extensionsUsed"):
        assert after[name] == before[name], name
    for name in ("accessors", "bufferViews"):
        assert after[name][: len(before[name])] == before[name]
    for old, new in zip(before["nodes"], after["nodes"], strict=False):
        assert {**new, "skin": None} == {**old, "skin": None}
    for old, new in zip(before["meshes"], after["meshes"], strict=True):
        stripped = copy.deepcopy(new)
        for primitive in stripped["primitives"]:
            del primitive["attributes"]["JOINTS_0"], primitive["attributes"]["WEIGHTS_0"]
        assert stripped == old


def test_names_are_written_as_they_came() -> None:
    assert "Körper".encode() in rigged(model())[0]


def test_the_bind_pose_moves_no_vertex() -> None:
    """By the formula of linear blend skinning, each vertex is where its own node had put it."""
    data = model()
    result = rigged(data)[0]
    container = split(result)
    arrays, document = Arrays(container, MOST), container.document
    places = place_nodes(document)
    expected = place_nodes(split(data).document)
    for node in (0, 1):
        skin = document["skins"][document["nodes"][node]["skin"]]
        joints = np.array([places[joint] for joint in skin["joints"]]) @ inverse_binds(arrays, skin)
        attributes = document["meshes"][node]["primitives"][0]["attributes"]
        points = np.c_[arrays.accessor(attributes["POSITION"]), np.ones(arrays.count(attributes["POSITION"]))]
        blend = np.einsum(
            "vk,vkij->vij",
            arrays.accessor(attributes["WEIGHTS_0"]),
            joints[arrays.accessor(attributes["JOINTS_0"]).astype(int)],
        )
        moved = np.einsum("vij,vj->vi", blend, points)[:, :3]
        assert np.allclose(moved, (points @ expected[node].T)[:, :3], atol=1e-5)


@pytest.mark.skipif(
    not VALIDATOR.is_dir() or not shutil.which("node"), reason="needs node and gltf-validator"
)
@pytest.mark.parametrize("joints_only", [False, True])
def test_the_khronos_validator_finds_no_error(tmp_path: Path, joints_only: bool) -> None:
    document = GltfDocument(model(), MOST)
    character = read_character(document, MOST)
    nodes = write_skeleton(document, skeleton())
    skin = None if joints_only else weights(len(character.vertices))
    write_skin(document, character, nodes, skeleton().rest, skin)
    file = tmp_path / "model.glb"
    file.write_bytes(document.encode())
    run = subprocess.run(
        ["node", str(ROOT / "tests" / "gltf_validator.mjs"), str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    issues = json.loads(run.stdout)
    assert issues["numErrors"] == 0, issues["messages"]


def test_a_rig_is_read_as_it_was_written() -> None:
    rig = read_rig(GltfDocument(rigged(model())[0], MOST))
    assert rig is not None
    assert rig.skeleton.names == skeleton().names
    assert rig.skeleton.parents.tolist() == [-1, 0, 1]
    assert np.allclose(rig.skeleton.rest, skeleton().rest, atol=1e-6)
    assert rig.moves.all()


def test_what_is_told_of_a_rig_is_measured_on_the_file() -> None:
    told = measure_rig(rigged(model())[0], MOST)
    assert (told["bone_count"], told["has_skinning"], told["unweighted_vertices"]) == (3, True, 0)
    assert [(bone["name"], bone["parent"]) for bone in told["bones"]] == [
        ("root", None),
        ("mid", "root"),
        ("tip", "mid"),
    ]
    assert told["bones"][2]["position"] == pytest.approx([0.2, 1.0, 0.1], abs=1e-6)
    assert np.allclose(turn_of(told["bones"][1]["rotation"]), skeleton().rest[1, :3, :3], atol=1e-5)
    assert measure_rig(model(), MOST)["bone_count"] == 0


def test_two_nodes_that_share_a_mesh_get_weights_of_their_own() -> None:
    document, binary = _taken_apart(model())
    document["nodes"].append({"name": "twin", "mesh": 0, "translation": [3.0, 0.0, 0.0]})
    document["scenes"][0]["nodes"].append(2)
    result, skin = rigged(_joined(document, binary))
    after = split(result)
    arrays = Arrays(after, MOST)
    found = []
    for node in (0, 2):
        mesh = after.document["meshes"][after.document["nodes"][node]["mesh"]]
        found.append(arrays.accessor(mesh["primitives"][0]["attributes"]["WEIGHTS_0"]))
    assert np.allclose(found[0], skin.weights[:25], atol=1e-6)
    assert np.allclose(found[1], skin.weights[34:], atol=1e-6)


def test_text_gltf_with_its_bytes_inside_becomes_one_binary() -> None:
    document, binary = _taken_apart(model())
    half = document["bufferViews"][2]["byteOffset"]
    for view in document["bufferViews"][2:]:
        view |= {"buffer": 1, "byteOffset": view["byteOffset"] - half}
    document["buffers"] = [
        {
            "byteLength": len(part),
            "uri": "data:application/octet-stream;base64," + base64.b64encode(part).decode(),
        }
        for part in (binary[:half], binary[half:])
    ]
    again = decode(rigged(json.dumps(document).encode())[0], "glb")
    for old, new in zip(decode(model(), "glb").parts, again.parts, strict=True):
        assert np.allclose(old.mesh.vertices, new.mesh.vertices, atol=1e-6)
        assert np.array_equal(old.mesh.faces, new.mesh.faces)
    assert np.array_equal(again.texture, decode(model(), "glb").texture)


def test_vertices_that_no_face_touches_have_weights_too() -> None:
    mesh = grid()
    loose = np.concatenate([mesh.vertices, np.full((2, 3), 9.0, np.float32)])
    document = GltfDocument(encode(Asset("a", (Part("a", Mesh(loose, mesh.faces)),)), "glb")[0].data, MOST)
    character = read_character(document, MOST)
    assert len(character.vertices) == 25
    write_skin(document, character, write_skeleton(document, skeleton()), skeleton().rest, weights(25))
    container = split(document.encode())
    attributes = container.document["meshes"][0]["primitives"][0]["attributes"]
    rows = Arrays(container, MOST).accessor(attributes["WEIGHTS_0"])
    assert rows.shape == (27, 4) and np.allclose(rows.sum(axis=1), 1)


def test_a_rig_that_is_taken_out_leaves_the_model_as_it_was() -> None:
    document = GltfDocument(rigged(model())[0], MOST)
    document.json.pop("extensionsUsed")
    nodes = document.json["nodes"]
    nodes.append({"name": "sword", "mesh": 1})
    nodes[4]["children"] = [5]  # held by the last joint
    turn = {"input": 0, "output": 0, "interpolation": "LINEAR"}
    document.json["animations"] = [
        {"samplers": [turn], "channels": [{"sampler": 0, "target": {"node": node, "path": "rotation"}}]}
        for node in (3, 1)
    ]
    rig = read_rig(document)
    assert rig is not None and rig.animations == 1
    number = forget_rig(document, rig.nodes)
    # The joint that holds a mesh stays, and what is above it.
    assert [node["name"] for node in document.json["nodes"]] == [
        "Körper",
        "hat",
        "root",
        "mid",
        "tip",
        "sword",
    ]
    assert number == {node: node for node in range(6)}
    assert "skins" not in document.json
    assert [clip["channels"][0]["target"]["node"] for clip in document.json["animations"]] == [1]
    assert all("JOINTS_0" not in m["primitives"][0]["attributes"] for m in document.json["meshes"])

    bare = GltfDocument(rigged(model())[0], MOST)
    bare.json.pop("extensionsUsed")
    bare.json["scenes"][0]["nodes"] = [2, 0, 1]
    rig = read_rig(bare)
    assert rig is not None
    assert forget_rig(bare, rig.nodes) == {0: 0, 1: 1}
    assert [node["name"] for node in bare.json["nodes"]] == ["Körper", "hat"]
    assert bare.json["scenes"][0]["nodes"] == [0, 1]


def test_new_weights_leave_the_joints_as_they_were() -> None:
    data = rigged(model())[0]
    document = GltfDocument(data, MOST)
    rig, character = read_rig(document), read_character(document, MOST)
    assert rig is not None
    joints = np.zeros((34, 4), np.uint16)
    joints[:, 0] = 2
    one = np.zeros((34, 4), np.float32)
    one[:, 0] = 1
    renew_rig(document, character, rig, Skin(joints, one))
    before, after = split(data).document, split(document.encode())
    assert after.document["nodes"] == before["nodes"]
    assert after.document["skins"] == before["skins"]
    attributes = after.document["meshes"][0]["primitives"][0]["attributes"]
    assert (Arrays(after, MOST).accessor(attributes["JOINTS_0"])[:, 0] == 2).all()


def test_joints_without_weights_can_be_bound_later() -> None:
    document = GltfDocument(model(), MOST)
    nodes = write_skeleton(document, skeleton())
    write_skin(document, read_character(document, MOST), nodes, skeleton().rest, None)
    document = GltfDocument(document.encode(), MOST)
    rig, character = read_rig(document), read_character(document, MOST, rigid=False)
    assert rig is not None and not rig.moves.any()
    renew_rig(document, character, rig, weights(34))
    told = measure_rig(document.encode(), MOST)
    assert told["has_skinning"] and told["unweighted_vertices"] == 0
    assert np.allclose(told["bones"][2]["position"], (0.2, 1.0, 0.1), atol=1e-6)


def test_joints_with_two_roots_stay_two_trees() -> None:
    document = GltfDocument(rigged(model())[0], MOST)
    nodes = document.json["nodes"]
    nodes[2].pop("children")  # the middle joint is a root of its own now
    document.json["scenes"][0]["nodes"].append(3)
    rig, character = read_rig(document), read_character(document, MOST)
    assert rig is not None and rig.adopted.tolist() == [False, True, False]
    renew_rig(document, character, rig, weights(34))
    told = measure_rig(document.encode(), MOST)
    assert [bone["parent"] for bone in told["bones"]] == [None, None, "mid"]
    assert all("skeleton" not in skin for skin in document.json["skins"])


def test_the_sidecar_tells_the_weights_of_each_v_line() -> None:
    data, _ = rigged(model())
    asset = decode(data, "glb")
    text = encode(asset, "obj")[0].data.decode()
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("v ")]
    told = write_sidecar(data, MOST)
    assert len(told["joints"]) == len(told["weights"]) == len(lines) == 34
    assert [bone["name"] for bone in told["bones"]] == ["root", "mid", "tip"]
    document = GltfDocument(data, MOST)
    for node, start, count in ((0, 0, 25), (1, 25, 9)):
        attributes = document.json["meshes"][node]["primitives"][0]["attributes"]
        points = document.arrays.accessor(attributes["POSITION"])
        points = points @ place_nodes(document.json)[node][:3, :3].T + place_nodes(document.json)[node][:3, 3]
        assert np.allclose(np.array(lines[start : start + count], float), points, atol=1e-5)
        for name, key in (("JOINTS_0", "joints"), ("WEIGHTS_0", "weights")):
            assert np.allclose(told[key][start : start + count], document.arrays.accessor(attributes[name]))
    assert write_sidecar(model(), MOST)["weights"] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["buffers"][0].update(byteLength=1 << 20),
        lambda document: document["buffers"][0].update(uri="model.bin"),
        lambda document: document["images"].append({"uri": "skin.png"}),
        lambda document: document.update(extensionsRequired=["EXT_meshopt_compression"]),
        lambda document: document.update(asset={}),
    ],
)
def test_a_document_that_is_not_whole_is_refused(change: Any) -> None:
    document, binary = _taken_apart(model())
    change(document)
    with pytest.raises(UnreadableMesh):
        GltfDocument(_joined(document, binary), MOST)


@pytest.mark.parametrize(
    "skin", [{"joints": [99]}, {"joints": [1], "inverseBindMatrices": 99}, {"joints": "no"}, {}, None]
)
def test_a_skin_that_breaks_the_format_is_refused_or_passed_over(skin: Any) -> None:
    document, binary = _taken_apart(model())
    document["skins"] = [skin]
    opened = GltfDocument(_joined(document, binary), MOST)
    try:
        assert read_rig(opened) is None
    except UnreadableMesh as error:
        assert str(error).endswith(".")


@pytest.mark.parametrize(
    "quaternion", [(0, 0, 0, 1), (1, 0, 0, 0), (0.5, -0.5, 0.5, 0.5), (0.1, 0.9, -0.3, 0.2)]
)
def test_rotations_survive_being_quaternions(quaternion: tuple[float, ...]) -> None:
    turn = turn_of(quaternion)
    assert np.allclose(turn_of(quaternion_of(turn)), turn, atol=1e-12)
