"""D33–D35: rigs are asked for, meshes for them uploaded, and formats told as they are."""

from __future__ import annotations

import pytest

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.rigging.v1 import rigging_pb2
from tests.contract.gateway.moments import now
from tests.contract.gateway.polling import until

RIG = "/api/v1/auto-rigging/generate-rig"
UPLOAD = "/api/v1/auto-rigging/upload-mesh"
FORMATS = "/api/v1/auto-rigging/supported-formats"
TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
FBX = b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(100)
INSTALL = "FBX needs Blender as a Python module; install it with: make fbx"


def engine(*fbx: str) -> capability_pb2.Engine:
    return capability_pb2.Engine(
        id="limb_graph",
        kind=capability_pb2.ENGINE_KIND_EMBEDDED,
        features=["auto_rig"],
        input_formats=["glb", "gltf", "obj", "ply", "stl", *fbx],
        output_formats=["glb", "obj", *fbx],
        state=capability_pb2.ENGINE_STATE_LOADED,
        missing_formats={} if fbx else {"fbx": INSTALL},
    )


@pytest.fixture(scope="module", params=["without Blender", "with Blender"])
def blender(request, gateway, client):
    """A rigging node beside the others, which has Blender or not."""
    there = request.param == "with Blender"
    found = engine(*(["fbx"] if there else []))
    node = jobs_pb2.Node(id="rig", capability="rigging", slots=1, engines=[found], start_time=now())
    nodes = gateway.backends.ledger.nodes
    gateway.backends.do(nodes.append, node)

    def known():
        formats = client.get(FORMATS).json()["output_formats"]
        return "glb" in formats and ("fbx" in formats) == there

    until(known)
    yield there
    gateway.backends.do(nodes.remove, node)
    until(lambda: client.get(FORMATS).json()["output_formats"] == [])


def test_a_format_that_is_made_ready_on_first_use_is_offered_and_says_so(gateway, client):
    found = engine("fbx")
    found.pending_formats["fbx"] = "Blender is installed first"
    node = jobs_pb2.Node(id="rig", capability="rigging", slots=1, engines=[found], start_time=now())
    nodes = gateway.backends.ledger.nodes
    gateway.backends.do(nodes.append, node)
    until(lambda: "fbx" in client.get(FORMATS).json()["output_formats"])
    body = client.get(FORMATS).json()
    assert (body["missing_formats"], body["pending_formats"]) == ({}, {"fbx": "Blender is installed first"})
    upload = client.post(UPLOAD, files={"file": ("person.obj", TRIANGLE)}).json()
    assert client.post(RIG, json={"mesh_file_id": upload["file_id"]}).status_code == 200
    gateway.backends.do(nodes.remove, node)
    until(lambda: client.get(FORMATS).json()["output_formats"] == [])


@pytest.fixture
def mesh(client, blender) -> dict:
    response = client.post(UPLOAD, files={"file": ("person.obj", TRIANGLE)})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_formats_told_are_those_that_work(client, blender):
    body = client.get(FORMATS).json()
    assert set(body["output_formats"]) == ({"fbx", "glb", "obj"} if blender else {"glb", "obj"})
    assert ("fbx" in body["input_formats"]) == blender
    assert body["missing_formats"] == ({} if blender else {"fbx": INSTALL})
    assert body["pending_formats"] == {}


def test_an_upload_answers_as_documented(client, mesh):
    assert set(mesh) == {"filename", "file_path", "size", "content_type", "file_id"}
    assert (mesh["filename"], mesh["size"]) == ("person.obj", len(TRIANGLE))
    assert mesh["content_type"] == "application/wavefront-obj"
    assert mesh["file_path"].startswith("/uploads/meshes/")


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("a.fbx", FBX, 200),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n", 400),
        ("a.obj", b"\x89PNG\r\n\x1a\n" + bytes(100), 400),
        ("a.glb", b"", 400),
    ],
)
def test_an_upload_takes_what_the_document_names(client, name, data, status):
    response = client.post(UPLOAD, files={"file": (name, data)})
    assert response.status_code == status, response.text
    if status == 400:
        assert response.json()["error"] == "FILE_UPLOAD_ERROR"


@pytest.mark.parametrize("route", [RIG, "/api/v1/auto-rig/generate-rig"])
def test_the_answer_is_the_documents(client, mesh, route):
    body = client.post(route, json={"mesh_file_id": mesh["file_id"], "output_format": "glb"}).json()
    assert set(body) == {"job_id", "status", "message"}
    assert (body["status"], body["message"]) == ("queued", "Auto-rigging job queued successfully")


def test_the_ledger_gets_the_request_in_the_dialects_words(client, gateway, mesh):
    asked = {
        "mesh_path": mesh["file_path"],
        "mesh_file_id": None,
        "rig_mode": "full",
        "output_format": "obj",
        "character_type": "quadruped",
        "bone_count": 30,
        "model_preference": "unirig_auto_rig",
    }
    job_id = client.post(RIG, json=asked).json()["job_id"]
    request = gateway.backends.ledger.requests[job_id]
    assert (request.dialect, request.feature) == ("aigc", "auto_rig")
    assert dict(request.request["inputs"]) == {k: v for k, v in asked.items() if v is not None}
    (task,) = request.tasks
    parameters = rigging_pb2.AutoRig()
    assert task.parameters.Unpack(parameters)
    assert parameters == rigging_pb2.AutoRig(
        rig_mode="full", character_type="quadruped", output_format="obj", bone_count=30, include_weights=True
    )
    assert task.model_preference == "unirig_auto_rig"
    assert (task.inputs[0].role, task.inputs[0].file.filename) == ("mesh", "person.obj")


def test_fbx_is_what_is_made_unless_asked_otherwise_and_refused_with_the_line_that_installs_it(
    client, mesh, blender
):
    response = client.post(RIG, json={"mesh_file_id": mesh["file_id"]})
    if blender:
        assert response.status_code == 200
        return
    body = response.json()
    assert (response.status_code, body["error"]) == (503, "MODEL_NOT_AVAILABLE")
    assert "make fbx" in body["detail"]
    upload = client.post(UPLOAD, files={"file": ("a.fbx", FBX)}).json()
    response = client.post(RIG, json={"mesh_file_id": upload["file_id"], "output_format": "glb"})
    assert response.status_code == 503 and "make fbx" in response.json()["detail"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"rig_mode": "dance"}, 400),
        ({"rig_mode": 7}, 400),
        ({"output_format": "usdz"}, 400),
        ({"character_type": "dragon"}, 400),
        ({"bone_count": 1}, 400),
        ({"mesh_path": "/uploads/meshes/a.glb"}, 400),  # besides the id
        ({"mesh_file_id": None}, 400),
        ({"mesh_file_id": None, "mesh_path": "/etc/passwd"}, 400),
        ({"mesh_file_id": "0" * 32}, 404),
        ({"model_preference": "shape_from_silhouette"}, 400),
        ({"model_preference": "unirig_auto_rig", "fallback": "deny"}, 503),
    ],
)
def test_what_is_wrong_is_refused_in_the_dialects_words(client, mesh, change, status):
    asked = {"mesh_file_id": mesh["file_id"], "output_format": "glb", **change}
    response = client.post(RIG, json=asked)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "message", "detail"}


def test_a_picture_is_no_mesh(client, blender, file_id):
    response = client.post(RIG, json={"mesh_file_id": file_id, "output_format": "glb"})
    assert response.status_code == 400


def test_a_motion_is_no_mesh(client, blender):
    data = b"HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\n}\nMOTION\nFrames: 0\n"
    upload = client.post("/api/v1/file-upload/mesh", files={"file": ("walk.bvh", data)}).json()
    response = client.post(RIG, json={"mesh_file_id": upload["file_id"], "output_format": "glb"})
    assert response.status_code == 400 and "BVH" in response.json()["detail"]


def test_a_model_made_here_can_be_rigged(client, gateway, mesh, finished):
    path = client.get(f"/api/v1/system/jobs/{finished}").json()["result"]["output_mesh_path"]
    response = client.post(RIG, json={"mesh_path": path, "output_format": "glb"})
    assert response.status_code == 200, response.text


def test_one_key_makes_one_job(client, mesh):
    headers = {"idempotency-key": "rig-" + mesh["file_id"]}
    asked = {"mesh_file_id": mesh["file_id"], "output_format": "glb"}
    first = client.post(RIG, json=asked, headers=headers).json()["job_id"]
    assert client.post(RIG, json=asked, headers=headers).json()["job_id"] == first
    assert client.post(RIG, json={**asked, "rig_mode": "full"}, headers=headers).status_code == 409


def test_a_finished_job_tells_of_its_rig(client, gateway, mesh):
    asked = {"mesh_file_id": mesh["file_id"], "output_format": "glb", "rig_mode": "full"}
    job_id = client.post(RIG, json=asked).json()["job_id"]
    told = {"rig_type": "humanoid", "has_skinning": True, "skeleton_only": False, "bone_count": 2}
    bones = [
        {"name": "root", "parent": None, "position": [0, 0, 0], "rotation": [0, 0, 0, 1]},
        {"name": "hips", "parent": "root", "position": [0, 0.5, 0], "rotation": [0, 0, 0, 1]},
    ]
    gateway.backends.begin(job_id)
    info = {"bone_count": 2, "bones": bones, "rig_info": told, "format": "glb"}
    gateway.backends.succeed(job_id, info=info)
    url = f"/api/v1/system/jobs/{job_id}"
    until(lambda: client.get(url).json()["status"] == "completed")
    result = client.get(url).json()["result"]
    assert (result["bone_count"], result["format"], result["rig_info"]) == (2, "glb", told)
    assert result["generation_info"]["bones"] == bones
    assert client.get(f"{url}/info").json()["generation_info"]["rig_info"] == told


def test_a_mesh_that_is_no_character_fails_with_the_reason(client, gateway, mesh):
    asked = {"mesh_file_id": mesh["file_id"], "output_format": "glb"}
    job_id = client.post(RIG, json=asked).json()["job_id"]
    gateway.backends.begin(job_id)
    gateway.backends.fail(job_id, "RIGGING_FAILED", "pose estimation failed: no limbs")
    url = f"/api/v1/system/jobs/{job_id}"
    until(lambda: client.get(url).json()["status"] == "failed")
    body = client.get(url).json()
    assert body["error"] == "pose estimation failed: no limbs"
    assert body["metadata"]["error_reason"] == "RIGGING_FAILED"
