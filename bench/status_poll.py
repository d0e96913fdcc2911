"""Polling the status of live jobs, against a FastAPI gateway in front of the same jobs service."""

from __future__ import annotations

import statistics

import httpx

from bench.load import Load, load, request
from bench.mesh import BenchMesh, cpu_seconds, peak_rss_mib, running_mesh, running_peer
from bench.report import Bar, Report
from bench.rounds import load_average, median_ratio, take_turns
from maquette import samples

_ROUNDS = 5
_SECONDS = 2.0
_JOBS = 64
_CONNECTIONS = 32


def main() -> Report:
    """Measure."""
    with (
        running_mesh(CAPABILITY__SLOTS="1") as mesh,
        running_peer(mesh, "status_gateway") as (peer_port, peer),
        running_peer(mesh, "direct_response") as (direct_port, _),
    ):
        polls = _polls(mesh, _live_jobs(mesh), peer_port)

        def poll(port: int) -> Load:
            return load(
                lambda n: polls[n % _JOBS], port=port, connections=_CONNECTIONS, seconds=_SECONDS
            ).expect(200)

        take_turns(1, {"warm": lambda: poll(mesh.port), "peer": lambda: poll(peer_port)})
        before = mesh.cpu_seconds()
        before_peer = cpu_seconds(peer)
        runs = take_turns(
            _ROUNDS,
            {
                "mesh": lambda: poll(mesh.port),
                "fastapi": lambda: poll(peer_port),
                "direct_response": lambda: poll(direct_port),
            },
        )
        spent = {name: seconds - before[name] for name, seconds in mesh.cpu_seconds().items()}
        peer_spent = cpu_seconds(peer) - before_peer
        memory = {**mesh.peak_rss_mib(), "peer": peak_rss_mib(peer)}
    rates = {name: [run.rate for run in seen] for name, seen in runs.items()}
    ours, theirs = (sum(run.requests for run in runs[name]) for name in ("mesh", "fastapi"))
    report = Report(
        "status_poll",
        [
            Bar("requests against FastAPI", median_ratio(rates["mesh"], rates["fastapi"]), "×", minimum=1.0),
            Bar(
                "requests against direct_response",
                median_ratio(rates["mesh"], rates["direct_response"]),
                "×",
            ),
        ],
        {
            "connections": _CONNECTIONS,
            "live_jobs": _JOBS,
            "median_per_second": {name: round(statistics.median(seen)) for name, seen in rates.items()},
            "rounds": {name: [run.as_json() for run in seen] for name, seen in runs.items()},
            "cpu_us_per_request": {
                "envoy": round(spent["envoy"] / ours * 1e6, 1),
                "gateway": round(spent["gateway"] / ours * 1e6, 1),
                "peer": round(peer_spent / theirs * 1e6, 1),
                "jobs, for the peer": round(spent["jobs"] / theirs * 1e6, 1),
            },
            "peak_rss_mib": memory,
            "load_average": load_average(),
        },
    )
    report.write()
    return report


def _live_jobs(mesh: BenchMesh) -> list[str]:
    """Submit jobs: the first runs and holds the only slot, the others are queued."""
    picture = mesh.upload(samples.path(samples.NAMES[0]))
    body = {"image_file_id": picture, "model_preference": "bench_hold"}
    jobs = [mesh.submit(body) for _ in range(_JOBS)]
    mesh.wait(jobs[0], "processing")
    return jobs


def _polls(mesh: BenchMesh, jobs: list[str], peer_port: int) -> list[bytes]:
    path = f"/api/v1/system/jobs/{jobs[1]}"
    here, there = (
        httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False) for port in (mesh.port, peer_port)
    )
    if here.json() != there.json():
        raise RuntimeError(f"the two do not say the same: {here.text} {there.text}")
    return [request("GET", f"/api/v1/system/jobs/{job}") for job in jobs]


if __name__ == "__main__":
    main()
