"""The object is found: in front of what, among what, and down to its thinnest part."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from maquette.runtime.errors import InvalidArgument
from services.meshgen.engines.shape_from_silhouette.matting import BUSY, CUT_OFF, Cutout, cut_out

Pixels = NDArray[np.uint8]
SIDE = 480


def _mug(color: tuple[int, int, int] = (190, 60, 40)) -> Pixels:
    """Draw a mug with a handle to look through, a pattern and an antenna of one pixel."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    cv2.ellipse(rgba, (330, 260), (62, 66), 0, 0, 360, (*color, 255), 24)
    cv2.rectangle(rgba, (130, 150), (320, 390), (*color, 255), -1)
    for x in range(150, 310, 40):
        cv2.rectangle(rgba, (x, 190), (x + 18, 350), (240, 200, 90, 255), -1)
    cv2.rectangle(rgba, (180, 60), (180, 150), (30, 30, 40, 255), -1)
    return rgba


def _on(ground: NDArray[np.floating], thing: Pixels) -> Pixels:
    alpha = thing[..., 3:] / 255.0
    flat = thing[..., :3] * alpha + ground * (1 - alpha)
    opaque = np.full((*flat.shape[:2], 1), 255, np.uint8)
    return np.concatenate([np.clip(flat + 0.5, 0, 255).astype(np.uint8), opaque], axis=2)


def _grounds() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j][..., None]
    noise = rng.normal(0, 2.0, (SIDE, SIDE, 3))
    blobs = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE, 3)), (0, 0), 5)
    pebbles = np.array([105.0, 125.0, 110.0]) + blobs / blobs.std() * (26, 24, 26)
    return {
        "plain": 228 + noise,
        "gradient": np.array([70.0, 110, 160]) * (1 - y) + np.array([225.0, 215, 200]) * y + noise,
        "vignette": np.array([235.0, 233, 228]) * (1 - 0.5 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)) + noise,
        "horizon": np.where(y < 0.6, np.array([196.0, 205, 214]), np.array([120.0, 140, 95])) + noise,
        "busy": pebbles,
    }


def _overlap(cutout: Cutout, wanted: NDArray[np.bool_]) -> float:
    """Return the IoU of a matte with the truth, both cut to their boxes."""
    rows, columns = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
    truth = wanted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    margin = cutout.margin
    found = cutout.alpha[margin:-margin, margin:-margin]
    mask = np.asarray(cv2.resize(found, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)) > 0.5
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize(
    ("kind", "least"),
    [("plain", 0.97), ("gradient", 0.97), ("vignette", 0.97), ("horizon", 0.96), ("busy", 0.88)],
)
def test_the_object_is_told_from_its_background(kind: str, least: float) -> None:
    thing = _mug()
    thing[:145, :, 3] = 0
    cutout = cut_out(_on(_grounds()[kind], thing))
    assert cutout.matted and _overlap(cutout, thing[..., 3] > 127) > least
    assert (BUSY in cutout.warnings) == (kind == "busy")


def test_an_antenna_of_one_pixel_and_the_hole_of_a_handle_are_kept() -> None:
    cutout = cut_out(_on(_grounds()["plain"], _mug()))
    mask = cutout.alpha > 0.5
    height = np.flatnonzero(mask.any(axis=1))
    assert height[-1] - height[0] + 1 == pytest.approx(391 - 60, abs=4), "the antenna's whole length"
    antenna = mask[height[0] : height[0] + 80]
    assert antenna.any(axis=1).all() and antenna.sum(axis=1).max() <= 4
    count, _, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    assert count == 3, "outside, the handle's hole and nothing else"
    assert 4_000 < stats[1:, cv2.CC_STAT_AREA].min() < 9_000


def test_a_line_of_one_pixel_in_a_large_picture_survives_the_reduction() -> None:
    rgba = np.zeros((4096, 1024, 4), np.uint8)
    rgba[2000:4000, 200:800] = (50, 90, 160, 255)
    rgba[40:2000, 500] = (30, 30, 30, 255)
    cutout = cut_out(rgba)
    assert max(cutout.alpha.shape) < 2400
    mask = cutout.alpha[cutout.margin : -cutout.margin] > 0.5
    assert mask.any(axis=1).all() and mask[:900].sum(axis=1).max() <= 3


def test_a_soft_shadow_is_not_part_of_the_object() -> None:
    thing = _mug()
    thing[:145, :, 3] = 0
    y, x = np.mgrid[:SIDE, :SIDE]
    shade = 1 - 0.5 * np.exp(-(((x - 260) / 130) ** 4) - ((y - 392) / 22) ** 2)
    cutout = cut_out(_on(_grounds()["plain"] * shade[..., None], thing))
    assert _overlap(cutout, thing[..., 3] > 127) > 0.96


@pytest.mark.parametrize("transparent", [True, False])
def test_of_several_objects_the_main_one_is_taken_and_the_others_are_told(transparent: bool) -> None:
    picture = np.zeros((SIDE, 2 * SIDE, 4), np.uint8)
    picture[:, 180 : 180 + SIDE] = _mug()
    picture[:150, :, 3] = 0
    cv2.circle(picture, (800, 300), 70, (40, 90, 190, 255), -1)
    wanted = picture[..., 3] > 127
    wanted[:, 700:] = False
    ground = np.full((SIDE, 2 * SIDE, 3), 235.0)
    cutout = cut_out(picture if transparent else _on(ground, picture))
    assert _overlap(cutout, wanted) > 0.97
    assert [warning for warning in cutout.warnings if "several objects" in warning]


def test_a_loose_leaf_above_the_object_belongs_to_it() -> None:
    picture = _mug()
    picture[:145, :, 3] = 0
    picture[138:142, 200:230] = (40, 160, 60, 255)
    cutout = cut_out(picture)
    assert not cutout.warnings and _overlap(cutout, picture[..., 3] > 127) > 0.99


def test_dirt_and_a_veil_in_the_alpha_channel_are_ignored() -> None:
    clean = _mug()
    wanted = clean[..., 3] > 127
    dirty = clean.copy()
    dirty[..., 3] = np.where(wanted, 244, 20)
    dirty[5:7, 5:7, 3] = dirty[470:472, 3:5, 3] = 255
    cutout = cut_out(dirty)
    assert not cutout.matted and _overlap(cutout, wanted) > 0.99
    inside = cutout.alpha[cutout.margin : -cutout.margin, cutout.margin : -cutout.margin]
    assert inside.max() == 1.0 and (inside < 0.02).sum() > 0.2 * inside.size


def test_an_alpha_channel_that_hides_nothing_is_not_believed() -> None:
    picture = _on(_grounds()["plain"], _mug())
    picture[..., 3] = 251
    cutout = cut_out(picture)
    assert cutout.matted and _overlap(cutout, _mug()[..., 3] > 127) > 0.95


def test_an_object_that_leaves_the_picture_is_found_and_told() -> None:
    thing = np.roll(_mug(), 110, axis=0)
    thing[:110] = 0
    cutout = cut_out(_on(_grounds()["gradient"], thing))
    assert CUT_OFF in cutout.warnings and _overlap(cutout, thing[..., 3] > 127) > 0.95


def test_nothing_but_ground_is_no_object() -> None:
    empty = np.zeros((SIDE, SIDE, 4), np.uint8)
    for kind in ("plain", "gradient"):
        with pytest.raises(InvalidArgument, match="No object could be told") as error:
            cut_out(_on(_grounds()[kind], empty))
        assert error.value.reason == "INVALID_INPUT_FILE"


@pytest.mark.parametrize("kind", ["gradient", "busy"])
def test_equal_pictures_give_equal_mattes(kind: str) -> None:
    picture = _on(_grounds()[kind], _mug())
    cv2.setRNGSeed(17)
    first = cut_out(picture)
    cv2.setRNGSeed(4)
    second = cut_out(picture.copy())
    assert np.array_equal(first.alpha, second.alpha) and np.array_equal(first.rgb, second.rgb)
