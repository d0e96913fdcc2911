"""HEAD answers as GET does, without the body."""

from __future__ import annotations

import socket

import pytest

from services.gateway.routes import public_routes
from tests.contract.gateway.motions import animation_node
from tests.contract.gateway.polling import until

GETS = sorted(
    route.template
    for route in public_routes()
    if route.verb == "GET" and not route.at_edge and not route.option.streaming
)


@pytest.fixture(scope="module")
def library(gateway, client):
    with animation_node(gateway):
        until(lambda: client.get("/v1/animations").status_code == 200)
        yield


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("template", GETS)
def test_head_has_the_headers_of_get_and_no_body(client, template, job_id, file_id, animation_job):
    path = template.replace("{job_id}", animation_job if template.startswith("/status/") else job_id)
    path = path.replace("{file_id}", file_id).replace("{animation_id}", "30")
    got, asked = client.get(path), client.head(path)
    assert asked.status_code == got.status_code == 200
    assert asked.headers["content-type"] == got.headers["content-type"]
    assert int(asked.headers["content-length"]) == pytest.approx(len(got.content), abs=32)  # times differ
    assert asked.content == b""


def test_head_of_something_unknown_is_404(client):
    answer = client.head("/api/v1/system/jobs/unknown")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


def test_the_connection_goes_on_after_head(gateway):
    """Byte by byte: nothing of a body comes between the two answers."""
    request = "{} /api/v1/file-upload/supported-formats HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
    both = request.format("HEAD", "") + request.format("GET", "Connection: close\r\n")
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=60) as connection:
        connection.sendall(both.encode())
        text = b"".join(iter(lambda: connection.recv(65536), b""))
    first, body_of_first, rest = text.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200") and body_of_first
    assert rest.startswith(b"HTTP/1.1 200")
    assert rest.endswith(b"}")


def test_head_of_a_stream_is_refused(client, job_id):
    answer = client.head(f"/v1/events/{job_id}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
