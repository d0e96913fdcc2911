"""What one client may take of the gateway: sockets, requests, and time to send a body."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.contract.gateway.harness import GatewayUnderTest
from tests.contract.gateway.polling import until

SOCKETS = 3
REQUESTS = 5
IMAGE = "/api/v1/file-upload/image"
RAW = "/api/v1/mesh-generation/image-to-raw-mesh"


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayUnderTest]:
    """A gateway with small shares, which believes one proxy: a test plays several clients."""
    under_test = GatewayUnderTest(
        gateway={
            "ping_seconds": 1.0,
            "sockets_per_client": SOCKETS,
            "requests_per_second_per_client": REQUESTS,
            "proxy_hops": 1,
            "slow_body_seconds": 1.0,
            "slow_body_kib": 4,
        }
    )
    try:
        yield under_test.start()
    finally:
        under_test.stop()


@pytest.fixture
def job_id(gateway: GatewayUnderTest, png: bytes) -> str:
    with httpx.Client(base_url=gateway.url, headers={"x-forwarded-for": "192.0.2.250"}, timeout=60) as client:
        file_id = client.post(IMAGE, files={"file": ("a.png", png)}).json()["file_id"]
        answer = client.post(RAW, json={"image_file_id": file_id})
        assert answer.status_code == 200, answer.text
        return answer.json()["job_id"]


def watch(gateway: GatewayUnderTest, job_id: str, address: str, mount: str = "/ws/jobs/") -> ClientConnection:
    url = gateway.url.replace("http", "ws", 1) + mount + job_id
    return connect(url, open_timeout=60, additional_headers={"x-forwarded-for": address})


def close_code(opened: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        opened.recv(60)
    return closed.value.rcvd.code


def first_event(opened: ClientConnection) -> str:
    """Return what a running job's socket tells first, however late it was opened."""
    return json.loads(opened.recv(60))["event"]


def serves(gateway: GatewayUnderTest, job_id: str, address: str) -> bool:
    """Tell whether one more socket of an address is told of its job, which runs."""
    with watch(gateway, job_id, address) as opened:
        try:
            return first_event(opened) == "job_started"
        except ConnectionClosed:
            return False


def test_one_socket_too_many_of_a_client_is_closed_with_4429(gateway, job_id):
    gateway.backends.begin(job_id)
    with contextlib.ExitStack() as stack:
        mine = [stack.enter_context(watch(gateway, job_id, "192.0.2.1")) for _ in range(SOCKETS)]
        assert [first_event(one) for one in mine] == ["job_started"] * SOCKETS
        for mount in ("/ws/jobs/", "/api/v1/ws/jobs/"):
            with watch(gateway, job_id, "192.0.2.1", mount) as refused:
                assert close_code(refused) == 4429
        assert serves(gateway, job_id, "192.0.2.2")
        mine[0].close()
        until(lambda: serves(gateway, job_id, "192.0.2.1"))
        gateway.backends.succeed(job_id)
        assert "job_completed" in list(mine[1])[-1]


def test_an_ipv6_client_counts_with_its_network(gateway, job_id):
    gateway.backends.begin(job_id)
    with contextlib.ExitStack() as stack:
        for host in range(SOCKETS):
            opened = stack.enter_context(watch(gateway, job_id, f"2001:db8:0:1::{host + 1}"))
            assert first_event(opened) == "job_started"
        with watch(gateway, job_id, "2001:db8:0:1:ffff::1") as refused:
            assert close_code(refused) == 4429
        assert serves(gateway, job_id, "2001:db8:0:2::1")


def test_a_client_that_asks_too_often_is_refused_and_its_neighbour_is_not(gateway):
    with httpx.Client(base_url=gateway.url, timeout=60) as client:

        def ask(address: str) -> httpx.Response:
            return client.get("/health", headers={"x-forwarded-for": address})

        assert ask("192.0.2.3").status_code == 200
        answers = (ask("192.0.2.3") for _ in range(1000))
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert set(refused.json()) == {"error", "message", "detail"}
        assert ask("192.0.2.4").status_code == 200


def drip(gateway: GatewayUnderTest, head: bytes, first: bytes, piece: bytes) -> bytes:
    """Send a body piece by piece until there is an answer, and return it."""
    port = gateway.settings.port
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as connection:
        connection.sendall(b"Host: localhost\r\nX-Forwarded-For: 192.0.2.5\r\n".join(head.split(b"@")))
        connection.sendall(first)
        began = time.monotonic()
        answer = b""
        while time.monotonic() < began + 90 and not answer.endswith(b"}"):
            with contextlib.suppress(TimeoutError):
                if not (more := connection.recv(65536)):
                    break
                answer += more
                continue
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(piece)
        return answer


MULTIPART = (
    f"POST {IMAGE} HTTP/1.1\r\n@Content-Type: multipart/form-data; boundary=b\r\n"
    "Content-Length: 1000000\r\n\r\n"
).encode()
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
JSON = f"POST {RAW} HTTP/1.1\r\n@Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("head", "first", "piece"),
    [(MULTIPART, FORM, b"x"), (JSON, b'{"image_base64":"', b"A"), (JSON, b"{", b" ")],
    ids=["multipart", "base64", "json"],
)
def test_a_body_that_drips_is_refused_with_408(gateway, head, first, piece):
    before = set(gateway.backends.storage.uploads)
    answer = drip(gateway, head, first, piece)
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error", "message", "detail"}
    assert set(gateway.backends.storage.uploads) == before
    assert '"level": "error"' not in gateway.log.read_text()
