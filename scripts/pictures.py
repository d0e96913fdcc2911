"""Draw the pictures in `docs/images`: each source beside its model, seen from four sides.

python scripts/pictures.py                     the project's samples and, where they lie beside the
                                               repository, the CC0 models by Quaternius and KayKit
python scripts/pictures.py SHEET PICTURE...    a sheet of any pictures, for looking at
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maquette import samples
from maquette.geometry.codecs import read_mesh
from maquette.geometry.render import View, render
from maquette.runtime.engine import EngineRequest, InputFile
from services.meshgen.engines import engines

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "images"
CC0_PICTURES = ROOT.parent / "shared" / "data" / "image3d" / "gt"
CC0_NAMES = ("KK_Knight_y0p0", "Casual_y0p0", "Horse_y35p15", "Backpack_y35p15", "CommonTree_1_y0p0")
"""Renders of CC0 models: the knight by Kay Lousberg (KayKit), the others by Quaternius."""
SIDE = 240
PITCH = 8.0
YAWS = (0.0, 40.0, 90.0, 180.0, 270.0)
"""Degrees from the picture's own camera to the right."""


def tell(stage: str, fraction: float, message: str = "", **_: Any) -> None:
    """Nobody waits for this: keep quiet about progress."""


def model_of(picture: Path, folder: Path) -> tuple[Path, float]:
    """Make the textured GLB of a picture; return its path and the yaw of the picture's camera."""
    request = EngineRequest(
        feature="image_to_textured_mesh",
        parameters={"output_format": "glb", "texture_resolution": 1024, "quality": "medium"},
        inputs=(InputFile("image", picture, "", picture.name),),
        workdir=folder,
    )
    result = engines()[0].run(request, tell)
    for warning in result.warnings:
        print(f"{picture.name}: {warning}")
    camera = result.info.get("camera", {})
    return next(file.path for file in result.outputs if file.role == "mesh"), float(camera.get("yaw", 0.0))


def on_white(pixels: np.ndarray[Any, Any]) -> Image.Image:
    """Lay a picture with transparency on white."""
    picture = Image.fromarray(pixels, "RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def row_of(picture: Path) -> list[Image.Image]:
    """Return the picture and its model from the picture's camera, three-quarter, right, back and left."""
    with tempfile.TemporaryDirectory() as folder:
        path, yaw = model_of(picture, Path(folder))
        asset = read_mesh(path)
    source = Image.open(picture).convert("RGBA")
    source.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    tile = Image.new("RGBA", (SIDE, SIDE))
    tile.paste(source, ((SIDE - source.width) // 2, (SIDE - source.height) // 2))
    views = [render(asset, View(yaw=yaw + turn, pitch=PITCH, size=SIDE)) for turn in YAWS]
    return [on_white(np.array(view)) for view in (tile, *views)]


def sheet_of(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Lay rows of tiles on one sheet."""
    sheet = Image.new("RGB", (SIDE * (1 + len(YAWS)), SIDE * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet.paste(tile, (x * SIDE, y * SIDE))
    return sheet


def main() -> None:
    """Draw the sheet of the documents, or the one that is asked for."""
    engines()[0].load()
    if len(sys.argv) > 2:
        sheet_of([row_of(Path(name)) for name in sys.argv[2:]]).save(sys.argv[1])
        return
    OUT.mkdir(parents=True, exist_ok=True)
    rows = [row_of(samples.path(name)) for name in samples.NAMES]
    for tile, name in ((rows[0][0], "picture"), (rows[0][2], "model")):
        tile.save(OUT / f"{Path(samples.NAMES[0]).stem}-{name}.png", optimize=True)
    rows += [row_of(path) for name in CC0_NAMES if (path := CC0_PICTURES / f"{name}.png").is_file()]
    sheet_of(rows).save(OUT / "image-to-3d.jpg", quality=88)


if __name__ == "__main__":
    main()
