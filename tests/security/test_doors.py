"""The front door: who may knock, from which page, with which headers, and what never opens."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from maquette.api.dialects.aigc.v1 import system_pb2, system_pb2_grpc
from maquette.runtime.secrets import load_secret
from tests.contract.gateway.harness import GatewayUnderTest

LISTED = "https://studio.example"
JOB = "/api/v1/mesh-generation/image-to-raw-mesh"


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayUnderTest]:
    under_test = GatewayUnderTest(allowed_origins=[LISTED])
    try:
        yield under_test.start()
    finally:
        under_test.stop()


@pytest.fixture(scope="module")
def client(gateway: GatewayUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=60, verify=False) as client:
        yield client


def shaped(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "message", "detail"}
    assert response.headers["x-request-id"]


# Host and Origin ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "169.254.169.254"]
)
def test_a_name_rebound_to_us_is_refused(client, host):
    for path in ("/health", JOB, "/docs", "/ws/jobs/x"):
        shaped(client.get(path, headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:7842"])
def test_our_own_names_are_served_whatever_the_port(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost", "http://localhost:1", "file://"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_page_is_refused(client, origin, method):
    response = client.request(method, "/health", headers={"origin": origin})
    shaped(response, 403)
    assert "access-control-allow-origin" not in response.headers


def test_a_listed_page_gets_cors_and_no_other_does(client, gateway):
    preflight = {"origin": LISTED, "access-control-request-method": "POST"}
    response = client.options(JOB, headers=preflight)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == LISTED
    assert "access-control-allow-credentials" not in response.headers
    answer = client.get("/health", headers={"origin": LISTED})
    assert answer.headers["access-control-allow-origin"] == LISTED
    own = client.get("/health", headers={"origin": gateway.url})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_of_a_foreign_page_can_send_starts_no_job(client, gateway, kind):
    before = len(gateway.backends.ledger.jobs)
    shaped(client.post(JOB, content=b'{"image_file_id":"a"}', headers={"content-type": kind}), 415)
    assert len(gateway.backends.ledger.jobs) == before


# Headers ---------------------------------------------------------------------------------------


def test_nobody_can_speak_with_our_internal_headers(client, gateway):
    forged = {
        "x-error-json": '{"error":"FORGED"}',
        "x-http-status": "418",
        "x-maquette-internal": "0" * 64,
        "x-maquette-privileged": "0" * 64,
        "x-maquette-account": "somebody-else",
    }
    for path, status in (("/health", 200), ("/docs", 200), ("/api/v1/system/jobs/x", 404)):
        response = client.get(path, headers=forged)
        assert response.status_code == status
        assert "FORGED" not in response.text
        assert not [name for name in response.headers if name.startswith(("x-maquette", "x-error", "grpc-"))]


def test_no_answer_tells_the_secret_or_a_path_of_ours(client, gateway):
    secret = load_secret(gateway.settings, "internal").decode()
    paths = [
        "/health",
        "/nope",
        "/api/v1/system/jobs/x",
        "/openapi.json",
        "/v1/events/x",
        "/docs/static/../x",
    ]
    for path in paths:
        response = client.get(path)
        told = response.text + str(response.headers)
        assert secret not in told
        assert str(gateway.settings.data_dir) not in told


def test_every_answer_has_a_request_id_and_keeps_the_clients(client):
    for path in ("/health", "/nope", "/docs", "/api/v1/system/jobs/x"):
        assert re.fullmatch("[0-9a-f-]{36}", client.get(path).headers["x-request-id"])
        assert client.get(path, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_every_answer_forbids_sniffing(client):
    for path in ("/health", "/nope", "/docs", "/openapi.json"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


# What is not public ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/stats",
        "/config_dump",
        "/clusters",
        "/quitquitquit",
        "/metrics",
        "/server_info",
        "/-/health",
        "/logging",
    ],
)
def test_admin_and_metrics_are_not_on_the_public_listener(client, path):
    shaped(client.get(path), 404)
    shaped(client.post(path), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/maquette.api.dialects.aigc.v1.SystemService/GetHealth",
        "/maquette.api.jobs.v1.JobService/ListJobs",
        "/maquette.api.storage.v1.StorageService/ReadBlob",
    ],
)
@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web", "application/json"])
def test_no_grpc_service_can_be_called_from_outside(client, path, kind):
    response = client.post(path, content=b"\0\0\0\0\0", headers={"content-type": kind})
    shaped(response, 404)


def test_only_the_public_port_is_open_to_the_network(gateway):
    pids = {gateway.gateway.pid, gateway.envoy.pid}
    sockets = {
        re.search(r"socket:\[(\d+)\]", target)[1]
        for pid in pids
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if "socket:" in (target := _target(fd))
    }
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                listening.append(int(fields[1].rpartition(":")[2], 16))
    assert set(listening) == {gateway.settings.port}


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""


def test_sockets_and_files_with_secrets_are_for_their_owner_only(gateway):
    settings = gateway.settings
    names = ["gateway.sock", "gateway-edge.sock", "envoy-admin.sock", "envoy.json"]
    for path in [settings.run_dir / name for name in names] + [settings.secrets_dir / "internal"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(settings.secrets_dir.stat().st_mode) & 0o077 == 0


# Behind the door ------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["", "0" * 64])
def test_the_socket_behind_envoy_needs_the_secret(gateway, secret):
    metadata = (("x-maquette-internal", secret),) if secret else ()
    with grpc.insecure_channel(gateway.settings.address("gateway")) as channel:
        stub = system_pb2_grpc.SystemServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetHealth(system_pb2.GetHealthRequest(), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_edge_behind_envoy_needs_the_secret(gateway):
    path = str(gateway.settings.run_dir / "gateway-edge.sock")
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://edge") as client:
        assert client.get("/docs").status_code == 401
        assert client.get("/docs", headers={"x-maquette-internal": "0" * 64}).status_code == 401
        secret = load_secret(gateway.settings, "internal").decode()
        assert client.get("/docs", headers={"x-maquette-internal": secret}).status_code == 200


# Requests that are not quite requests ----------------------------------------------------------


def raw(gateway, data: bytes, seconds: float = 60.0) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
                if b"\r\n\r\n" in answer and b"}" in answer:
                    break
        except TimeoutError:
            pass
    return answer


SMUGGLED = {
    "two lengths": (
        b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
    ),
    "length and chunks": (
        b"POST /health HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "underscores": b"GET /health HTTP/1.1\r\nHost: localhost\r\nx_maquette_internal: a\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_that_can_be_read_in_two_ways_is_refused(gateway, name):
    answer = raw(gateway, SMUGGLED[name])
    assert answer.split(b" ")[1] in (b"400", b"404", b"421"), answer[:200]
    body = answer.partition(b"\r\n\r\n")[2]
    if body:
        assert set(json.loads(body)) == {"error", "message", "detail"}


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../../etc/passwd",
        "/docs/static/..%2f..%2fsettings.py",
        "/download/..%2f..%2fetc%2fpasswd?token=x",
    ],
)
def test_paths_lead_nowhere_else(gateway, path):
    answer = raw(gateway, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"400", b"403", b"404"), answer[:200]
    assert b"root:" not in answer


def test_headers_that_never_end_time_out():
    slow = GatewayUnderTest(gateway={"ping_seconds": 1.0, "header_seconds": 1.0, "idle_seconds": 2.0})
    try:
        slow.start()
        answer = raw(slow, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert answer.startswith(b"HTTP/1.1 408"), answer
        half = b"POST " + JOB.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
        half += b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        answer = raw(slow, half)
        assert answer.split(b" ")[1] in (b"408", b"504"), answer
    finally:
        slow.stop()


def test_too_many_requests_are_refused_in_the_documents_shape():
    small = GatewayUnderTest(gateway={"ping_seconds": 1.0, "requests_per_second": 2})
    try:
        small.start()
        with httpx.Client(base_url=small.url, timeout=60) as client:
            answers = (client.get("/health") for _ in range(1000))
            shaped(next(answer for answer in answers if answer.status_code == 429), 429)
    finally:
        small.stop()


# The wrapper around the binary -----------------------------------------------------------------


def test_the_module_writes_a_configuration_for_its_owner_only(tmp_path):
    target = tmp_path / "envoy.json"
    environment = {**os.environ, "MAQUETTE_DATA_DIR": str(tmp_path / "data")}
    subprocess.run(
        [sys.executable, "-m", "services.gateway.envoy", "--write", str(target)],
        env=environment,
        check=True,
        timeout=60,
    )
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(target.read_text())["static_resources"]["listeners"]
