"""A picture of 1024² to a textured GLB through the real mesh: the first time, and warm."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from bench.mesh import BenchMesh, running_mesh
from bench.report import Bar, Report
from bench.rounds import load_average
from maquette import samples

_WARM_RUNS = 3


def main() -> Report:
    """Measure from the submit to the bytes of the GLB, the sample pictures in turn."""
    with running_mesh(engines=False) as mesh:
        pictures = [samples.path(name) for name in samples.NAMES]
        first = _generate(mesh, pictures[0])
        warm = [_generate(mesh, pictures[number % len(pictures)]) for number in range(_WARM_RUNS)]
        memory = mesh.peak_rss_mib()
    worker = max(mib for name, mib in memory.items() if name.startswith("meshgen/"))
    report = Report(
        "picture",
        [
            Bar("first run", first["seconds"], "s", maximum=30),
            Bar("warm run, median", statistics.median(run["seconds"] for run in warm), "s", maximum=6),
            Bar("peak memory of the worker", worker, "MiB", maximum=1024),
        ],
        {"first": first, "warm": warm, "peak_rss_mib": memory, "load_average": load_average()},
    )
    report.write()
    return report


def _generate(mesh: BenchMesh, picture: Path) -> dict[str, Any]:
    file_id = mesh.upload(picture)
    started = time.perf_counter()
    job = mesh.submit({"image_file_id": file_id, "output_format": "glb"}, textured=True)
    done = mesh.wait(job, "completed")
    answer = mesh.http.get(f"/api/v1/system/jobs/{job}/download")
    answer.raise_for_status()
    seconds = time.perf_counter() - started
    if answer.content[:4] != b"glTF":
        raise RuntimeError("the download is no GLB")
    return {
        "picture": picture.name,
        "seconds": round(seconds, 3),
        "processing_seconds": done["processing_time"],
        "glb_bytes": len(answer.content),
    }


if __name__ == "__main__":
    main()
