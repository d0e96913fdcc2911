"""Draw the pictures in `docs/images` from the project's own samples: each beside its model, turned.

python scripts/pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maquette import samples
from maquette.geometry.codecs import read_mesh
from maquette.geometry.render import View, render
from maquette.runtime.engine import EngineRequest, InputFile
from services.meshgen.engines import engines

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
SIDE = 320
YAWS = (0.0, 40.0, 90.0, 180.0)


def tell(stage: str, fraction: float, message: str = "", **_: Any) -> None:
    """Nobody waits for this: keep quiet about progress."""


def model_of(picture: Path, folder: Path) -> Path:
    """Make the textured GLB of a picture and return its path."""
    request = EngineRequest(
        feature="image_to_textured_mesh",
        parameters={"output_format": "glb", "texture_resolution": 1024, "quality": "medium"},
        inputs=(InputFile("image", picture, "image/png", picture.name),),
        workdir=folder,
    )
    result = engines()[0].run(request, tell)
    return next(file.path for file in result.outputs if file.role == "mesh")


def on_white(pixels: np.ndarray[Any, Any]) -> Image.Image:
    """Lay a picture with transparency on white."""
    picture = Image.fromarray(pixels, "RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def main() -> None:
    """Draw one row a sample: the picture, then its model from the front, three-quarter, side and back."""
    OUT.mkdir(parents=True, exist_ok=True)
    engines()[0].load()
    rows = []
    for name in samples.NAMES:
        picture = samples.path(name)
        with tempfile.TemporaryDirectory() as folder:
            asset = read_mesh(model_of(picture, Path(folder)))
        source = np.asarray(
            Image.open(picture).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        )
        views = [render(asset, View(yaw=yaw, pitch=8.0, size=SIDE)) for yaw in YAWS]
        rows.append([on_white(np.array(tile)) for tile in (source, *views)])
    for tile, name in ((rows[0][0], "picture"), (rows[0][2], "model")):
        tile.save(OUT / f"{Path(samples.NAMES[0]).stem}-{name}.png", optimize=True)
    sheet = Image.new("RGB", (SIDE * (1 + len(YAWS)), SIDE * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet.paste(tile, (x * SIDE, y * SIDE))
    sheet.save(OUT / "image-to-3d.jpg", quality=88)


if __name__ == "__main__":
    main()
