"""Every error has the document's shape, comes before work starts, and leaves nothing behind."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import zlib

import httpx
import pytest
from PIL import Image

RAW = "/api/v1/mesh-generation/image-to-raw-mesh"
TEXTURED = "/api/v1/mesh-generation/image-to-textured-mesh"
IMAGE = "/api/v1/file-upload/image"
MESH = "/api/v1/file-upload/mesh"
JSON = {"content-type": "application/json"}
CODES = {
    "INVALID_VALUE",
    "NOT_FOUND",
    "API_ERROR",
    "INTERNAL_ERROR",
    "FILE_UPLOAD_ERROR",
    "MODEL_NOT_AVAILABLE",
    "INSUFFICIENT_VRAM",
    "JOB_FAILED",
}


def assert_error(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error", "message", "detail"}
    assert all(isinstance(value, str) and value for value in body.values()), body
    assert body["error"] == code
    assert code in CODES
    return body


def picture(size=(64, 64), mode="RGB", color=(10, 20, 30), form="PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, form)
    return out.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def nothing_left(gateway):
    """The test leaves no upload, no job and no file behind."""
    ledger, storage = gateway.backends.ledger, gateway.backends.storage

    def state():
        spooled = sorted(p.name for p in gateway.settings.tmp_dir.iterdir() if p.name != "work")
        return len(ledger.jobs), len(storage.uploads), len(storage.blobs), spooled

    before = state()
    yield
    assert state() == before
    assert state()[3] == []


BODIES = {
    "empty": b"",
    "not JSON": b"{not json",
    "not an object": b"[]",
    "a string": b'"x"',
    "half a string": b'{"image_file_id": "abc',
    "names twice": b'{"image_file_id": "a", "image_file_id": "a"}',
    "NaN": b'{"image_file_id": "a", "seed": NaN}',
    "too deep": b'{"x":' + b"[" * 40 + b"]" * 40 + b"}",
    "not UTF-8": b'{"image_file_id": "\xff\xfe"}',
    "half a surrogate": b'{"image_file_id": "\\ud800"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_object_is_refused(client, nothing_left, name):
    assert_error(client.post(RAW, content=BODIES[name], headers=JSON), 400, "INVALID_VALUE")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"image_file_id": None},
        {"image_file_id": ""},
        {"image_file_id": "a", "image_path": "/uploads/images/a.png"},
        {"image_file_id": "a", "image_base64": "AAAA"},
        {"image_file_id": 5},
        {"image_file_id": ["a"]},
        {"image_path": "/etc/passwd"},
        {"image_path": "../../etc/passwd"},
        {"image_path": "/uploads/images/../../etc/passwd"},
        {"image_path": "file:///etc/passwd"},
        {"image_file_id": "a", "output_format": "fbx"},
        {"image_file_id": "a", "output_format": "exe"},
        {"image_file_id": "a", "output_format": 1},
        {"image_file_id": "a", "model_preference": "no_such_model"},
        {"image_file_id": "a", "model_preference": "unirig_auto_rig"},
        {"image_file_id": "a", "seed": "1"},
        {"image_file_id": "a", "seed": 1.5},
        {"image_file_id": "a", "seed": True},
        {"image_file_id": "a", "seed": -1},
        {"image_file_id": "a", "seed": 2**70},
        {"image_file_id": "a", "quality": "best"},
        {"image_file_id": "a", "fallback": "maybe"},
        {"image_file_id": "a", "texture_resolution": 255},
        {"image_file_id": "a", "texture_resolution": 4097},
        {"image_file_id": "a", "texture_resolution": "1024"},
        {"image_file_id": "a", "texture_image_file_id": "b"},
        {"image_file_id": "a", "texture_image_path": "/uploads/images/b.png"},
        {"image_file_id": "a", "texture_image_base64": "AAAA"},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_a_request_that_makes_no_sense_is_refused(client, nothing_left, body):
    assert_error(client.post(TEXTURED, json=body), 400, "INVALID_VALUE")


@pytest.mark.parametrize("file_id", ["unknown", "0" * 32, "../../etc/passwd"])
def test_an_unknown_file_id_is_not_found(client, nothing_left, file_id):
    assert_error(client.post(RAW, json={"image_file_id": file_id}), 404, "NOT_FOUND")


@pytest.mark.parametrize("text", ["!!!!", "AAA", "AAAA====", "data:image/png,AAAA", "AA==AAAA", "A\\u0041AA"])
def test_what_is_no_base64_is_refused(client, nothing_left, text):
    body = f'{{"image_base64": "{text}"}}'.encode()
    response = client.post(RAW, content=body, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"] in ("INVALID_VALUE", "FILE_UPLOAD_ERROR")


PICTURES = {
    "empty": b"",
    "text": b"just some words, renamed\n" * 20,
    "truncated": picture(size=(256, 256), mode="L", color=7)[:60],
    "bomb": png_bomb(60_000, 60_000),
    "too wide": picture(size=(4097, 16)),
    "transparent": picture(mode="RGBA", color=(0, 0, 0, 0)),
    "one pixel": picture(size=(1, 1)),
    "a GIF": picture(form="GIF", mode="P", color=1),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_cannot_be_used_is_refused(client, nothing_left, name):
    response = client.post(IMAGE, files={"file": ("picture.jpg", PICTURES[name])})
    assert_error(response, 400, "FILE_UPLOAD_ERROR")


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "empty"])
def test_the_same_pictures_are_refused_inside_a_body(client, nothing_left, name):
    body = {"image_base64": base64.b64encode(PICTURES[name]).decode()}
    assert_error(client.post(RAW, json=body), 400, "FILE_UPLOAD_ERROR")


def test_a_good_picture_in_a_bad_request_leaves_nothing(client, nothing_left):
    body = {"image_base64": base64.b64encode(picture()).decode(), "output_format": "fbx"}
    assert_error(client.post(RAW, json=body), 400, "INVALID_VALUE")


@pytest.mark.parametrize(
    "data", [b"", b"words", picture(), b"glTF\x02\x00\x00\x00\xff\x00\x00\x00", b"solid \x00binary"]
)
def test_what_is_no_mesh_is_refused(client, nothing_left, data):
    assert_error(client.post(MESH, files={"file": ("m.glb", data)}), 400, "FILE_UPLOAD_ERROR")


def test_over_50_mb_is_refused_while_it_streams(client, nothing_left):
    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(52):
            yield bytes(1 << 20)
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert_error(client.post(IMAGE, content=endless(), headers=headers), 413, "FILE_UPLOAD_ERROR")


FORMS = {
    "no file": {"files": {"other": ("a.png", b"x")}},
    "a field, not a file": {"data": {"file": "text"}, "files": {"more": ("a", b"x")}},
    "two files": {"files": [("file", ("a.obj", b"v 0 0 0\n")), ("file", ("b.obj", b"v 0 0 0\n"))]},
    "cut off": {
        "content": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nv 0 0 0\n',
        "headers": {"content-type": "multipart/form-data; boundary=x"},
    },
    "no form": {"content": b"hello", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    "no boundary": {"content": b"hello", "headers": {"content-type": "multipart/form-data"}},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_without_exactly_one_file_is_refused(client, nothing_left, name):
    assert_error(client.post(MESH, **FORMS[name]), 400, "INVALID_VALUE")


def test_a_full_disk_is_507(client, gateway, nothing_left):
    gateway.backends.storage.full = True
    try:
        response = client.post(MESH, files={"file": ("a.obj", b"v 0 0 0\n" * 200_000)})
    finally:
        gateway.backends.storage.full = False
    body = assert_error(response, 507, "FILE_UPLOAD_ERROR")
    assert body["detail"].startswith("STORAGE_FULL")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_json_routes_take_json_only(client, nothing_left, kind):
    headers = {"content-type": kind} if kind else {}
    assert_error(client.post(RAW, content=b"{}", headers=headers), 415, "INVALID_VALUE")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/ld+json"]
)
def test_json_media_types_pass_the_door(client, kind):
    assert_error(client.post(RAW, content=b"{}", headers={"content-type": kind}), 400, "INVALID_VALUE")


def test_upload_routes_take_forms_only(client, nothing_left):
    assert_error(client.post(IMAGE, json={}), 415, "INVALID_VALUE")


def test_cancel_needs_no_body_but_takes_no_form(client):
    path = "/api/v1/system/jobs/unknown/cancel"
    assert_error(client.post(path), 404, "NOT_FOUND")
    assert_error(client.post(path, json={}), 404, "NOT_FOUND")
    assert_error(client.post(path, data={"a": "b"}), 415, "INVALID_VALUE")


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v1", "/api/v1/system/jobs/", "/api/v2/x", "/docs/static/none.js", "/v1/events"]
)
def test_an_unknown_route_is_404(client, path):
    assert_error(client.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET, HEAD"),
        ("PATCH", "/health", "GET, HEAD"),
        ("GET", RAW, "POST"),
        ("GET", IMAGE, "POST"),
        ("DELETE", "/api/v1/system/jobs/x", "GET, HEAD"),
        ("GET", "/api/v1/system/jobs/x/result", "DELETE"),
        ("POST", "/api/v1/system/jobs/x/download", "GET, HEAD"),
        ("PUT", "/docs", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_405_with_allow(client, method, path, allow):
    response = client.request(method, path)
    assert_error(response, 405, "API_ERROR")
    assert response.headers["allow"] == allow


@pytest.mark.parametrize("route", ["", "/info", "/download", "/thumbnail", "/result", "/cancel"])
@pytest.mark.parametrize("job", ["unknown", "00000000-0000-0000-0000-000000000000", "a%2Fb", "%00"])
def test_an_unknown_job_is_404(client, route, job):
    method = {"/result": "DELETE", "/cancel": "POST"}.get(route, "GET")
    response = client.request(method, f"/api/v1/system/jobs/{job}{route}")
    if job == "%00":
        assert response.status_code in (400, 404)
    else:
        assert_error(response, 404, "NOT_FOUND")


def test_an_unknown_file_is_404(client):
    assert_error(client.get("/api/v1/file-upload/metadata/unknown"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "kind"), [(RAW, "application/json"), (IMAGE, "multipart/form-data; boundary=x")]
)
def test_a_body_announced_too_large_is_refused_before_it_is_sent(gateway, path, kind):
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {300 << 20}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=5) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "INVALID_VALUE"


def test_a_body_too_large_without_its_files_is_refused(client, nothing_left):
    response = client.post(RAW, json={"image_file_id": "a", "junk": "j" * 2_000_000})
    assert_error(response, 413, "FILE_UPLOAD_ERROR")


def test_headers_too_large_are_refused(client):
    response = client.get("/health", headers={"x-long": "a" * 40_000})
    assert response.status_code == 431
    assert set(response.json()) == {"error", "message", "detail"}


def test_a_key_too_long_is_refused(client, nothing_left):
    headers = {"idempotency-key": "k" * 300}
    assert_error(client.post(RAW, json={"image_file_id": "a"}, headers=headers), 400, "INVALID_VALUE")


def test_the_inspectors_survive_what_they_refuse(client, gateway, png):
    for data in PICTURES.values():
        client.post(IMAGE, files={"file": ("x.png", data)})
    assert client.post(IMAGE, files={"file": ("x.png", png)}).status_code == 200
    assert gateway.gateway.poll() is None


def test_headers_that_envoy_lets_in_do_not_stop_a_call(client):
    # A browser sends the cookies of every program that was ever served from localhost.
    assert client.get("/health", headers={"cookie": "c=" + "x" * 25_000}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/system/jobs/" + "a" * 24_000,
        "/api/v1/system/jobs/history?feature=" + "a" * 24_000,
        "/v1/events/" + "a" * 200,
        "/api/v1/file-upload/metadata/" + "a" * 200,
    ],
)
def test_a_parameter_out_of_bounds_is_refused(client, path):
    assert "longer than" in assert_error(client.get(path), 400, "INVALID_VALUE")["detail"]


@pytest.mark.parametrize("name", ["grpc-timeout", "grpc-encoding", "grpc-status", "grpc-message"])
def test_headers_of_grpc_are_ours_to_set(client, name):
    assert client.get("/api/v1/system/jobs/history", headers={name: "1n"}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/docs", "/api/v1/system/jobs/x/download", "/no/such/route"])
def test_no_other_route_becomes_a_websocket(client, path):
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert_error(client.get(path, headers=upgrade), 400, "INVALID_VALUE")


def test_a_boundary_too_long_is_refused(client, nothing_left):
    headers = {"content-type": "multipart/form-data; boundary=" + "b" * 5000}
    assert_error(client.post(IMAGE, content=b"--b", headers=headers), 400, "INVALID_VALUE")
