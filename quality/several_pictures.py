"""Measure what several pictures of one thing give, and write quality/several_pictures.json.

Draws models whose shape is known from up to six sides, makes a model of one, two, three, four and
six of the pictures, and compares. Uses the measures and the models that lie beside the
repository; says so and ends well where they are absent.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from maquette.geometry.asset import Asset
from maquette.geometry.codecs import read_mesh
from maquette.geometry.images import decode_image
from maquette.geometry.textures import sample_texture
from maquette.runtime.engine import Engine, EngineRequest, InputFile
from quality.image_to_3d import METRICS, ROOT, SHARED, VALIDITY_FIGURES, count_crossings
from services.meshgen.engines import engines
from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import WORDS, Viewpoint

MODELS = (
    "rigging/input/Horse.glb",
    "rigging/input/KK_Mage.glb",
    "rigging/input/RobotExpressive.glb",
    "rigging/input/Casual.glb",
    "rigging/input/Frog.glb",
    "segmentation/assembled/Chair_1.ply",
)
SETS = (
    ("front",),
    ("front", "right"),
    ("front", "right", "back"),
    ("front", "right", "back", "top"),
    ("front", "right", "back", "left", "top", "bottom"),
)
ROUND = ("front", "right", "back", "left")
"""Views whose colours are compared, whether their pictures were given or not."""
VALIDATED = (SETS[2], SETS[-1])
"""Sets whose meshes are searched for every fault, which takes longer than making them."""
RESULT = ROOT / "quality" / "several_pictures.json"
_SIDE = 512
Image = NDArray[np.float64]


def _silent(*_: object, **__: object) -> None:
    """Report to nobody."""


def _script(name: str, *arguments: str) -> dict[str, Any]:
    """Run one of the measures and return its JSON line."""
    run = subprocess.run(
        [sys.executable, str(METRICS / name), *arguments], capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


def draw(model: Path, word: str, folder: Path) -> Path:
    """Draw a model from one side, in its plain colours."""
    view, picture = WORDS[word], folder / f"{model.stem}.{word}.png"
    place = ("--yaw", str(view.yaw), "--pitch", str(view.pitch), "--size", str(_SIDE))
    _script("render.py", str(model), str(picture), *place)
    return picture


def boxed(picture: Image) -> Image:
    """Cut a picture ``(h, w, 4)`` (0–1) to the square around what is seen, at 512²; colours on black."""
    rows, columns = (np.flatnonzero((picture[..., 3] > 0.5).any(axis=axis)) for axis in (1, 0))
    cut = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    cut[..., :3] *= cut[..., 3:]
    side = max(cut.shape[:2])
    square = np.zeros((side, side, 4))
    top, left = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return np.asarray(cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR), dtype=np.float64)


def look_at(asset: Asset, view: Viewpoint) -> Image:
    """Return a textured model as a camera far away sees it, unlit, cut to the square around it."""
    part = asset.parts[0]
    mesh, texture = part.mesh, part.material.base_color_texture
    points = mesh.vertices.astype(np.float64)
    across, up = points @ view.across, points @ view.up
    half = max(np.ptp(across), np.ptp(up)) / 2
    grid = ((np.arange(_SIDE) + 0.5) / _SIDE * 2 - 1) * half
    x = (across.min() + across.max()) / 2 + grid
    y = (up.min() + up.max()) / 2 - grid
    far = float((points @ view.towards).max()) + 1.0
    start = y[:, None, None] * view.up + x[None, :, None] * view.across + far * view.towards
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
    origins = np.ascontiguousarray(start.reshape(-1, 3), dtype=np.float32)
    rays = np.ascontiguousarray(np.broadcast_to(-view.towards.astype(np.float32), origins.shape))
    hit = scene.run(origins, rays, output=1)
    seen = np.flatnonzero(hit["primID"] >= 0)
    image = np.zeros((_SIDE * _SIDE, 4))
    if mesh.uv is not None and texture is not None:
        u, v = hit["u"][seen].astype(np.float64), hit["v"][seen].astype(np.float64)
        corner = mesh.faces[hit["primID"][seen].astype(np.int64)]
        share = np.stack([1 - u - v, u, v], axis=1)
        uv = np.einsum("kc,kcd->kd", share, mesh.uv[corner])
        color = np.asarray(sample_texture(texture, uv.astype(np.float32)), dtype=np.float64)[:, :3]
        image[seen, :3] = color / 255.0 if color.max() > 1.5 else color
    image[seen, 3] = 1.0
    return image.reshape(_SIDE, _SIDE, 4)


def compare(picture: Image, model: Image) -> tuple[float, float]:
    """Return the overlap of two outlines, and the PSNR within both in dB, over white."""
    first, second = picture[..., 3] > 0.5, model[..., 3] > 0.5
    either = first | second
    white = [one[..., :3] + 1.0 - one[..., 3:] for one in (picture, model)]
    error = float(((white[0] - white[1]) ** 2)[either].mean())
    return float((first & second).sum() / either.sum()), float(-10 * np.log10(max(error, 1e-10)))


def measure(
    engine: Engine, truth: Path, pictures: Mapping[str, Path], words: Sequence[str]
) -> dict[str, Any]:
    """Make a model of some of the pictures and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(InputFile("image", pictures[word], "image/png", f"{word}.png") for word in words)
        request = EngineRequest("image_to_textured_mesh", {"views": list(words)}, files, Path(folder))
        start = time.perf_counter()
        path = engine.run(request, _silent).outputs[0].path
        seconds = time.perf_counter() - start
        shape = _script("image3d_metrics.py", "--mesh", str(path), "--gt", str(truth), "--no-icp")
        validity = _script("mesh_validity.py", str(path)) if words in VALIDATED else {}
        if validity:
            validity["self_intersecting_faces"] = count_crossings(path)
        asset = read_mesh(path)
    overlap, colors = {}, []
    for word in dict.fromkeys((*words, *ROUND)):
        picture = boxed(decode_image(pictures[word]).astype(np.float64) / 255.0)
        iou, psnr = compare(picture, look_at(asset, WORDS[word]))
        if word in words:
            overlap[word] = round(iou, 4)
        if word in ROUND:
            colors.append(psnr)
    row: dict[str, Any] = {"model": truth.stem, "pictures": len(words), "seconds": round(seconds, 2)}
    row |= {name: round(float(shape[name]), 4) for name in ("cd", "f05", "log_depth")}
    row |= {"iou_given": round(statistics.fmean(overlap.values()), 4), "iou": overlap}
    row["psnr_round"] = round(statistics.fmean(colors), 2)
    return row | {
        name: validity[name] for name in (*VALIDITY_FIGURES, "self_intersecting_faces") if name in validity
    }


def _is_valid(row: Mapping[str, Any]) -> bool:
    return bool(row["watertight"] and row["edge_manifold"] and not row["self_intersecting_faces"])


def main() -> int:
    """Measure every model with every set of pictures, print the means and write the result."""
    data = SHARED / "data"
    if not METRICS.is_dir() or not all((data / model).exists() for model in MODELS):
        print("quality/several_pictures: the models and measures are not here; nothing measured")
        return 0
    engine = engines()[0]
    engine.load()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            pictures = {word: draw(data / model, word, Path(folder)) for word in SETS[-1]}
            rows += [measure(engine, data / model, pictures, words) for words in SETS]
            print(
                f"{Path(model).stem:18} " + "  ".join(f"{row['cd']:.3f}" for row in rows[-len(SETS) :]),
                flush=True,
            )
    figures = ("cd", "f05", "log_depth", "iou_given", "psnr_round", "seconds")
    means = {}
    for words in SETS:
        chosen = [row for row in rows if row["pictures"] == len(words)]
        means[", ".join(words)] = {
            name: round(statistics.fmean(row[name] for row in chosen), 4) for name in figures
        }
        if words in VALIDATED:
            means[", ".join(words)]["valid"] = sum(_is_valid(row) for row in chosen)
    result = {"engine": engine.describe().id, "models": len(MODELS), "means": means, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(means, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
