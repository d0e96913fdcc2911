"""D26, D27: what a request may say, what it leaves behind, and what the ledger is told."""

from __future__ import annotations

import base64
import json
import uuid

import pytest

from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.meshgen.v1 import meshgen_pb2

RAW = "/api/v1/mesh-generation/image-to-raw-mesh"
TEXTURED = "/api/v1/mesh-generation/image-to-textured-mesh"


def submitted(gateway, job_id) -> jobs_pb2.CreateJobRequest:
    return gateway.backends.ledger.requests[job_id]


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (RAW, "Image-to-mesh generation job queued successfully"),
        (TEXTURED, "Image-to-textured-mesh generation job queued successfully"),
    ],
)
def test_the_answer_is_the_documents(client, file_id, route, message):
    body = client.post(route, json={"image_file_id": file_id}).json()
    assert set(body) == {"job_id", "status", "message"}
    assert (body["status"], body["message"]) == ("queued", message)


def test_the_ledger_gets_the_request_in_the_dialects_words(client, gateway, file_id):
    asked = {
        "image_file_id": file_id,
        "image_path": None,
        "image_base64": None,
        "texture_resolution": 2048,
        "output_format": "obj",
        "quality": "low",
        "seed": 7,
        "unknown_field": {"is": "passed over"},
    }
    job_id = client.post(TEXTURED, json=asked).json()["job_id"]
    request = submitted(gateway, job_id)
    assert (request.account_id, request.dialect, request.feature) == (
        "public",
        "aigc",
        "image_to_textured_mesh",
    )
    assert dict(request.request["inputs"]) == {
        "image_file_id": file_id,
        "texture_resolution": 2048,
        "output_format": "obj",
        "quality": "low",
        "seed": 7,
    }
    (task,) = request.tasks
    parameters = meshgen_pb2.ImageToMesh()
    assert task.parameters.Unpack(parameters)
    assert parameters == meshgen_pb2.ImageToMesh(output_format="obj", texture_resolution=2048, quality="low")
    assert task.seed == 7
    assert task.inputs[0].role == "image"
    assert task.inputs[0].file.media_type == "image/png"


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_picture_inside_the_body_is_the_same_picture(client, gateway, png, prefix):
    text = prefix + base64.b64encode(png).decode()
    job_id = client.post(RAW, json={"image_base64": text, "output_format": "ply"}).json()["job_id"]
    image = submitted(gateway, job_id).tasks[0].inputs[0].file
    assert gateway.backends.storage.blobs[image.digest] == png
    assert "image_base64" not in dict(submitted(gateway, job_id).request["inputs"])


def test_paths_this_api_issued_are_taken(client, gateway, png, finished):
    path = client.post("/api/v1/file-upload/image", files={"file": ("a.png", png)}).json()["path"]
    assert client.post(RAW, json={"image_path": path}).status_code == 200
    thumbnail = client.get(f"/api/v1/system/jobs/{finished}").json()["result"]["thumbnail_path"]
    assert client.post(RAW, json={"image_path": thumbnail}).status_code == 200


def test_a_result_that_is_no_picture_is_refused(client, finished):
    mesh = client.get(f"/api/v1/system/jobs/{finished}").json()["result"]["output_mesh_path"]
    assert client.post(RAW, json={"image_path": mesh}).status_code == 400


def test_one_key_makes_one_job(client, file_id):
    headers = {"idempotency-key": "key-of-" + file_id}
    first = client.post(RAW, json={"image_file_id": file_id, "seed": 1}, headers=headers).json()
    # Another order and other spaces are the same request.
    again = json.dumps({"seed": 1, "image_file_id": file_id}, indent=4)
    second = client.post(RAW, content=again, headers={**headers, "content-type": "application/json"})
    assert second.json()["job_id"] == first["job_id"]
    other = client.post(RAW, json={"image_file_id": file_id, "seed": 2}, headers=headers)
    assert other.status_code == 409
    assert set(other.json()) == {"error", "message", "detail"}
    elsewhere = client.post(TEXTURED, json={"image_file_id": file_id, "seed": 1}, headers=headers)
    assert elsewhere.status_code == 409


def test_the_key_knows_the_bytes_sent_along(client, png):
    headers = {"idempotency-key": "inline-picture"}
    body = {"image_base64": base64.b64encode(png).decode()}
    first = client.post(RAW, json=body, headers=headers).json()
    assert client.post(RAW, json=body, headers=headers).json()["job_id"] == first["job_id"]
    body["image_base64"] = base64.b64encode(png + b"trailing bytes are allowed in PNG").decode()
    assert client.post(RAW, json=body, headers=headers).status_code == 409


def test_deny_refuses_a_model_that_is_on_no_node(client, file_id):
    body = {"image_file_id": file_id, "model_preference": "trellis_image_to_raw_mesh", "fallback": "deny"}
    response = client.post(RAW, json=body)
    assert (response.status_code, response.json()["error"]) == (503, "MODEL_NOT_AVAILABLE")
    body["fallback"] = "allow"
    assert client.post(RAW, json=body).status_code == 200
    body |= {"model_preference": "shape_from_silhouette", "fallback": "deny"}
    assert client.post(RAW, json=body).status_code == 200


def test_a_full_queue_says_so(client, gateway, file_id):
    gateway.backends.ledger.queue_full = True
    try:
        response = client.post(RAW, json={"image_file_id": file_id})
    finally:
        gateway.backends.ledger.queue_full = False
    assert (response.status_code, response.json()["error"]) == (429, "API_ERROR")
    assert "QUEUE_FULL" in response.json()["detail"]


def other_picture(png) -> dict[str, str]:
    return {"image_base64": base64.b64encode(png + uuid.uuid4().bytes).decode()}


def test_a_picture_sent_along_does_not_stay_when_the_queue_is_full(client, gateway, png):
    storage = gateway.backends.storage
    uploads, blobs = set(storage.uploads), set(storage.blobs)
    gateway.backends.ledger.queue_full = True
    try:
        assert client.post(RAW, json=other_picture(png)).status_code == 429
    finally:
        gateway.backends.ledger.queue_full = False
    assert (set(storage.uploads), set(storage.blobs)) == (uploads, blobs)


def test_a_picture_sent_along_does_not_stay_when_no_job_is_made_of_it(client, gateway, png):
    storage = gateway.backends.storage
    headers = {"idempotency-key": uuid.uuid4().hex}
    body = other_picture(png)
    first = client.post(RAW, json=body, headers=headers).json()["job_id"]
    uploads, blobs = set(storage.uploads), set(storage.blobs)
    assert client.post(RAW, json=body, headers=headers).json()["job_id"] == first
    assert client.post(RAW, json=other_picture(png), headers=headers).status_code == 409
    assert (set(storage.uploads), set(storage.blobs)) == (uploads, blobs)
    assert submitted(gateway, first).tasks[0].inputs[0].file.digest in blobs


def test_an_upload_outlives_a_refused_job(client, gateway, file_id):
    gateway.backends.ledger.queue_full = True
    try:
        assert client.post(RAW, json={"image_file_id": file_id}).status_code == 429
    finally:
        gateway.backends.ledger.queue_full = False
    assert client.get(f"/api/v1/file-upload/metadata/{file_id}").status_code == 200


def preview_of(gateway, job_id) -> jobs_pb2.Artifact:
    artifacts = gateway.backends.ledger.jobs[job_id].result.artifacts
    return next(artifact for artifact in artifacts if artifact.role == "thumbnail")


def test_the_bytes_of_a_results_file_are_held_before_a_job_is_made_of_it(client, gateway, finished):
    preview = preview_of(gateway, finished)
    job_id = client.post(RAW, json={"image_path": preview.path}).json()["job_id"]
    assert submitted(gateway, job_id).tasks[0].inputs[0].file.digest == preview.digest
    assert preview.digest in gateway.backends.storage.held
    client.delete(f"/api/v1/system/jobs/{finished}/result")
    assert preview.digest in gateway.backends.storage.blobs
    gateway.backends.storage.held.clear()


def test_a_result_deleted_while_a_job_is_made_of_it_refuses_the_job(client, gateway, finished, monkeypatch):
    preview = preview_of(gateway, finished)
    gateway.backends.storage.held.clear()
    monkeypatch.setattr(
        gateway.backends.ledger, "resolved", lambda a: gateway.backends.storage.blobs.pop(a.digest)
    )
    before = len(gateway.backends.ledger.jobs)
    response = client.post(RAW, json={"image_path": preview.path})
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_VALUE")
    assert len(gateway.backends.ledger.jobs) == before


def test_two_idempotency_keys_are_refused(client, gateway, file_id):
    before = len(gateway.backends.ledger.jobs)
    headers = [("idempotency-key", "one"), ("Idempotency-Key", "two")]
    response = client.post(RAW, json={"image_file_id": file_id}, headers=headers)
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_VALUE")
    assert "more than once" in response.json()["detail"]
    assert len(gateway.backends.ledger.jobs) == before


def test_several_pictures_reach_the_engine_in_their_order(client, gateway, png):
    upload = {"file": ("a.png", png)}
    ids = [client.post("/api/v1/file-upload/image", files=upload).json()["file_id"] for _ in range(3)]
    asked = {"image_file_ids": ids, "views": ["front", "back", "90"]}
    job_id = client.post(TEXTURED, json=asked).json()["job_id"]
    request = submitted(gateway, job_id)
    (task,) = request.tasks
    parameters = meshgen_pb2.ImageToMesh()
    assert task.parameters.Unpack(parameters)
    assert list(parameters.views) == ["front", "back", "90"]
    assert [one.role for one in task.inputs] == ["image"] * 3
    assert all(one.file.digest for one in task.inputs)
    shown = client.get(f"/api/v1/system/jobs/{job_id}").json()
    assert shown["inputs"]["image_file_ids"] == ids


@pytest.mark.parametrize(
    "asked",
    [
        {"image_file_ids": ["a"] * 7},
        {"image_file_ids": []},
        {"image_file_ids": "a"},
        {"image_file_ids": ["a", 2]},
        {"image_file_ids": ["a", "b"], "image_file_id": "c"},
        {"image_file_ids": ["a", "b"], "views": ["front"]},
        {"image_file_ids": ["a", "b"], "views": ["front", "behind"]},
        {"image_file_ids": ["a", "b"], "views": ["front", "front"]},
    ],
)
def test_numbers_and_views_that_do_not_fit_are_refused(client, asked):
    assert client.post(RAW, json=asked).status_code in (400, 422)


def test_one_unknown_picture_of_several_is_not_found(client, file_id):
    asked = {"image_file_ids": [file_id, "nobody-has-this"]}
    assert client.post(RAW, json=asked).status_code == 404
