"""P12 and server-sent events: in order, resumable, and cheap when nobody reads."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.contract.gateway.polling import until

MOUNTS = ["/api/v1/ws/jobs/", "/ws/jobs/"]


def dial(gateway, path, **options):
    return connect(gateway.url.replace("http", "ws", 1) + path, open_timeout=60, **options)


def rest(socket) -> tuple[list[dict], int]:
    """Return everything a socket still says, and its close code."""
    said = []
    try:
        while True:
            said.append(json.loads(socket.recv(60)))
    except ConnectionClosed as closed:
        return said, closed.rcvd.code


def sse(text: str) -> list[tuple[int, str, dict]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("mount", MOUNTS)
def test_a_socket_tells_the_whole_story_and_closes(gateway, job_id, mount):
    with dial(gateway, mount + job_id) as socket:
        gateway.backends.begin(job_id)
        assert set(started := json.loads(socket.recv(60))) == {"event", "job_id", "timestamp"}
        assert started["event"] == "job_started"
        gateway.backends.progress(job_id, 0.45, "generating_mesh", eta=60)
        update = json.loads(socket.recv(60))
        while update["stage"] != "generating_mesh":
            update = json.loads(socket.recv(60))
        assert set(update) == {"event", "job_id", "progress", "stage", "eta"}
        assert update["progress"] == 0.45
        assert update["eta"].endswith("Z")
        gateway.backends.succeed(job_id)
        said, code = rest(socket)
    assert said[-1]["event"] == "job_completed"
    assert set(said[-1]) == {"event", "job_id", "result"}
    assert said[-1]["result"]["file_path"].endswith(".glb")
    assert code == 1000


def test_a_socket_opened_late_is_told_the_last_state(client, gateway, finished):
    until(lambda: client.get(f"/api/v1/system/jobs/{finished}").json()["status"] == "completed")
    with dial(gateway, MOUNTS[0] + finished) as socket:
        said, code = rest(socket)
    assert [event["event"] for event in said] == ["job_started", "job_completed"]
    assert code == 1000


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_socket_tells_why_a_job_failed(client, gateway, job_id, end):
    with dial(gateway, MOUNTS[0] + job_id) as socket:
        if end == "fail":
            gateway.backends.begin(job_id)
            gateway.backends.fail(job_id, "OUT_OF_MEMORY", "insufficient memory")
        else:
            client.post(f"/api/v1/system/jobs/{job_id}/cancel")
        said, _ = rest(socket)
    expected = "insufficient memory" if end == "fail" else "Job was cancelled"
    assert said[-1] == {"event": "job_failed", "job_id": job_id, "error": expected}


def test_an_unknown_job_closes_with_4404(gateway):
    with dial(gateway, MOUNTS[0] + "unknown") as socket:
        assert rest(socket) == ([], 4404)


def test_a_socket_from_a_foreign_page_is_refused(gateway, job_id):
    with pytest.raises(InvalidStatus) as refused:
        dial(gateway, MOUNTS[0] + job_id, origin="http://evil.example")
    assert refused.value.response.status_code == 403
    with dial(gateway, MOUNTS[0] + job_id, origin=gateway.url):
        pass


def test_a_plain_request_to_a_socket_is_told_to_upgrade(client, job_id):
    response = client.get(MOUNTS[0] + job_id)
    assert response.status_code == 426
    assert set(response.json()) == {"error", "message", "detail"}


def test_events_come_in_order_with_ids(client, gateway, job_id):
    def drive():
        gateway.backends.begin(job_id)
        for step in range(1, 6):
            gateway.backends.progress(job_id, step / 10, f"step{step}")
        gateway.backends.succeed(job_id)

    driver = threading.Thread(target=drive)
    driver.start()
    response = client.get(f"/v1/events/{job_id}")
    driver.join()
    assert response.headers["content-type"] == "text/event-stream"
    events = sse(response.text)
    ids = [event[0] for event in events]
    assert ids == sorted(set(ids))
    progress = [event[2]["progress"] for event in events]
    assert progress == sorted(progress)
    assert events[-1][1] == "succeeded"
    assert events[-1][2]["result"]["model_used"] == "shape_from_silhouette"
    assert [event[1] for event in events].count("succeeded") == 1


def test_a_resumed_stream_sees_every_later_event(client, gateway, job_id):
    gateway.backends.begin(job_id)
    for step in range(1, 6):
        gateway.backends.progress(job_id, step / 10, f"step{step}")
    gateway.backends.succeed(job_id)
    until(lambda: client.get(f"/api/v1/system/jobs/{job_id}").json()["status"] == "completed")
    events = sse(client.get(f"/v1/events/{job_id}", headers={"last-event-id": "3"}).text)
    assert [event[0] for event in events] == [4, 5, 6, 7, 8]
    assert [event[1] for event in events] == ["progress"] * 4 + ["succeeded"]
    last = sse(client.get(f"/v1/events/{job_id}", headers={"last-event-id": "8"}).text)
    assert [event[1] for event in last] == ["succeeded"]


@pytest.mark.parametrize("seen", ["", "x", "-1", "99999999999999999999", "1" * 500])
def test_a_strange_last_event_id_is_a_fresh_start(client, finished, seen):
    events = sse(client.get(f"/v1/events/{finished}", headers={"last-event-id": seen}).text)
    assert events[-1][1] == "succeeded"


def test_quiet_streams_show_signs_of_life(client, gateway, job_id):
    with client.stream("GET", f"/v1/events/{job_id}") as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith(":"))
    assert client.get("/health").status_code == 200


def test_events_of_an_unknown_job_are_404(client):
    response = client.get("/v1/events/unknown")
    assert (response.status_code, response.json()["error"]) == (404, "NOT_FOUND")


def test_many_watchers_of_one_job_all_see_the_end(client, gateway, job_id):
    ends: list[str] = []

    def watch():
        ends.append(sse(client.get(f"/v1/events/{job_id}").text)[-1][1])

    watchers = [threading.Thread(target=watch) for _ in range(40)]
    for watcher in watchers:
        watcher.start()
    gateway.backends.begin(job_id)
    gateway.backends.succeed(job_id)
    for watcher in watchers:
        watcher.join()
    assert ends == ["succeeded"] * 40


def test_watchers_that_stand_still_cost_little_and_miss_no_ending(client, gateway, job_id):
    process = psutil.Process(gateway.gateway.pid)
    stalled = []
    request = f"GET /v1/events/{job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(30):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", gateway.settings.port))
        connection.sendall(request)
        # It watches, from before memory is measured.
        assert connection.recv(1) == b"H"
        stalled.append(connection)
    with contextlib.ExitStack() as stack:
        for connection in stalled:
            stack.enter_context(connection)
        gateway.backends.begin(job_id)
        before = process.memory_info().rss
        for step in range(500):
            gateway.backends.progress(job_id, step / 500, "a stage with a name of some length " * 4)
        gateway.backends.succeed(job_id)
        until(lambda: client.get(f"/api/v1/system/jobs/{job_id}").json()["status"] == "completed")
        grown = process.memory_info().rss - before
        assert grown < len(stalled) * 64 * 1024 + (8 << 20), f"{grown >> 10} KiB"
        # The one that reads again is told the end.
        text = b""
        while b"event: succeeded" not in text:
            piece = stalled[0].recv(65536)
            assert piece, text[-500:]
            text += piece
