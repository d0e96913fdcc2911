"""Latencies of a mesh at rest: from a submit to the capability's run, from its events to a WebSocket."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

import grpc
from websockets.sync.client import ClientConnection, connect

from bench.engines import TICKS
from bench.mesh import BenchMesh, running_mesh
from bench.report import Bar, Report
from bench.rounds import load_average
from maquette import samples
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.rpc.interceptors import INTERNAL_HEADER
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings

_SUBMITS = 40
_MESHES = 3
_SOCKET_RUNS = 3
_BYSTANDERS = 50
# PostgreSQL plans a statement anew the first five times on each connection.
_WARM = 20
_PAUSE_SECONDS = 0.1


def main() -> Report:
    """Measure."""
    # Several meshes, one after the other: a single one may meet an hour of its machine that is not usual.
    submits = [row for _ in range(_MESHES) for row in _submits()]
    with running_mesh(CAPABILITY__SLOTS="1", GATEWAY__SOCKETS_PER_CLIENT="100") as mesh:
        picture = mesh.upload(samples.path(samples.NAMES[0]))
        one = [delay for _ in range(_SOCKET_RUNS) for delay in _watch(mesh, picture, 0)]
        many = _watch(mesh, picture, _BYSTANDERS)
        memory = mesh.peak_rss_mib()
    to_run = [row["run"] for row in submits]
    report = Report(
        "latency",
        [
            Bar("idle submit to Run, p50", statistics.median(to_run), "ms", maximum=20),
            Bar("event to WebSocket, p50", statistics.median(one), "ms", maximum=20),
        ],
        {
            "submits": len(submits),
            # `run`: `jobs` had heard the node accept the task; `engine`: the engine's own first
            # statement, with its input there and checked.
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


def _submits() -> list[dict[str, float]]:
    """Submit to a mesh of its own; return for each submit what had happened after how many ms."""
    with running_mesh(CAPABILITY__SLOTS="1") as mesh, closing(_Feed(mesh)) as feed:
        picture = mesh.upload(samples.path(samples.NAMES[0]))
        return [_submit(mesh, picture, feed) for _ in range(_WARM + _SUBMITS)][_WARM:]


class _Feed:
    """Hears every event of the mesh, as a gateway does, in a thread of its own."""

    def __init__(self, mesh: BenchMesh) -> None:
        settings = Settings(data_dir=mesh.data_dir)
        self._channel = grpc.insecure_channel(settings.address("jobs"))
        secret = load_secret(settings, "internal").decode()
        stub = jobs_pb2_grpc.FeedServiceStub(self._channel)
        self._stream = stub.WatchFeed(jobs_pb2.WatchFeedRequest(), metadata=((INTERNAL_HEADER, secret),))
        self._started_ms: dict[str, float] = {}
        self._stamped_ms: dict[str, float] = {}
        self._heard = threading.Condition()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        # A job that runs before the feed is in step is told without the word that it began.
        if not self._listening.wait(10):
            raise RuntimeError("the feed does not come")

    def _listen(self) -> None:
        with suppress(grpc.RpcError):  # how a cancelled stream ends
            for response in self._stream:
                self._listening.set()
                several = response.WhichOneof("item") == "events"
                for event in response.events.events if several else (response.event,):
                    self._note(event)

    def _note(self, event: jobs_pb2.JobEvent) -> None:
        job = event.job
        with self._heard:
            if event.type == jobs_pb2.EVENT_TYPE_STARTED:
                self._started_ms[job.public_id] = event.time.ToNanoseconds() / 1e6
            elif job.progress.stage.isdigit():
                self._stamped_ms[job.public_id] = int(job.progress.stage) / 1e6
            self._heard.notify_all()

    def run_ms(self, job: str) -> tuple[float, float]:
        """Return when a job was told to run and when its engine began, ms; waits for both.

        Raises KeyError when no word of them comes.
        """
        with self._heard:
            self._heard.wait_for(lambda: job in self._started_ms and job in self._stamped_ms, timeout=10)
            return self._started_ms[job], self._stamped_ms[job]

    def close(self) -> None:
        """Stop listening."""
        self._stream.cancel()
        self._thread.join(5)
        self._channel.close()


def _submit(mesh: BenchMesh, picture: str, feed: _Feed) -> dict[str, float]:
    """Submit one job to the idle mesh; return what had happened after how many milliseconds."""
    # What follows the end of the job before, on its node and in the ledger, is over.
    time.sleep(_PAUSE_SECONDS)
    started = time.time_ns()
    job = mesh.submit({"image_file_id": picture, "model_preference": "bench_stamp"})
    answered = time.time_ns()
    run, engine = feed.run_ms(job)
    seen = {
        name: at - started / 1e6
        for name, at in (("answered", answered / 1e6), ("run", run), ("engine", engine))
    }
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
