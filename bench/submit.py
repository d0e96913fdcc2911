"""Durable submits through the whole path, against a FastAPI endpoint that commits one row."""

from __future__ import annotations

import json
import statistics

from bench.load import Load, load, request
from bench.mesh import cpu_seconds, peak_rss_mib, running_mesh, running_peer, submit_path
from bench.report import Bar, Report
from bench.rounds import load_average, median_ratio, take_turns
from maquette import samples

_ROUNDS = 5
_SECONDS = 2.0
_CONNECTIONS = 32


def main() -> Report:
    """Measure."""
    with (
        # One slot, held: what is submitted waits. The queue must take it all.
        running_mesh(CAPABILITY__SLOTS="1", JOBS__QUEUE_LIMIT="1000000") as mesh,
        running_peer(mesh, "insert_row") as (peer_port, peer),
    ):
        body = {
            "image_file_id": mesh.upload(samples.path(samples.NAMES[0])),
            "output_format": "glb",
            "model_preference": "bench_hold",
        }
        mesh.wait(mesh.submit(body), "processing")
        to_mesh = _post(submit_path(), body)
        to_peer = _post("/jobs", body)

        def submit(message: bytes, port: int) -> Load:
            return load(lambda _: message, port=port, connections=_CONNECTIONS, seconds=_SECONDS).expect(200)

        contenders = {
            "mesh": lambda: submit(to_mesh, mesh.port),
            "fastapi": lambda: submit(to_peer, peer_port),
        }
        take_turns(1, contenders)
        before, before_peer = mesh.cpu_seconds(), cpu_seconds(peer)
        runs = take_turns(_ROUNDS, contenders)
        spent = {name: seconds - before[name] for name, seconds in mesh.cpu_seconds().items()}
        peer_spent = cpu_seconds(peer) - before_peer
        memory = {**mesh.peak_rss_mib(), "peer": peak_rss_mib(peer)}
    rates = {name: [run.rate for run in seen] for name, seen in runs.items()}
    ours, theirs = (sum(run.requests for run in runs[name]) for name in ("mesh", "fastapi"))
    report = Report(
        "submit",
        [
            Bar(
                "durable submits against FastAPI",
                median_ratio(rates["mesh"], rates["fastapi"]),
                "×",
                minimum=0.3,
            )
        ],
        {
            "connections": _CONNECTIONS,
            "median_per_second": {name: round(statistics.median(seen)) for name, seen in rates.items()},
            "rounds": {name: [run.as_json() for run in seen] for name, seen in runs.items()},
            "cpu_us_per_request": {
                **{
                    name: round(seconds / ours * 1e6, 1)
                    for name, seconds in spent.items()
                    if name in ("envoy", "gateway", "storage", "jobs")
                },
                "peer": round(peer_spent / theirs * 1e6, 1),
            },
            "peak_rss_mib": memory,
            "load_average": load_average(),
        },
    )
    report.write()
    return report


def _post(path: str, body: dict[str, str]) -> bytes:
    return request("POST", path, body=json.dumps(body).encode(), headers={"content-type": "application/json"})


if __name__ == "__main__":
    main()
