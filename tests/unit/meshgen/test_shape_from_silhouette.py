"""The engine keeps its promises: closed meshes, the picture on the front, equal bytes for equal input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageDraw

from maquette import samples
from maquette.geometry.asset import Asset
from maquette.geometry.codecs import read_mesh
from maquette.geometry.raster import rasterize
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile
from maquette.runtime.errors import Cancelled, InvalidArgument
from services.meshgen.engines import engines
from services.meshgen.engines.shape_from_silhouette.matting import cut_out
from services.meshgen.engines.shape_from_silhouette.shape import build_shape, guess_solid

TEXTURED, RAW = "image_to_textured_mesh", "image_to_raw_mesh"
ENGINE = engines()[0]


def _doll(side: int = 320) -> Image.Image:
    """A figure with a hole, thin arms and a pattern that shows where each pixel goes."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    unit = side / 320
    for shape in ((110, 20, 210, 120), (100, 100, 220, 260)):
        draw.ellipse([value * unit for value in shape], fill=255)
    draw.rectangle([value * unit for value in (115, 240, 145, 300)], fill=255)
    draw.rectangle([value * unit for value in (175, 240, 205, 300)], fill=255)
    draw.line([value * unit for value in (110, 150, 30, 110)], fill=255, width=int(10 * unit))
    draw.ellipse([value * unit for value in (145, 160, 175, 190)], fill=0)
    y, x = np.mgrid[:side, :side]
    checks = np.stack([60 + 150 * ((x // 16 + y // 16) % 2), 255 * x // side, 255 * y // side], axis=2)
    image = Image.fromarray(checks.astype(np.uint8)).convert("RGBA")
    image.putalpha(mask)
    return image


@pytest.fixture(scope="module")
def doll(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "doll.png"
    _doll().save(path)
    return path


def _silent(*_: object, **__: object) -> None:
    """Report to nobody."""


def _run(picture: Path, workdir: Path, feature: str = TEXTURED, **parameters: object) -> EngineResult:
    workdir.mkdir(parents=True, exist_ok=True)
    parameters = {"quality": "low", "texture_resolution": 512, **parameters}
    request = EngineRequest(feature, parameters, (InputFile("image", picture, "", picture.name),), workdir)
    return ENGINE.run(request, _silent)


def _asset(result: EngineResult) -> Asset:
    return read_mesh(result.outputs[0].path)


def test_describing_the_engine_imports_no_heavy_library() -> None:
    code = (
        "import sys; from services.meshgen.engines import engines; "
        "d = engines()[0].describe(); "
        "print([m for m in ('numpy', 'cv2', 'scipy', 'PIL', 'embreex') if m in sys.modules], d.unavailable)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_textured_glb_is_closed_stands_on_the_ground_and_tells_the_truth(
    doll: Path, tmp_path: Path
) -> None:
    result = _run(doll, tmp_path)
    mesh, thumbnail = result.outputs
    assert (mesh.role, mesh.path.name, mesh.ordinal) == ("mesh", "model.glb", 0)
    assert (thumbnail.role, thumbnail.path.name) == ("thumbnail", "thumbnail.png")
    asset = _asset(result)
    part = asset.parts[0]
    assert result.info["vertex_count"] == len(part.mesh.vertices)
    assert result.info["face_count"] == len(part.mesh.faces)
    assert result.info["watertight"] and result.info["has_texture"] and result.info["thumbnail_generated"]
    assert result.info["file_size_bytes"] == mesh.path.stat().st_size
    low, high = part.mesh.vertices.min(axis=0), part.mesh.vertices.max(axis=0)
    assert low[1] == 0.0 and np.isclose(max(high - low), 1.0) and np.isclose(low[2], -high[2])
    other = trimesh.Trimesh(part.mesh.vertices, part.mesh.faces)
    assert other.is_watertight and other.is_winding_consistent and other.volume > 0.01
    assert other.euler_number == 0, "one hole through the body"


def test_the_outline_of_the_model_is_the_outline_of_the_picture(doll: Path) -> None:
    cutout = cut_out(np.asarray(Image.open(doll)))
    shape = build_shape(guess_solid(cutout, "medium"))
    seen = rasterize(shape.placement.to_pixels(shape.vertices)[shape.faces[shape.front]], cutout.alpha.shape)
    outline = np.zeros(cutout.alpha.shape, dtype=bool)
    outline[seen.rows, seen.columns] = True
    wanted = cutout.alpha > 0.5
    assert (outline & wanted).sum() / (outline | wanted).sum() > 0.98


@pytest.mark.parametrize("resolution", [256, 777])
def test_texture_resolution_is_honoured_exactly(doll: Path, tmp_path: Path, resolution: int) -> None:
    result = _run(doll, tmp_path, texture_resolution=resolution)
    texture = _asset(result).texture
    assert texture is not None and texture.shape[:2] == (resolution, resolution)
    assert result.info["texture_resolution"] == resolution


def test_zero_and_empty_take_the_defaults(doll: Path, tmp_path: Path) -> None:
    result = _run(doll, tmp_path, texture_resolution=0, quality="", output_format="")
    assert result.info["texture_resolution"] == 1024 and result.info["format"] == "glb"


def test_quality_sets_the_vertex_count(doll: Path, tmp_path: Path) -> None:
    counts = [
        _run(doll, tmp_path / quality, RAW, quality=quality).info["vertex_count"]
        for quality in ("low", "medium", "high")
    ]
    assert 7_000 < counts[0] < 14_000 < 30_000 < counts[1] < 50_000 < 90_000 < counts[2] < 150_000


def test_triangles_of_the_raw_mesh_are_even(doll: Path, tmp_path: Path) -> None:
    result = _run(doll, tmp_path, RAW)
    mesh = _asset(result).parts[0].mesh
    assert not result.info["has_texture"]
    edge = mesh.vertices[mesh.faces] - np.roll(mesh.vertices[mesh.faces], 1, axis=1)
    length = np.linalg.norm(edge, axis=2)
    ratio = length.min(axis=1) / length.max(axis=1)
    assert np.median(ratio) > 0.6 and np.percentile(ratio, 1) > 0.3


@pytest.mark.parametrize("output_format", ["glb", "obj", "ply", "stl"])
def test_each_format_is_delivered_closed(doll: Path, tmp_path: Path, output_format: str) -> None:
    result = _run(doll, tmp_path, output_format=output_format)
    roles = [output.role for output in result.outputs]
    extra = ["material", "texture"] if output_format == "obj" else []
    assert roles == ["mesh", *extra, "thumbnail"]
    assert result.info["watertight"] and result.outputs[0].path.suffix == f".{output_format}"
    assert result.info["has_texture"] == (output_format in ("glb", "obj"))
    assert len(result.warnings) == (output_format in ("ply", "stl"))


def test_equal_input_gives_equal_bytes_in_another_process(doll: Path, tmp_path: Path) -> None:
    result = _run(doll, tmp_path / "here")
    (tmp_path / "there").mkdir()
    code = (
        "import sys; from pathlib import Path; from services.meshgen.engines import engines; "
        "from maquette.runtime.engine import EngineRequest, InputFile; p = Path(sys.argv[1]); "
        "engines()[0].run(EngineRequest('image_to_textured_mesh', "
        "{'quality': 'low', 'texture_resolution': 512}, "
        "(InputFile('image', p, '', p.name),), Path(sys.argv[2])), lambda *a, **k: None)"
    )
    subprocess.run([sys.executable, "-c", code, str(doll), str(tmp_path / "there")], check=True)
    for output in result.outputs:
        assert output.path.read_bytes() == (tmp_path / "there" / output.path.name).read_bytes(), output.role


def test_the_thumbnail_shows_the_model_on_nothing(doll: Path, tmp_path: Path) -> None:
    image = np.asarray(Image.open(_run(doll, tmp_path).outputs[-1].path))
    assert image.shape == (512, 512, 4)
    assert image[0, 0, 3] == 0 and 0.15 < (image[..., 3] > 0).mean() < 0.9


def test_progress_names_every_stage_and_rises(doll: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, float | None]] = []
    request = EngineRequest(
        TEXTURED, {"quality": "low"}, (InputFile("image", doll, "", "doll.png"),), tmp_path
    )
    ENGINE.run(
        request, lambda stage, fraction, message="", *, eta=None, **_: told.append((stage, fraction, eta))
    )
    stages = [stage for stage, _, _ in told]
    assert stages == [
        "decoding", "matting", "shaping", "meshing", "unwrapping", "texturing", "exporting", "rendering",
    ]  # fmt: skip
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] < 1
    assert all(eta is not None and eta >= 0 for _, _, eta in told[1:])


def test_a_cancelled_run_stops_between_stages(doll: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def report(stage: str, fraction: float, message: str = "", **_: object) -> None:
        told.append(stage)
        if stage == "meshing":
            raise Cancelled("Job was cancelled")

    request = EngineRequest(TEXTURED, {}, (InputFile("image", doll, "", "doll.png"),), tmp_path)
    with pytest.raises(Cancelled):
        ENGINE.run(request, report)
    assert told[-1] == "meshing" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", samples.NAMES)
def test_the_sample_pictures_show_one_object(name: str) -> None:
    from maquette.geometry.images import decode_image

    path = samples.path(name)
    assert path.stat().st_size < 300_000
    cutout = cut_out(decode_image(path))
    assert cutout.matted == (name == "photo.jpg")
    assert 0.25 < (cutout.alpha > 0.5).mean() < 0.8
    shape = build_shape(guess_solid(cutout, "low"))
    pieces = trimesh.Trimesh(shape.vertices, shape.faces, process=False).split(only_watertight=False)
    assert len(pieces) == 1 and pieces[0].is_watertight


def test_an_object_is_told_from_a_plain_background(tmp_path: Path) -> None:
    """Noise, a gradient and a soft shadow are background; the matte is the doll's own alpha."""
    doll = np.asarray(_doll(400)).astype(float)
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:400, :400]
    ground = (235 - 30 * y / 400)[..., None] + rng.normal(0, 2.5, (400, 400, 3))
    ground *= 1 - 0.45 * np.exp(-(((x - 210) / 90) ** 2) - ((y - 375) / 10) ** 2)[..., None]
    alpha = doll[..., 3:] / 255
    flat = np.clip(doll[..., :3] * alpha + ground * (1 - alpha), 0, 255).astype(np.uint8)
    cutout = cut_out(np.dstack([flat, np.full((400, 400), 255, np.uint8)]))
    wanted = cut_out(np.asarray(_doll(400)))
    found = Image.fromarray(((cutout.alpha > 0.5) * 255).astype(np.uint8)).resize(wanted.alpha.shape[::-1])
    found_mask, true_mask = np.asarray(found) > 127, wanted.alpha > 0.5
    assert (found_mask & true_mask).sum() / (found_mask | true_mask).sum() > 0.9


def test_an_even_picture_has_no_object(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    Image.new("RGB", (200, 150), (180, 170, 160)).save(path)
    with pytest.raises(InvalidArgument, match="No object could be told from the background") as error:
        _run(path, tmp_path / "out")
    assert error.value.reason == "INVALID_INPUT_FILE"


def test_a_file_that_is_no_picture_is_the_callers_fault(tmp_path: Path) -> None:
    path = tmp_path / "letter.jpg"
    path.write_text("Dear Sir or Madam")
    with pytest.raises(InvalidArgument, match="not a picture") as error:
        _run(path, tmp_path / "out")
    assert error.value.reason == "INVALID_INPUT_FILE"


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_format": "fbx"},
        {"quality": "best"},
        {"texture_resolution": 100},
        {"texture_resolution": 5000},
    ],
)
def test_parameters_out_of_range_are_refused(doll: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        _run(doll, tmp_path, **wrong)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (600, 20), (20, 600)])
def test_small_and_narrow_pictures_still_make_a_closed_mesh(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bar.png"
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    image.paste((200, 120, 40, 255), (2, 2, width - 2, height - 2))
    image.save(path)
    result = _run(path, tmp_path / "out", texture_resolution=256)
    assert result.info["watertight"], json.dumps(dict(result.info))


def test_foliage_of_many_pieces_stays_closed(tmp_path: Path) -> None:
    """Specks that touch at corners are the hard case for a manifold surface."""
    rng = np.random.default_rng(11)
    coarse = rng.random((40, 40)) > 0.55
    alpha = np.kron(coarse, np.ones((8, 8))) * 255
    rgba = np.full((320, 320, 4), (60, 140, 50, 255), dtype=np.uint8)
    rgba[..., 3] = alpha
    path = tmp_path / "leaves.png"
    Image.fromarray(rgba).save(path)
    assert _run(path, tmp_path / "out").info["watertight"]
