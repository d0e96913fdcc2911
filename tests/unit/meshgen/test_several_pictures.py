"""Several pictures of one thing: round stays round, boxes stay boxes, and each side wears its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maquette.geometry.asset import Asset, Material
from maquette.geometry.codecs import read_mesh
from maquette.geometry.textures import sample_texture
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile
from maquette.runtime.errors import InvalidArgument
from services.gateway.dialects.aigc.words import VIEWS
from services.meshgen.engines import engines
from services.meshgen.engines.shape_from_silhouette.hull.body import agreement, carve
from services.meshgen.engines.shape_from_silhouette.hull.frames import arrange
from services.meshgen.engines.shape_from_silhouette.hull.guess import guess_views
from services.meshgen.engines.shape_from_silhouette.hull.implied import implied_side
from services.meshgen.engines.shape_from_silhouette.hull.model import build_model
from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import (
    BACK,
    FRONT,
    LEFT,
    RIGHT,
    TOP,
    WORDS,
    name_of,
    parse_views,
)
from services.meshgen.engines.shape_from_silhouette.matting import cut_out
from services.meshgen.engines.shape_from_silhouette.nets import mesh_volume
from services.meshgen.engines.shape_from_silhouette.progress import RAW as RAW_SHARES
from services.meshgen.engines.shape_from_silhouette.progress import Progress

RAW, TEXTURED = "image_to_raw_mesh", "image_to_textured_mesh"
ENGINE = engines()[0]
Color = tuple[int, int, int]
GREY: Color = (150, 150, 150)
RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 160, 40), (40, 40, 200), (200, 190, 40)


def _picture(kind: str, width: float, height: float, color: Color = GREY, side: int = 200) -> Image.Image:
    """Draw one filled shape of a size given as shares of the picture."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    low = [(1 - width) / 2 * side, (1 - height) / 2 * side]
    box = [*low, low[0] + width * side - 1, low[1] + height * side - 1]
    getattr(ImageDraw.Draw(image), kind)(box, fill=(*color, 255))
    return image


def _ring(side: int = 240) -> Image.Image:
    image = _picture("ellipse", 0.9, 0.9, side=side)
    ImageDraw.Draw(image).ellipse([side * 0.3, side * 0.3, side * 0.7, side * 0.7], fill=(0, 0, 0, 0))
    return image


def _run(
    pictures: Sequence[Image.Image], folder: Path, feature: str = RAW, **parameters: object
) -> EngineResult:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, picture in enumerate(pictures):
        path = folder / f"in{number}.png"
        picture.save(path)
        files.append(InputFile("image", path, "image/png", path.name))
    parameters = {"quality": "low", "texture_resolution": 256, **parameters}
    return ENGINE.run(EngineRequest(feature, parameters, tuple(files), folder), lambda *_, **__: None)


def _asset(result: EngineResult) -> Asset:
    return read_mesh(result.outputs[0].path)


def _mesh(pictures: Sequence[Image.Image], views: Sequence[str], cells: int = 48) -> trimesh.Trimesh:
    cutouts = [cut_out(np.asarray(picture)) for picture in pictures]
    body = carve(arrange(cutouts, [WORDS[view] for view in views]), cells)
    net = mesh_volume(body.field)
    return trimesh.Trimesh(body.to_frame(net.vertices), net.faces, process=False)


def test_a_ball_seen_from_front_and_side_is_a_ball() -> None:
    disc = _picture("ellipse", 0.8, 0.8)
    ball = _mesh([disc, disc], ["front", "right"])
    assert ball.is_watertight
    radius = np.linalg.norm(ball.vertices - (0.0, 0.5, 0.0), axis=1)
    assert abs(radius.mean() - 0.5) < 0.01 and np.abs(radius - 0.5).max() < 0.03


def test_a_box_seen_from_front_and_side_is_a_box() -> None:
    front, right = _picture("rectangle", 0.5, 0.8), _picture("rectangle", 0.3, 0.8)
    box = _mesh([front, right], ["front", "right"])
    assert box.is_watertight
    assert np.allclose(box.extents, (0.625, 1.0, 0.375), atol=0.02)
    assert box.volume > 0.93 * np.prod(box.extents)


def test_a_picture_from_above_tells_a_can_from_a_box() -> None:
    side, lid = _picture("rectangle", 0.6, 0.6), _picture("ellipse", 0.6, 0.6)
    can = _mesh([side, side, lid], ["front", "right", "top"])
    assert can.volume == pytest.approx(np.pi / 4 * np.prod(can.extents), rel=0.04)


def test_a_ring_keeps_the_hole_that_only_the_side_shows() -> None:
    edge = _picture("ellipse", 0.25, 0.9, side=240)
    ring = _mesh([edge, _ring()], ["front", "right"])
    assert ring.is_watertight and ring.is_winding_consistent
    assert ring.euler_number == 0, "one hole"
    assert ring.extents[2] == pytest.approx(1.0, abs=0.03)


def test_every_outline_given_is_the_models_outline() -> None:
    pictures = [
        _picture("ellipse", 0.5, 0.9),
        _picture("rectangle", 0.7, 0.9),
        _picture("ellipse", 0.5, 0.7),
    ]
    cutouts = [cut_out(np.asarray(picture)) for picture in pictures]
    silhouettes = arrange(cutouts, [FRONT, RIGHT, TOP])
    body = carve(silhouettes, 48)
    assert min(agreement(body, one) for one in silhouettes) > 0.94


def test_pictures_of_different_sizes_agree_on_the_height() -> None:
    front = _picture("rectangle", 0.5, 0.8, side=120)
    right = _picture("rectangle", 0.3, 0.6, side=310)
    assert np.allclose(_mesh([front, right], ["front", "right"]).extents, (0.625, 1.0, 0.5), atol=0.03)


def test_a_slanted_picture_bounds_the_depth() -> None:
    """A post of half width .2 and half depth .4: seen from 45°, half as wide as √(.2² + .4²) · √½."""
    front, slanted = _picture("rectangle", 0.32, 0.8), _picture("rectangle", 0.506, 0.8)
    post = _mesh_of_slanted(front, slanted)
    assert post.extents[2] == pytest.approx(0.8, rel=0.12)


def _mesh_of_slanted(front: Image.Image, slanted: Image.Image) -> trimesh.Trimesh:
    cutouts = [cut_out(np.asarray(picture)) for picture in (front, slanted)]
    silhouettes = arrange(cutouts, [FRONT, WORDS["three_quarter"]])
    side = implied_side(silhouettes)
    assert side is not None
    body = carve([*silhouettes, side], 48)
    net = mesh_volume(body.field)
    return trimesh.Trimesh(body.to_frame(net.vertices), net.faces, process=False)


def _toy(view: str, side: int = 160) -> Image.Image:
    """A thing whose front is red, back blue, with a snout in front and a green cap."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw, unit = ImageDraw.Draw(image), side / 160

    def block(x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        draw.rectangle([value * unit for value in (x0, y0, x1, y1)], fill=(*color, 255))

    if view in ("front", "back"):
        block(50, 30, 110, 150, RED if view == "front" else BLUE)
        block(50, 10, 80 if view == "front" else 110, 40, GREEN)
        if view == "back":
            draw.rectangle([value * unit for value in (50, 10, 79, 29)], fill=(0, 0, 0, 0))
    elif view in ("right", "left"):
        block(60, 10, 130, 150, BLUE)
        block(60, 10, 95, 150, RED)
        block(20, 80, 60, 110, RED)
        block(60, 10, 130, 40, GREEN)
    else:
        block(50, 15, 110, 125, GREEN)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view == "left" else image


@pytest.mark.parametrize(
    "views", [["right", "back"], ["back", "left"], ["left", "right", "back"], ["top", "back", "right"]]
)
def test_views_are_guessed_in_any_order(views: list[str]) -> None:
    cutouts = {view: cut_out(np.asarray(_toy(view))) for view in ("front", *views)}
    for order in permutations(views):
        guessed = guess_views([cutouts["front"], *(cutouts[view] for view in order)])
        assert [name_of(view) for view in guessed] == ["front", *order]


def test_what_was_assumed_is_told(tmp_path: Path) -> None:
    pictures = [_toy("front"), _toy("back"), _toy("right")]
    result = _run(pictures, tmp_path / "guessed")
    assert result.info["views"] == ["front", "back", "right"] and not result.info["views_given"]
    assert any("front, back, right" in warning for warning in result.warnings)
    told = _run(pictures, tmp_path / "given", views=["front", "back", "right"])
    assert told.info["views_given"] and not told.warnings
    assert min(told.info["views_agreement"]) > 0.93


def test_pictures_that_do_not_agree_are_told(tmp_path: Path) -> None:
    front, back = _picture("ellipse", 0.8, 0.8), _picture("rectangle", 0.25, 0.8)
    result = _run([front, back], tmp_path, views=["front", "back"])
    assert any("Picture 2 (back) does not agree" in warning for warning in result.warnings)


def test_a_picture_of_other_colours_is_told(tmp_path: Path) -> None:
    pictures = [_picture("ellipse", 0.8, 0.8, RED), _picture("rectangle", 0.5, 0.8, BLUE)]
    result = _run(pictures, tmp_path, views=["front", "right"])
    assert any("other colours" in warning for warning in result.warnings)


def _cube() -> Mapping[str, Image.Image]:
    colors = {"front": RED, "right": GREEN, "back": BLUE, "left": YELLOW, "top": GREY, "bottom": (20, 20, 20)}
    return {view: _picture("rectangle", 0.6, 0.6, color) for view, color in colors.items()}


def _painted(asset: Asset, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean colour of the faces that look along a direction."""
    part = asset.parts[0]
    mesh, texture = part.mesh, part.material.base_color_texture
    assert mesh.uv is not None and texture is not None
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normal @ direction / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    uv = mesh.uv[mesh.faces[facing > 0.98]].mean(axis=1)
    colors: NDArray[np.float64] = np.asarray(sample_texture(texture, uv), dtype=np.float64)
    return np.asarray(colors[:, :3].mean(axis=0))


@pytest.mark.parametrize("count", [3, 6])
def test_each_side_wears_its_picture(count: int, tmp_path: Path) -> None:
    chosen = dict(list(_cube().items())[:count])
    result = _run(list(chosen.values()), tmp_path, TEXTURED, views=list(chosen))
    asset = _asset(result)
    assert result.info["has_texture"] and result.info["watertight"]
    scale = 255.0 if _painted(asset, FRONT.towards).max() <= 1.0 else 1.0
    for view, picture in chosen.items():
        wanted = np.asarray(picture)[100, 100, :3]
        assert np.abs(_painted(asset, WORDS[view].towards) * scale - wanted).max() < 50, view


def test_the_model_stands_on_the_ground_and_is_a_metre_long(tmp_path: Path) -> None:
    mesh = _asset(_run([_toy("front"), _toy("right")], tmp_path)).parts[0].mesh
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    assert low[1] == 0.0 and np.isclose((high - low).max(), 1.0)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    snout = mesh.vertices[mesh.vertices[:, 2] > low[2] + 0.8 * (high - low)[2]]
    assert np.ptp(snout[:, 1]) < 0.35, "the snout is in front, towards +Z"


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    pictures = [_toy("front"), _toy("right")]
    first, second = (_run(pictures, tmp_path / name, TEXTURED) for name in ("a", "b"))
    for one, other in zip(first.outputs, second.outputs, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


@pytest.mark.parametrize("target", [8_000, 20_000])
def test_the_vertex_count_follows_the_target(target: int) -> None:
    pictures = [_picture("ellipse", 0.8, 0.8), _picture("ellipse", 0.7, 0.8)]
    model = build_model(
        [cut_out(np.asarray(picture)) for picture in pictures],
        [FRONT, RIGHT],
        vertex_target=target,
        texture_side=0,
        plain=Material(name="clay"),
        progress=Progress(lambda *_, **__: None, RAW_SHARES),
    )
    assert model.asset.vertex_count == pytest.approx(target, rel=0.25)


@pytest.mark.parametrize(
    ("views", "pictures", "why"),
    [
        ([], 7, "one to 6"),
        ([], 0, "one to 6"),
        (["front"], 2, "each picture"),
        (["front", "behind"], 2, "behind"),
        (["front", "front"], 2, "twice"),
        (["front", "three_quarter", "45"], 3, "twice"),
        (["front", "400"], 2, "400"),
        (["top", "bottom"], 2, "from the side"),
        (["back"], 1, "single picture"),
    ],
)
def test_numbers_and_words_that_do_not_fit_are_refused(views: list[str], pictures: int, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        parse_views(views, pictures)


def test_words_and_degrees_name_the_same_places() -> None:
    assert parse_views(["0", "90", "180", "-90"], 4) == (FRONT, RIGHT, BACK, LEFT)
    assert parse_views(["front"], 1) == (FRONT,)


def test_seven_pictures_are_refused_before_any_work(tmp_path: Path) -> None:
    stages: list[str] = []
    picture = tmp_path / "missing.png"
    files = tuple(InputFile("image", picture, "image/png", "missing.png") for _ in range(7))
    with pytest.raises(InvalidArgument, match="7 were given"):
        ENGINE.run(EngineRequest(RAW, {}, files, tmp_path), lambda stage, *_, **__: stages.append(stage))
    assert not stages


def test_the_gateway_knows_the_words_that_the_engine_knows() -> None:
    assert set(VIEWS) == set(WORDS)
