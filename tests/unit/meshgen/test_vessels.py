"""Round things seen from above: the rim tells the pitch, what it encloses is hollow, the handle stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.crossings import self_intersections
from services.meshgen.engines.shape_from_silhouette.matting import Cutout
from services.meshgen.engines.shape_from_silhouette.rim import Rim, find_rim
from services.meshgen.engines.shape_from_silhouette.shape import Shape, build_shape, guess_solid
from services.meshgen.engines.shape_from_silhouette.silhouette import sample
from services.meshgen.engines.shape_from_silhouette.texture import paint
from services.meshgen.engines.shape_from_silhouette.unwrap import unwrap

SIDE = 360
RADIUS, HEIGHT = 90.0, 150.0
BLUE, LIT, WHITE, BROWN, RED = (50, 80, 170), (100, 130, 215), (235, 230, 220), (110, 60, 25), (190, 40, 30)

Color = tuple[int, int, int]


class Easel:
    """Draws level circles as they are seen from ``pitch`` degrees above; the axis stands at x = 150."""

    def __init__(self, pitch: float) -> None:
        self.rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
        self.inside = np.zeros((SIDE, SIDE), bool)
        self.sine, self.cosine = np.sin(np.radians(pitch)), np.cos(np.radians(pitch))
        self.y, self.x = np.mgrid[:SIDE, :SIDE] + 0.5

    def disc(self, radius: float, height: float) -> NDArray[np.bool_]:
        """Return where a disc at a height above the ground is seen."""
        middle = 270.0 - self.cosine * height
        return np.asarray(
            ((self.x - 150) / radius) ** 2 + ((self.y - middle) / (radius * self.sine)) ** 2 < 1
        )

    def paint(self, where: NDArray[np.bool_], color: Color, shaded: bool = True) -> None:
        """Lay a colour on, lighter from the left if ``shaded``."""
        light = 1.1 - 0.3 * self.x / SIDE if shaded else np.ones_like(self.x)
        self.rgb[where] = np.clip(np.array(color) * light[..., None], 0, 255)[where].astype(np.uint8)
        self.inside |= where

    def cutout(self) -> Cutout:
        """Return what was drawn."""
        return Cutout(self.rgb, self.inside.astype(np.float32), 1, False)


def _wall(easel: Easel, color: Color, foot: float = 70.0, top: float = HEIGHT, low: float = 0.0) -> None:
    for height in np.linspace(low, top, 300):
        share = (height - low) / (top - low)
        easel.paint(easel.disc(foot + (RADIUS - foot) * share, height), color)


def _handle(easel: Easel) -> None:
    away = np.hypot(easel.x - 235, (easel.y - 270 + easel.cosine * 75) / 1.1)
    easel.paint((away > 32) & (away < 50) & (easel.x > 225), BLUE)


def _cup(pitch: float, handle: bool = False) -> Cutout:
    easel = Easel(pitch)
    if handle:
        _handle(easel)
    _wall(easel, BLUE)
    easel.paint(easel.disc(RADIUS, HEIGHT), LIT)
    easel.paint(easel.disc(80.0, HEIGHT), WHITE)
    easel.paint(easel.disc(76.0, 115.0) & easel.disc(80.0, HEIGHT), BROWN)
    return easel.cutout()


def _drum(pitch: float = 35.0) -> Cutout:
    easel = Easel(pitch)
    _wall(easel, RED, foot=RADIUS)
    easel.paint(easel.disc(RADIUS, HEIGHT), WHITE, shaded=False)
    return easel.cutout()


def _cup_on_a_plate() -> Cutout:
    easel = Easel(45.0)
    easel.paint(easel.disc(145.0, 14.0), RED)
    _wall(easel, BLUE, foot=55.0, top=120.0)
    easel.paint(easel.disc(RADIUS, 120.0), LIT)
    easel.paint(easel.disc(80.0, 120.0), WHITE)
    easel.paint(easel.disc(72.0, 85.0) & easel.disc(80.0, 120.0), BROWN)
    return easel.cutout()


def _ball() -> Cutout:
    easel = Easel(30.0)
    easel.paint(np.asarray(np.hypot(easel.x - 150, easel.y - 180) < 110), RED)
    easel.paint(np.asarray(np.hypot(easel.x - 115, easel.y - 140) < 20), WHITE)
    return easel.cutout()


def _rimmed_face() -> Cutout:
    """An egg with eyes and a mouth: its outline is an ellipse, but nothing goes on below it."""
    easel = Easel(50.0)
    easel.paint(easel.disc(110.0, 120.0), WHITE)
    for x in (110.0, 190.0):
        easel.paint(np.asarray(np.hypot(easel.x - x, easel.y - 180) < 15), BROWN)
    easel.paint(np.asarray((np.abs(easel.x - 150) < 40) & (np.abs(easel.y - 225) < 5)), BROWN)
    return easel.cutout()


def _model(cutout: Cutout) -> Shape:
    return build_shape(guess_solid(cutout, "low"))


def _rim(cutout: Cutout) -> Rim | None:
    return find_rim(cutout.rgb, cutout.alpha, sample(cutout.alpha, 256))


def _euler_number(shape: Shape) -> int:
    edges = np.unique(np.sort(shape.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    return len(shape.vertices) - len(edges) + len(shape.faces)


def _height_on_the_axis(shape: Shape) -> float:
    """Return the height of the surface over the middle of the thing, as a share of the whole."""
    assert shape.turned is not None
    away = np.hypot(*(shape.vertices[:, [0, 2]] - shape.turned.axis).T)
    return float(shape.vertices[away < 0.12, 1].max() / shape.vertices[:, 1].max())


@pytest.mark.parametrize("pitch", [22.0, 35.0, 55.0])
def test_the_rim_tells_from_how_far_above_a_cup_is_seen(pitch: float) -> None:
    assert abs(_model(_cup(pitch)).camera.pitch - pitch) < 2.0


@pytest.mark.parametrize("pitch", [22.0, 35.0, 55.0])
def test_a_cup_seen_from_above_is_hollow_down_to_what_is_in_it(pitch: float) -> None:
    assert abs(_height_on_the_axis(_model(_cup(pitch))) - 115.0 / HEIGHT) < 0.1


def test_a_cup_seen_from_above_is_as_deep_as_it_is_wide_and_stands_on_its_foot() -> None:
    low, high = (lambda v: (v.min(axis=0), v.max(axis=0)))(_model(_cup(35.0)).vertices)
    width, height, depth = high - low
    assert abs(depth / width - 1.0) < 0.05
    assert abs(height / width - HEIGHT / (2 * RADIUS)) < 0.08


def test_the_handle_of_a_cup_seen_from_above_is_kept_with_its_hole() -> None:
    plain, held = _model(_cup(35.0)), _model(_cup(35.0, handle=True))
    assert _euler_number(plain) == 2 and _euler_number(held) == 0
    assert held.turned is not None
    assert np.ptp(held.vertices[:, 0]) > 1.15 * np.ptp(held.vertices[held.turned.vertices, 2])


def test_what_is_lit_evenly_within_its_rim_is_closed() -> None:
    assert _height_on_the_axis(_model(_drum())) > 0.97


def test_a_cup_on_a_plate_is_a_hollow_cup_on_a_flat_plate() -> None:
    shape = _model(_cup_on_a_plate())
    assert shape.turned is not None
    away = np.hypot(*(shape.vertices[:, [0, 2]] - shape.turned.axis).T)
    top = shape.vertices[:, 1].max()
    assert away[shape.vertices[:, 1] > 0.35 * top].max() < 0.7 * away.max()
    assert _height_on_the_axis(shape) < 0.85


@pytest.mark.parametrize("other", [_ball, _rimmed_face])
def test_what_has_a_round_outline_but_no_rim_is_no_vessel(other: Callable[[], Cutout]) -> None:
    assert _rim(other()) is None


@pytest.mark.parametrize("picture", [lambda: _cup(35.0, handle=True), _cup_on_a_plate, _drum])
def test_vessels_are_sound(picture: Callable[[], Cutout]) -> None:
    shape = _model(picture())
    directed = shape.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert np.array_equal(np.unique(directed, axis=0), np.unique(directed[:, ::-1], axis=0))
    assert len(self_intersections(shape.vertices.astype(np.float64), shape.faces.astype(np.int64))) == 0


def test_the_hidden_wall_of_a_cup_is_painted_as_the_one_that_is_seen() -> None:
    cutout = _cup(35.0)
    shape = _model(cutout)
    atlas = unwrap(shape, 512)
    texture = paint(atlas, shape, cutout)
    column, row = np.clip(np.floor(atlas.texels).astype(int), 0, 511).T
    colors = texture[row, column].astype(int)
    middle = shape.vertices[:, 1].max() * np.array([0.2, 0.7])
    place = atlas.vertices
    behind = (place[:, 2] < -0.35) & (place[:, 1] > middle[0]) & (place[:, 1] < middle[1])
    assert behind.sum() > 50
    assert (np.abs(colors[behind] - BLUE).max(axis=1) < 60).mean() > 0.9
