"""The texture keeps its promises: the picture in front, no face behind, nothing stretched, nothing random."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from maquette.geometry.raster import rasterize
from maquette.geometry.textures import sample_texture
from maquette.geometry.topology import face_normals
from services.meshgen.engines.shape_from_silhouette.backside import guess_back
from services.meshgen.engines.shape_from_silhouette.matting import Cutout, cut_out
from services.meshgen.engines.shape_from_silhouette.shape import Shape, build_shape, guess_solid
from services.meshgen.engines.shape_from_silhouette.texture import paint, spread_colors
from services.meshgen.engines.shape_from_silhouette.unwrap import Atlas, unwrap

Pixels = NDArray[np.uint8]
SKIN, SHIRT, INK, PRINT = (224, 172, 130), (40, 70, 160), (15, 15, 20), (250, 220, 40)


def _person(side: int = 420) -> Pixels:
    """Draw a head with eyes and mouth on a shirt with a print, transparent around."""
    rgba = np.zeros((side, side, 4), np.uint8)
    unit = side / 420

    def ellipse(
        x: float, y: float, half_width: float, half_height: float, color: tuple[int, int, int]
    ) -> None:
        centre, axes = (
            (round(x * unit), round(y * unit)),
            (round(half_width * unit), round(half_height * unit)),
        )
        cv2.ellipse(rgba, centre, axes, 0, 0, 360, (*color, 255), -1)

    ellipse(210, 290, 110, 115, SHIRT)
    ellipse(210, 105, 90, 88, SKIN)
    for x in (175, 245):
        ellipse(x, 95, 14, 20, INK)
    ellipse(210, 145, 34, 8, INK)
    ellipse(210, 300, 42, 42, PRINT)
    return rgba


@pytest.fixture(scope="module")
def person() -> Cutout:
    return cut_out(_person())


@pytest.fixture(scope="module")
def model(person: Cutout) -> tuple[Shape, Atlas, Pixels]:
    shape = build_shape(guess_solid(person, "low"))
    atlas = unwrap(shape, 1024)
    return shape, atlas, paint(atlas, shape, person)


def _seen_from_behind(shape: Shape, atlas: Atlas, texture: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    """Draw the model as it is seen from the back, in the picture's pixels (not mirrored)."""
    flat, depth = shape.placement.to_pixels(atlas.vertices), shape.placement.depth(atlas.vertices)
    size = (int(flat[:, 1].max()) + 2, int(flat[:, 0].max()) + 2)
    texels = rasterize(flat[atlas.faces], size)
    corner = atlas.faces[texels.faces]
    near = np.einsum("kc,kc->k", texels.barycentric, depth[corner])
    order = np.argsort(-near, kind="stable")
    uv = np.einsum("kc,kcd->kd", texels.barycentric, atlas.texels[corner]) / atlas.side
    color = sample_texture(texture, uv.astype(np.float32))[:, :3]
    image, owned = np.zeros((*size, 3), np.uint8), np.zeros(size, dtype=bool)
    image[texels.rows[order], texels.columns[order]] = color[order]
    owned[texels.rows, texels.columns] = True
    return image, owned


def _near(image: NDArray[np.floating] | Pixels, color: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(image.astype(int) - color).max(axis=2) < 50)


def test_the_front_of_the_texture_is_the_picture(person: Cutout, model: tuple[Shape, Atlas, Pixels]) -> None:
    """Look at the model from the camera: each texel met is the picture's own pixel."""
    shape = model[0]
    atlas = unwrap(shape, 800)
    texture = paint(atlas, shape, person)
    front = atlas.chart == 0
    seen = rasterize(shape.placement.to_pixels(atlas.vertices)[atlas.faces[front]], person.alpha.shape)
    texel = np.einsum("kc,kcd->kd", seen.barycentric, atlas.texels[atlas.faces[front][seen.faces]])
    shown = texture[texel[:, 1].astype(int), texel[:, 0].astype(int)].astype(int)
    solid = cv2.erode((person.alpha > 0.95).astype(np.uint8), np.ones((7, 7), np.uint8))
    sure = solid[seen.rows, seen.columns] > 0
    difference = np.abs(shown - person.rgb[seen.rows, seen.columns])[sure].max(axis=1)
    assert sure.sum() > 0.6 * (person.alpha > 0.5).sum()
    assert (difference <= 2).mean() > 0.99


def test_at_a_whole_scale_the_front_chart_copies_pixels(
    person: Cutout, model: tuple[Shape, Atlas, Pixels]
) -> None:
    shape = model[0]
    atlas = unwrap(shape, 800)
    assert (atlas.front.width, atlas.front.height) == (atlas.crop.width, atlas.crop.height)
    box, crop = atlas.front, atlas.crop
    chart = paint(atlas, shape, person)[box.y : box.y + box.height, box.x : box.x + box.width]
    sharp = spread_colors(person).sharp
    assert np.array_equal(chart, sharp[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width])


def test_the_back_has_the_colours_of_the_front_but_no_face_and_no_print(
    model: tuple[Shape, Atlas, Pixels],
) -> None:
    image, owned = _seen_from_behind(*model)
    assert not _near(image, INK)[owned].any() and not _near(image, PRINT)[owned].any()
    head, body = image[: len(image) // 3], image[len(image) // 2 :]
    assert _near(head, SKIN)[owned[: len(image) // 3]].mean() > 0.7
    assert _near(body, SHIRT)[owned[len(image) // 2 :]].mean() > 0.7


def test_colours_go_on_round_the_rim(person: Cutout) -> None:
    """Stripes that reach the outline meet themselves behind it."""
    striped = person.rgb.copy()
    rows = np.arange(len(striped)) // 40 % 2 == 0
    striped[rows], striped[~rows] = (200, 30, 30), (240, 240, 230)
    back = guess_back(striped, person.alpha)
    inside = cv2.erode((person.alpha > 0.5).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    middle = np.zeros_like(inside)
    # Not on the borders between stripes, where a picture is never sharp.
    middle[np.flatnonzero(np.abs(np.arange(len(striped)) % 40 - 20) < 8)] = True
    chosen = inside & middle
    distance = np.abs(back.astype(int) - striped)[chosen].max(axis=1)
    assert np.median(distance) < 30 and (distance < 70).mean() > 0.85


def test_light_and_shade_do_not_meet_behind(person: Cutout) -> None:
    """Lit from one side, a thing of one colour has one colour behind."""
    lit = np.empty_like(person.rgb)
    light = np.linspace(0.45, 1.0, lit.shape[1])[None, :, None]
    lit[:] = np.array((70, 190, 60)) * light
    back = guess_back(lit, person.alpha).astype(int)
    inside = cv2.erode((person.alpha > 0.5).astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    columns = np.flatnonzero(inside.any(axis=0))
    third = len(columns) // 3
    left, right = (
        back[:, part][inside[:, part]].mean(axis=0) for part in (columns[:third], columns[-third:])
    )
    front = np.ptp(light[0, columns, 0]) * 190
    assert np.abs(left - right).max() < 0.35 * front


def test_what_is_busy_all_over_looks_the_same_behind() -> None:
    rng = np.random.default_rng(2)
    bricks = np.kron(rng.integers(40, 220, (40, 40)), np.ones((12, 12)))[..., None] * (1.0, 0.8, 0.6)
    rows, columns = np.mgrid[:480, :480]
    alpha = ((rows - 240) ** 2 + (columns - 240) ** 2 < 200**2).astype(np.float32)
    front = bricks.astype(np.uint8)
    back = guess_back(front, alpha)
    alike = np.abs(back.astype(int) - front)[alpha > 0.5].max(axis=1) < 25
    assert alike.mean() > 0.7


def test_no_chart_is_folded_or_drawn_out(model: tuple[Shape, Atlas, Pixels]) -> None:
    """Every chart keeps its faces turned one way and none is seen from so aslant that it smears."""
    shape, atlas, _ = model
    corner = atlas.texels[atlas.faces]
    one, two = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    flat = -(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
    area = np.linalg.norm(face_normals(shape.vertices, shape.faces), axis=1)
    # Few faces may lie aslant where two directions meet; none may be upside down in the picture.
    assert (flat[atlas.chart == 0] > 0).all() and (flat > 0).mean() > 0.995
    density = flat[atlas.chart > 0] / area[atlas.chart > 0]
    assert (density < 0.2 * np.median(density)).mean() < 0.02


def test_charts_share_no_texel(model: tuple[Shape, Atlas, Pixels]) -> None:
    _, atlas, _ = model
    texels = rasterize(atlas.texels[atlas.faces], (atlas.side, atlas.side))
    key = texels.rows * atlas.side + texels.columns
    inner = texels.barycentric.min(axis=1) > 1e-3
    _, uses = np.unique(key[inner], return_counts=True)
    assert (uses > 1).mean() < 0.01


def test_texels_around_an_island_continue_it(model: tuple[Shape, Atlas, Pixels]) -> None:
    _, atlas, texture = model
    texels = rasterize(atlas.texels[atlas.faces], (atlas.side, atlas.side))
    owned = np.zeros((atlas.side, atlas.side), np.uint8)
    owned[texels.rows, texels.columns] = 1
    ring = (cv2.dilate(owned, np.ones((5, 5), np.uint8)) > 0) & (owned == 0)
    nearest = cv2.dilate(texture * owned[..., None], np.ones((7, 7), np.uint8)).astype(int)
    assert ring.any() and (texture[ring] <= nearest[ring] + 8).all(axis=1).mean() > 0.97


def test_equal_input_gives_an_equal_texture(person: Cutout, model: tuple[Shape, Atlas, Pixels]) -> None:
    shape, _, texture = model
    assert np.array_equal(paint(unwrap(shape, 1024), shape, person), texture)
