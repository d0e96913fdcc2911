"""D6, D8, D19–D22 and signed links: files in and out."""

from __future__ import annotations

import base64
import re

import pytest

from tests.contract.gateway.polling import until

MESH = bytes(range(250)) * 400
CUBE_OBJ = b"# a triangle\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture
def done(client, finished):
    until(lambda: client.get(f"/api/v1/system/jobs/{finished}").json()["status"] == "completed")
    return f"/api/v1/system/jobs/{finished}"


def test_an_image_upload_answers_as_documented(client, png):
    body = client.post("/api/v1/file-upload/image", files={"file": ("my picture.png", png)}).json()
    documented = {"file_id", "filename", "file_type", "file_size_mb", "upload_time", "expires_at"}
    assert set(body) == documented | {"path"}
    assert re.fullmatch("[0-9a-f]{32}", body["file_id"])
    assert (body["filename"], body["file_type"]) == ("my picture.png", "image")
    metadata = client.get(f"/api/v1/file-upload/metadata/{body['file_id']}").json()
    assert metadata == {**body, "is_available": True}


def test_a_mesh_upload_answers_as_documented(client):
    body = client.post("/api/v1/file-upload/mesh", files={"file": ("t.obj", CUBE_OBJ)}).json()
    assert (body["file_type"], body["filename"]) == ("mesh", "t.obj")
    assert body["path"].endswith(".obj")


def test_other_fields_of_the_form_are_passed_over(client, png):
    response = client.post(
        "/api/v1/file-upload/image", data={"note": "hello"}, files={"file": ("a.png", png)}
    )
    assert response.status_code == 200


def test_upload_formats_tell_the_limits(client):
    body = client.get("/api/v1/file-upload/supported-formats").json()
    assert body["image"]["formats"] == [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tiff"]
    assert body["mesh"]["formats"] == [".glb", ".obj", ".fbx", ".ply", ".stl", ".gltf"]
    assert (body["image"]["max_size_mb"], body["mesh"]["max_size_mb"]) == (50, 200)
    assert body["retention"]["default_hours"] == 24


def test_a_download_is_an_attachment_nobody_sniffs(client, done, finished):
    response = client.get(f"{done}/download")
    assert response.content == MESH
    headers = response.headers
    assert headers["content-type"] == "model/gltf-binary"
    assert headers["content-disposition"] == f'attachment; filename="mesh_{finished}.glb"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-job-id"] == finished
    assert headers["x-file-size"] == "100000"
    assert float(headers["x-generation-time"]) >= 0
    assert re.fullmatch('"[0-9a-f]{64}"', headers["etag"])


@pytest.mark.parametrize(
    ("range_header", "start", "end"),
    [("bytes=0-99", 0, 100), ("bytes=99990-", 99_990, 100_000), ("bytes=-7", 99_993, 100_000)],
)
def test_a_range_is_served_as_206(client, done, range_header, start, end):
    response = client.get(f"{done}/download", headers={"range": range_header})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/100000"
    assert response.content == MESH[start:end]


def test_a_range_outside_the_file_is_416(client, done):
    response = client.get(f"{done}/download", headers={"range": "bytes=100000-"})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */100000"


def test_if_range_with_another_version_sends_the_whole_file(client, done):
    headers = {"range": "bytes=0-9", "if-range": '"old"'}
    assert client.get(f"{done}/download", headers=headers).status_code == 200
    headers["if-range"] = client.head(f"{done}/download").headers["etag"]
    assert client.get(f"{done}/download", headers=headers).status_code == 206


def test_what_the_client_has_is_not_sent_again(client, done):
    etag = client.get(f"{done}/download").headers["etag"]
    assert client.get(f"{done}/download", headers={"if-none-match": etag}).status_code == 304


def test_head_tells_the_size_and_sends_nothing(client, done):
    response = client.head(f"{done}/download")
    assert (response.headers["content-length"], response.content) == ("100000", b"")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("model.glb", 'attachment; filename="model.glb"'),
        ("../../etc/passwd", 'attachment; filename="passwd.glb"'),
        ("..", 'attachment; filename="mesh_{id}.glb"'),
        ('a"b\r\nX-Evil: 1.glb', 'attachment; filename="abX-Evil 1.glb"'),
        ("modèle.glb", "attachment; filename=\"modele.glb\"; filename*=UTF-8''mod%C3%A8le.glb"),
        ("page.html", 'attachment; filename="page.html.glb"'),
    ],
)
def test_a_custom_filename_is_made_safe(client, done, finished, asked, expected):
    response = client.get(f"{done}/download", params={"filename": asked})
    assert response.headers["content-disposition"] == expected.format(id=finished)
    assert "x-evil" not in response.headers


def test_base64_holds_the_same_bytes(client, done, finished):
    body = client.get(f"{done}/download", params={"format": "base64"}).json()
    assert set(body) == {
        "job_id",
        "filename",
        "content_type",
        "file_size_mb",
        "base64_data",
        "generation_info",
        "download_time",
    }
    assert base64.b64decode(body["base64_data"]) == MESH
    assert body["generation_info"]["model_used"] == "shape_from_silhouette"


def test_the_thumbnail_comes_as_file_and_as_base64(client, done, finished):
    response = client.get(f"{done}/thumbnail")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-thumbnail-generated"] == "true"
    assert response.headers["x-job-id"] == finished
    encoded = client.get(f"{done}/thumbnail?format=base64").json()
    assert base64.b64decode(encoded["base64_data"]) == response.content


@pytest.mark.parametrize("route", ["download", "thumbnail"])
def test_a_job_without_result_cannot_be_downloaded(client, job_id, route):
    response = client.get(f"/api/v1/system/jobs/{job_id}/{route}")
    assert response.status_code == 400
    assert set(response.json()) == {"error", "message", "detail"}


@pytest.mark.parametrize("query", ["format=zip", "ordinal=x"])
def test_a_wrong_form_is_refused(client, done, query):
    response = client.get(f"{done}/download?{query}")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_VALUE")


def test_a_role_the_result_has_not_is_not_found(client, done):
    assert client.get(f"{done}/download?role=material").status_code == 404


def test_a_signed_link_opens_its_file_and_no_other_does(client, gateway):
    digest = gateway.backends.do(gateway.backends.storage.put, b"signed bytes")
    good = client.get(f"/download/model.glb?token=good-{digest}")
    assert (good.status_code, good.content) == (200, b"signed bytes")
    bad = client.get("/download/model.glb?token=forged")
    assert (bad.status_code, bad.json()["error"]) == (403, "API_ERROR")
