"""From the command to a submitted job that runs: the first time and later ones, set-up excluded."""

from __future__ import annotations

import statistics
import time

from bench.mesh import BenchMesh, running_mesh
from bench.report import Bar, Report
from bench.rounds import load_average
from maquette import samples

_LATER = 3


def main() -> Report:
    """Measure."""
    with running_mesh(engines=False, start=False) as mesh:
        first = _start(mesh)
        later = []
        for _ in range(_LATER):
            mesh.stop()
            later.append(_start(mesh))
        memory = mesh.peak_rss_mib()
    report = Report(
        "startup",
        [
            Bar("first start to Run", first["run"], "s", maximum=10),
            Bar("later start to Run, median", statistics.median(row["run"] for row in later), "s", maximum=5),
        ],
        {"first": first, "later": later, "peak_rss_mib": memory, "load_average": load_average()},
    )
    report.write()
    return report


def _start(mesh: BenchMesh) -> dict[str, float]:
    """Start, submit as soon as the mesh says it is ready, and tell when that was and when the job ran."""
    started = time.monotonic()
    ready = mesh.start(whole=False)
    picture = mesh.upload(samples.path(samples.NAMES[0]))
    job = mesh.submit({"image_file_id": picture}, textured=True)
    mesh.wait(job, "processing", "completed")
    ran = time.monotonic() - started
    mesh.http.post(f"/api/v1/system/jobs/{job}/cancel")
    return {"ready": round(ready, 2), "run": round(ran, 2)}


if __name__ == "__main__":
    main()
