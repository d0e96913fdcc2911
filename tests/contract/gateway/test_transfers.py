"""Files on their way: whole or visibly broken, in flat memory, and nothing left open behind a client."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from tests.contract.gateway.polling import until

MIB = 1 << 20


@pytest.fixture
def storage(gateway):
    found = gateway.backends.storage
    yield found
    found.breaks_after = None


@pytest.fixture
def link(gateway, storage):
    """Make a link to bytes."""

    def make(data: bytes) -> str:
        return f"/download/model.glb?token=good-{gateway.backends.do(storage.put, data)}"

    return make


def asking(gateway, path: str) -> socket.socket:
    """Ask for a file on a connection that takes little by itself."""
    connection = socket.socket()
    connection.settimeout(60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.connect(("127.0.0.1", gateway.settings.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("size", [0, 1, 3, 262_144, 262_145, 5_000_000])
def test_a_file_comes_whole_whatever_its_size(client, link, storage, size):
    data = os.urandom(size)
    path = link(data)
    got = client.get(path)
    assert (got.status_code, got.content) == (200, data)
    assert client.head(path).headers["content-length"] == str(size)
    until(lambda: not storage.reading)


def test_a_range_of_a_large_file_is_read_alone(client, link):
    data = os.urandom(5_000_000)
    got = client.get(link(data), headers={"range": "bytes=4000000-4999998"})
    assert (got.status_code, got.content) == (206, data[4_000_000:4_999_999])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1_000_000])
def test_base64_of_any_size_is_whole(gateway, client, job_id, size):
    data = os.urandom(size)
    gateway.backends.begin(job_id)
    gateway.backends.succeed(job_id, mesh=data)
    path = f"/api/v1/system/jobs/{job_id}"
    until(lambda: client.get(path).json()["status"] == "completed")
    body = client.get(f"{path}/download?format=base64").json()
    assert base64.b64decode(body["base64_data"], validate=True) == data


def test_a_file_that_is_gone_is_not_found(gateway, client, finished, storage):
    path = f"/api/v1/system/jobs/{finished}"
    until(lambda: client.get(path).json()["status"] == "completed")
    etag = client.head(f"{path}/download").headers["etag"]
    gateway.backends.do(storage.blobs.pop, etag.strip('"'))
    got = client.get(f"{path}/download")
    assert (got.status_code, set(got.json())) == (404, {"error", "message", "detail"})


def test_a_file_that_breaks_at_once_is_an_error(client, link, storage):
    path = link(bytes(1_000_000))
    storage.breaks_after = 0
    assert client.get(path).status_code == 500
    until(lambda: not storage.reading)


@pytest.mark.parametrize("breaks_after", [1_000_000, 4_999_999])
def test_a_file_that_breaks_in_the_middle_has_no_clean_end(client, link, storage, breaks_after):
    path = link(os.urandom(5_000_000))
    storage.breaks_after = breaks_after
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(path)
    until(lambda: not storage.reading)


def test_a_client_that_leaves_ends_the_reading(gateway, link, storage):
    path = link(bytes(100 * MIB))
    with closing(asking(gateway, path)) as connection:
        assert connection.recv(1000)
        assert storage.reading
    until(lambda: not storage.reading)


def test_a_slow_client_has_only_as_much_read_as_it_takes(gateway, client, link, storage):
    slow, quick = link(bytes(100 * MIB)), link(b"quick")
    with closing(asking(gateway, slow)) as connection:
        assert connection.recv(1000)
        (reading,) = storage.reading
        read = -1
        while reading.tell() != read:
            read = reading.tell()
            assert client.get(quick).content == b"quick"
        assert read < 32 * MIB
        received = 0
        while received < 20 * MIB:
            got = connection.recv(MIB)
            assert got
            received += len(got)
        until(lambda: reading.tell() > read)
    until(lambda: not storage.reading)


def test_a_download_waits_for_a_storage_that_starts_again(gateway, client, link):
    path = link(b"patience")
    gateway.backends.run(gateway.backends.stop_bytes())
    with ThreadPoolExecutor(1) as pool:
        try:
            waiting = pool.submit(client.get, path)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        finally:
            gateway.backends.run(gateway.backends.start_bytes())
        got = waiting.result(60)
    assert (got.status_code, got.content) == (200, b"patience")


def test_an_upload_in_pieces_of_any_size_arrives_as_it_was(gateway, client):
    data = b"# many vertices\n" + b"v 0.125 1.25 2.5\n" * 300_000 + b"f 1 2 3\n"
    head = b'--limit\r\ncontent-disposition: form-data; name="file"; filename="t.obj"\r\n\r\n'
    body = head + data + b"\r\n--limit--\r\n"

    def pieces():
        at, size = 0, 1
        while at < len(body):
            yield body[at : at + size]
            at, size = at + size, size * 3 % 600_011 + 1

    headers = {"content-type": "multipart/form-data; boundary=limit"}
    answer = client.post("/api/v1/file-upload/mesh", content=pieces(), headers=headers)
    assert answer.status_code == 200, answer.text
    upload = gateway.backends.storage.uploads[re.sub("[^0-9a-f]", "", answer.json()["file_id"])]
    assert upload.digest == hashlib.sha256(data).hexdigest()
    assert gateway.backends.storage.blobs[upload.digest] == data


@pytest.mark.parametrize(
    ("route", "head"),
    [
        (
            "file-upload/image",
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n',
        ),
        (
            "mesh-generation/image-to-raw-mesh",
            'Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"image_base64":"',
        ),
    ],
    ids=["multipart", "base64"],
)
def test_a_client_that_breaks_off_is_no_error_of_ours(gateway, storage, route, head):
    before, begun = len(gateway.log.read_text()), storage.begun
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=60) as connection:
        connection.sendall(f"POST /api/v1/{route} HTTP/1.1\r\nHost: localhost\r\n{head}".encode())
        connection.sendall(b"A" * 300_000)
        until(lambda: storage.begun > begun)
    until(lambda: not storage.receiving)
    said = gateway.log.read_text()[before:]
    assert "Traceback" not in said and '"level": "error"' not in said
