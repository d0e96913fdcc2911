"""Measure image → 3D on pictures whose true shape is known, and write quality/image_to_3d.json.

Uses the measures and the open pictures that lie beside the repository; says so and ends well
where they are absent.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from maquette.runtime.engine import Engine, EngineRequest, InputFile
from services.meshgen.engines import engines

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PICTURES = SHARED / "data" / "image3d" / "gt"
METRICS = SHARED / "metrics"
RESULT = ROOT / "quality" / "image_to_3d.json"
SHAPE_FIGURES = ("cd", "f05", "f10", "depth_ratio", "log_depth", "sil_iou", "psnr", "ssim")
VALIDITY_FIGURES = (
    "watertight",
    "edge_manifold",
    "winding_consistent",
    "degenerate_area",
    "self_intersecting_faces",
)


def _silent(*_: object, **__: object) -> None:
    """Report to nobody."""


def _measure(script: str, *arguments: str) -> dict[str, Any]:
    """Run one measure and return its JSON line."""
    run = subprocess.run(
        [sys.executable, str(METRICS / script), *arguments], capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


def measure_picture(engine: Engine, picture: Path) -> dict[str, Any]:
    """Make a model of one picture and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        request = EngineRequest(
            "image_to_textured_mesh",
            {},
            (InputFile("image", picture, "image/png", picture.name),),
            Path(folder),
        )
        start = time.perf_counter()
        mesh = str(engine.run(request, _silent).outputs[0].path)
        seconds = time.perf_counter() - start
        truth = str(picture.with_suffix(".ply"))
        shape = _measure(
            "image3d_metrics.py", "--mesh", mesh, "--gt", truth, "--image", str(picture), "--no-icp"
        )
        validity = _measure("mesh_validity.py", mesh)
    row = {"picture": picture.stem, "seconds": round(seconds, 2)}
    row |= {name: shape.get(name) for name in SHAPE_FIGURES}
    return row | {name: validity.get(name) for name in VALIDITY_FIGURES}


def main() -> int:
    """Measure every picture, print the means and write the result."""
    if not PICTURES.is_dir() or not METRICS.is_dir():
        print("quality/image_to_3d: the pictures and measures are not here; nothing measured")
        return 0
    engine = engines()[0]
    engine.load()
    rows = []
    for picture in sorted(PICTURES.glob("*.png")):
        row = measure_picture(engine, picture)
        rows.append(row)
        print(
            f"{row['picture']:24} cd {row['cd']:.3f}  f@.05 {row['f05']:.3f}  iou {row['sil_iou']:.3f}",
            flush=True,
        )
    means = {
        name: round(statistics.fmean(row[name] for row in rows), 4) for name in (*SHAPE_FIGURES, "seconds")
    }
    valid = {
        "watertight": sum(bool(row["watertight"]) for row in rows),
        "edge_manifold": sum(bool(row["edge_manifold"]) for row in rows),
        "winding_consistent": sum(bool(row["winding_consistent"]) for row in rows),
    }
    result = {
        "engine": engine.describe().id,
        "pictures": len(rows),
        "means": means,
        "valid": valid,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"means": means, "valid": valid, "of": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
