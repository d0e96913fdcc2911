"""Latencies of a mesh at rest: from a submit to the capability's run, from its events to a WebSocket."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from websockets.sync.client import ClientConnection, connect

from bench.engines import TICKS
from bench.mesh import BenchMesh, running_mesh
from bench.report import Bar, Report
from bench.rounds import load_average
from maquette import samples

_SUBMITS = 40
_SOCKET_RUNS = 3
_BYSTANDERS = 50
_WARM = 3


def main() -> Report:
    """Measure."""
    with running_mesh(CAPABILITY__SLOTS="1") as mesh:
        picture = mesh.upload(samples.path(samples.NAMES[0]))
        submits = [_submit(mesh, picture) for _ in range(_WARM + _SUBMITS)][_WARM:]
        one = [delay for _ in range(_SOCKET_RUNS) for delay in _watch(mesh, picture, 0)]
        many = _watch(mesh, picture, _BYSTANDERS)
        memory = mesh.peak_rss_mib()
    to_run = [row["event"] for row in submits]
    report = Report(
        "latency",
        [
            Bar("idle submit to Run, p50", statistics.median(to_run), "ms", maximum=20),
            Bar("event to WebSocket, p50", statistics.median(one), "ms", maximum=20),
        ],
        {
            "submits": len(submits),
            # `run`: the event that the node accepted the job was here, so its `Run` had begun before;
            # `engine`: the engine's own first statement, with its input there and checked.
            "submit_to_ms": {
                "row stored": _spread([row["stored"] for row in submits]),
                "answered": _spread([row["answered"] for row in submits]),
                "claimed": _spread([row["claimed"] for row in submits]),
                "run": _spread(to_run),
                "engine": _spread([row["engine"] for row in submits]),
            },
            "event_to_websocket_ms": _spread(one),
            f"event_to_one_of_{_BYSTANDERS + 1}_websockets_ms": _spread(many),
            "peak_rss_mib": memory,
            "load_average": load_average(),
        },
    )
    report.write()
    return report


def _submit(mesh: BenchMesh, picture: str) -> dict[str, float]:
    """Submit one job to the idle mesh; return what had happened after how many milliseconds."""
    started = time.time_ns()
    job = mesh.submit({"image_file_id": picture, "model_preference": "bench_stamp"})
    seen = {"answered": (time.time_ns() - started) / 1e6}
    with _socket(mesh, job) as socket:
        for message in _messages(socket):
            now = time.time_ns()
            if message["event"] == "job_started":
                seen["event"] = (now - started) / 1e6
            elif (stamp := message.get("stage", "")).isdigit():
                seen["engine"] = (int(stamp) - started) / 1e6
    done = mesh.wait(job, "completed")
    for name, word in (("stored", "created_at"), ("claimed", "started_at")):
        seen[name] = datetime.fromisoformat(done[word]).timestamp() * 1e3 - started / 1e6
    return seen


def _watch(mesh: BenchMesh, picture: str, bystanders: int) -> list[float]:
    """Return how many milliseconds after each event of a run it was at a socket."""
    job = mesh.submit({"image_file_id": picture, "model_preference": "bench_tick"})
    others = [_socket(mesh, job) for _ in range(bystanders)]
    with _socket(mesh, job) as socket:
        delays = [
            (time.time_ns() - int(stamp)) / 1e6
            for message in _messages(socket)
            if (stamp := message.get("stage", "")).isdigit()
        ]
    for other in others:
        other.close()
    if len(delays) < TICKS // 2:
        raise RuntimeError(f"only {len(delays)} of {TICKS} events came")
    return delays


def _socket(mesh: BenchMesh, job: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{mesh.port}/ws/jobs/{job}", proxy=None, max_queue=None)


def _messages(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    for text in socket:
        yield json.loads(text)


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p90": round(ordered[int(0.9 * (len(ordered) - 1))], 2),
        "max": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    main()
