"""The gateway and `jobs` go away and come back: short waits, no lies, nothing to restart by hand."""

from __future__ import annotations

import signal
import threading

import httpx
import pytest

from tests.contract.gateway.harness import GatewayUnderTest
from tests.contract.gateway.polling import until


@pytest.fixture(scope="module")
def own():
    """A gateway of our own: these tests kill it."""
    under_test = GatewayUnderTest(drain_seconds=90.0)
    try:
        yield under_test.start()
    finally:
        under_test.stop()


@pytest.fixture
def own_job(own, png):
    with httpx.Client(base_url=own.url, timeout=60) as client:
        file_id = client.post("/api/v1/file-upload/image", files={"file": ("a.png", png)}).json()["file_id"]
        body = {"image_file_id": file_id}
        return client.post("/api/v1/mesh-generation/image-to-raw-mesh", json=body).json()["job_id"]


def status(own, job_id):
    return httpx.get(f"{own.url}/api/v1/system/jobs/{job_id}", timeout=60)


def health(own):
    return httpx.get(f"{own.url}/health", timeout=60)


def test_reads_wait_for_a_gateway_that_starts_again(own, own_job):
    own.stop_gateway(signal.SIGKILL)
    answers = []
    reader = threading.Thread(target=lambda: answers.append(status(own, own_job)))
    reader.start()
    own.start_gateway()
    reader.join()
    own.wait_ready()
    assert answers[0].status_code in (200, 503)
    assert status(own, own_job).json()["status"] == "queued"


def test_a_gateway_that_stays_away_is_503_in_the_documents_shape(own):
    own.stop_gateway()
    response = health(own)
    assert response.status_code == 503
    assert set(response.json()) == {"error", "message", "detail"}
    own.start_gateway()
    own.wait_ready()


def test_what_happened_while_jobs_was_away_is_not_missed(own, own_job):
    assert status(own, own_job).json()["status"] == "queued"
    own.backends.run(own.backends.stop_jobs())
    own.backends.begin(own_job)
    own.backends.succeed(own_job)
    own.backends.run(own.backends.start_jobs())
    until(lambda: status(own, own_job).json().get("status") == "completed")


def test_health_tells_when_jobs_is_away(own):
    own.backends.run(own.backends.stop_jobs())
    until(lambda: health(own).json()["status"] == "degraded")
    own.backends.run(own.backends.start_jobs())
    until(lambda: health(own).json()["status"] == "healthy")


def test_a_socket_survives_a_restart_of_jobs(own, own_job):
    from websockets.sync.client import connect

    with connect(own.url.replace("http", "ws", 1) + f"/ws/jobs/{own_job}", open_timeout=60) as socket:
        own.backends.run(own.backends.stop_jobs())
        own.backends.begin(own_job)
        own.backends.succeed(own_job)
        own.backends.run(own.backends.start_jobs())
        said = list(socket)
    assert '"job_completed"' in said[-1]


def test_a_drain_does_not_wait_for_watchers(own, own_job):
    def watch(begun: threading.Event):
        try:
            with httpx.stream("GET", f"{own.url}/v1/events/{own_job}", timeout=60) as response:
                for _ in response.iter_raw():
                    begun.set()
        except httpx.HTTPError:
            return

    for _ in range(3):
        begun = threading.Event()
        threading.Thread(target=watch, args=(begun,)).start()
        assert begun.wait(60)
    # A drain that waited for them would take longer than this waits for it.
    assert own.stop_gateway() == 0
    own.start_gateway()
    own.wait_ready()
