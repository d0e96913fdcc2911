"""A face seen from the front: nostrils below eyes make a muzzle, and the back of the head shows no face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.backside import guess_back
from services.meshgen.engines.shape_from_silhouette.matting import Cutout, cut_out
from services.meshgen.engines.shape_from_silhouette.muzzle import find_muzzle
from services.meshgen.engines.shape_from_silhouette.shape import Shape, build_shape, guess_solid
from services.meshgen.engines.shape_from_silhouette.silhouette import sample

GREEN, WHITE, INK = (90, 170, 70), (245, 245, 240), (20, 30, 20)
NOSTRILS = 0.125
"""Distance of the nostrils as a share of the figure's height."""


def _beast(nostrils: bool = True) -> Cutout:
    """Draw a head with large eyes on a body with two feet, 400 pixels high."""
    rgba = np.zeros((440, 440, 4), np.uint8)

    def ellipse(x: int, y: int, half_width: int, half_height: int, color: tuple[int, int, int]) -> None:
        cv2.ellipse(rgba, (x, y), (half_width, half_height), 0, 0, 360, (*color, 255), -1)

    for side in (-1, 1):
        ellipse(220 + 60 * side, 400, 38, 20, GREEN)
    ellipse(220, 310, 90, 90, GREEN)
    ellipse(220, 130, 115, 110, GREEN)
    for side in (-1, 1):
        ellipse(220 + 45 * side, 90, 24, 28, WHITE)
        ellipse(220 + 45 * side, 92, 13, 14, INK)
        if nostrils:
            ellipse(220 + 25 * side, 145, 7, 8, INK)
    return cut_out(rgba)


def _front(shape: Shape, x: float, y: float) -> float:
    """Return how far forwards the surface is at a place of the picture, as a share of the height."""
    pixel = shape.placement.to_pixels(shape.vertices)
    near = np.hypot(pixel[:, 0] - x, pixel[:, 1] - y) < 10
    return float(shape.placement.depth(shape.vertices)[near].max() / np.ptp(shape.vertices[:, 1]))


def _model(cutout: Cutout) -> Shape:
    return build_shape(guess_solid(cutout, "low"))


def _place(cutout: Cutout, x: float, y: float) -> tuple[float, float]:
    """Take a place of the drawing to the cut-out."""
    rows, columns = (np.flatnonzero((cutout.alpha > 0.5).any(axis=axis)) for axis in (1, 0))
    return x - 105 + float(columns[0]), y - 20 + float(rows[0])


def test_nostrils_below_eyes_are_found_and_eyes_alone_are_none() -> None:
    beast, bald = _beast(), _beast(nostrils=False)
    muzzle = find_muzzle(beast.rgb, beast.alpha, sample(beast.alpha, 256))
    assert muzzle is not None
    assert abs(2 * muzzle.across - NOSTRILS) < 0.01 and abs(muzzle.x) < 0.01
    assert find_muzzle(bald.rgb, bald.alpha, sample(bald.alpha, 256)) is None


def test_a_muzzle_stands_out_of_the_face_farther_than_its_nostrils_are_apart() -> None:
    beast, bald = _beast(), _beast(nostrils=False)
    muzzled, plain = _model(beast), _model(bald)
    x, y = _place(beast, 220, 165)
    forehead = _place(beast, 220, 60)
    stands_out = _front(muzzled, x, y) - _front(muzzled, *forehead)
    assert stands_out - (_front(plain, x, y) - _front(plain, *forehead)) > NOSTRILS


def test_nostrils_and_eyes_leave_no_trace_on_the_back_of_the_head() -> None:
    beast, bald = _beast(), _beast(nostrils=False)
    back = guess_back(beast.rgb, beast.alpha).astype(float)
    for x, y in ((195, 145), (245, 145), (175, 92), (265, 92)):
        column, row = (round(value) for value in _place(bald, x, y))
        around = _patch(back, row, column, 30)
        assert np.abs(_patch(back, row, column, 5).mean(axis=(0, 1)) - around.mean(axis=(0, 1))).max() < 6.0
        assert around.std(axis=(0, 1)).max() < 12.0


def _patch(image: NDArray[np.float64], row: int, column: int, reach: int) -> NDArray[np.float64]:
    return image[row - reach : row + reach + 1, column - reach : column + reach + 1]
