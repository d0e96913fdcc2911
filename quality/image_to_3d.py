"""Measure image → 3D on pictures whose true shape is known, and write quality/image_to_3d.json.

Uses the measures and the open pictures that lie beside the repository; says so and ends well
where they are absent.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maquette.geometry.codecs import read_mesh
from maquette.runtime.engine import Engine, EngineRequest, InputFile
from services.meshgen.engines import engines
from services.meshgen.engines.shape_from_silhouette.crossings import self_intersections

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PICTURES = SHARED / "data" / "image3d" / "gt"
METRICS = SHARED / "metrics"
VALIDATOR = ROOT / "node_modules" / "gltf-validator"
RESULT = ROOT / "quality" / "image_to_3d.json"
SHAPE_FIGURES = ("cd", "f05", "f10", "depth_ratio", "log_depth", "sil_iou", "psnr", "ssim")
VALIDITY_FIGURES = ("watertight", "edge_manifold", "winding_consistent", "degenerate_area")


def _silent(*_: object, **__: object) -> None:
    """Report to nobody."""


def _measure(script: str, *arguments: str) -> dict[str, Any]:
    """Run one measure and return its JSON line."""
    run = subprocess.run(
        [sys.executable, str(METRICS / script), *arguments], capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


def _validate(path: str) -> dict[str, Any]:
    """Count what the Khronos validator says of a GLB; empty where it is not installed."""
    if not VALIDATOR.is_dir() or not shutil.which("node"):
        return {}
    run = subprocess.run(
        ["node", str(ROOT / "tests" / "gltf_validator.mjs"), path], capture_output=True, text=True, check=True
    )
    issues = json.loads(run.stdout)
    return {"gltf_errors": issues["numErrors"], "gltf_warnings": issues["numWarnings"]}


def count_crossings(mesh: Path) -> int:
    """Count the faces of a delivered mesh that pass through another one, seams welded by place."""
    asset = read_mesh(mesh)
    corners = np.concatenate([part.mesh.vertices[part.mesh.faces].reshape(-1, 3) for part in asset.parts])
    points, index = np.unique(corners, axis=0, return_inverse=True)
    return len(self_intersections(points.astype(np.float64), index.reshape(-1, 3).astype(np.int64)))


def measure_picture(engine: Engine, picture: Path) -> dict[str, Any]:
    """Make a model of one picture and measure it, turned back by the camera that was found."""
    with tempfile.TemporaryDirectory() as folder:
        request = EngineRequest(
            "image_to_textured_mesh",
            {},
            (InputFile("image", picture, "image/png", picture.name),),
            Path(folder),
        )
        start = time.perf_counter()
        result = engine.run(request, _silent)
        seconds = time.perf_counter() - start
        mesh, camera = str(result.outputs[0].path), result.info["camera"]
        arguments = ["--mesh", mesh, "--image", str(picture), "--gt", str(picture.with_suffix(".ply"))]
        angles = [str(camera["yaw"]), str(camera["pitch"])]
        shape = _measure("image3d_metrics.py", *arguments, "--no-icp", "--camera", *angles)
        validity = _measure("mesh_validity.py", mesh)
        crossings, glb = count_crossings(Path(mesh)), _validate(mesh)
    row = {"picture": picture.stem, "seconds": round(seconds, 2), "camera": camera}
    row |= {name: shape.get(name) for name in SHAPE_FIGURES}
    row |= {name: validity.get(name) for name in VALIDITY_FIGURES}
    return row | {"self_intersecting_faces": crossings} | glb


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    means = {name: round(statistics.fmean(row[name] for row in rows), 4) for name in SHAPE_FIGURES}
    return means | {"least_sil_iou": round(min(row["sil_iou"] for row in rows), 4)}


def _valid(rows: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """Count the sound models; None for what could not be measured here."""
    counts: dict[str, int | None] = {
        name: sum(bool(row[name]) for row in rows)
        for name in ("watertight", "edge_manifold", "winding_consistent")
    }
    for name, figure in (("free_of_crossings", "self_intersecting_faces"), ("glb_valid", "gltf_errors")):
        known = all(row.get(figure) is not None for row in rows)
        counts[name] = sum(row[figure] == 0 for row in rows) if known else None
    return counts


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
            f"{row['picture']:24} cd {row['cd']:.3f}  f@.05 {row['f05']:.3f}  depth {row['depth_ratio']:.2f}"
            f"  iou {row['sil_iou']:.3f}  psnr {row['psnr']:.1f}",
            flush=True,
        )
    views = {
        "front": [row for row in rows if row["picture"].endswith("_y0p0")],
        "oblique": [row for row in rows if not row["picture"].endswith("_y0p0")],
    }
    result = {
        "engine": engine.describe().id,
        "pictures": len(rows),
        "means": _means(rows) | {"seconds": round(statistics.fmean(row["seconds"] for row in rows), 2)},
        "means_by_view": {view: _means(chosen) for view, chosen in views.items() if chosen},
        "valid": _valid(rows),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: result[name] for name in ("means", "means_by_view", "valid")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
