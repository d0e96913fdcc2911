"""Find the object of a picture: from its alpha channel, or by telling it from its background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maquette.runtime.errors import InvalidArgument

_WORK_SIDE = 512
"""Longest side in pixels at which object and background are told apart."""
_MAX_OBJECT_SIDE = 2048
"""Longest side in pixels of the cut-out; a larger one is reduced."""
_MIN_TRANSPARENT = 0.01
"""Share of clearly transparent pixels from which on alpha is believed to be the matte."""
_SHADOW_FROM = 0.68
"""Share of the object's height, from above, below which dark patches are taken for its shadow."""
_MIN_SHARE, _MAX_SHARE = 0.002, 0.97
"""A matte below or above these shares of the picture shows no object."""


Pixels = NDArray[np.uint8]
Matte = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cutout:
    """The object, cut to the box around it.

    ``rgb (h, w, 3) uint8`` and ``alpha (h, w) float32`` in 0–1, with :attr:`margin` empty
    pixels on each side. ``matted`` tells whether the matte was guessed.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    margin: int
    matted: bool


def cut_out(rgba: Pixels) -> Cutout:
    """Cut the object out of ``rgba (h, w, 4)``.

    Raises :class:`InvalidArgument` (INVALID_INPUT_FILE) when there is no object to be seen.
    """
    alpha = rgba[..., 3]
    if float((alpha < 128).mean()) < _MIN_TRANSPARENT:
        return _cut_opaque(rgba)
    _require_object(alpha >= 128, "The picture shows nothing: its visible part is too small.", 1.0)
    box = _box(alpha >= 128, 0)
    rgb, matte = _reduced(rgba[..., :3][box]), _reduced(alpha[box])
    return _with_margin(rgb, matte.astype(np.float32) / np.float32(255), matted=False)


def _cut_opaque(rgba: Pixels) -> Cutout:
    """Tell object and background apart at 512 px, then refine the edge on the cut-out."""
    rgb = np.ascontiguousarray(rgba[..., :3])
    small = _reduced(rgb, _WORK_SIDE)
    mask = _grab(small, _background_distance(small))
    _require_object(
        mask,
        "No object could be told from the background of the picture. "
        "Use a picture with a plain background, or one with transparency.",
    )
    mask = _main_pieces(mask)
    full = _resized(mask.astype(np.uint8) * np.uint8(255), (rgb.shape[1], rgb.shape[0]), cv2.INTER_LINEAR)
    # Room around the object, because refining may move its edge outwards.
    box = _box(full > 127, round(0.02 * max(full.shape)))
    rgb, coarse = _reduced(rgb[box]), _reduced(full[box])
    radius = max(2, round(0.008 * max(coarse.shape)))
    matte = _refine(rgb, coarse.astype(np.float32) / np.float32(255), radius)
    inner = _box(matte > 0.5, 0)
    return _with_margin(rgb[inner], matte[inner], matted=True)


def _require_object(mask: NDArray[np.bool_], message: str, largest: float = _MAX_SHARE) -> None:
    if not _MIN_SHARE <= float(mask.mean()) <= largest:
        raise InvalidArgument(message, reason="INVALID_INPUT_FILE")


def _box(mask: NDArray[np.bool_], room: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold a mask, with ``room`` pixels more on each side."""
    sides = []
    for axis in (1, 0):
        filled = np.flatnonzero(mask.any(axis=axis))
        sides.append(slice(max(int(filled[0]) - room, 0), int(filled[-1]) + 1 + room))
    return sides[0], sides[1]


def _resized(image: Pixels, size: tuple[int, int], how: int) -> Pixels:
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)


def _reduced(image: Pixels, side: int = _MAX_OBJECT_SIDE) -> Pixels:
    """Reduce an image whose longest side is over ``side`` pixels."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return _resized(np.ascontiguousarray(image), size, cv2.INTER_AREA)


def _with_margin(rgb: Pixels, matte: Matte, *, matted: bool) -> Cutout:
    margin = max(4, round(0.03 * max(matte.shape)))
    return Cutout(
        rgb=np.pad(rgb, ((margin, margin), (margin, margin), (0, 0))),
        alpha=np.pad(matte, margin),
        margin=margin,
        matted=matted,
    )


def _background_distance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure how far each pixel is from the background that the border suggests.

    A second-order polynomial per Lab channel is fitted to a frame of border pixels, twice,
    the second time without outliers (an object that touches the border). Darkening alone
    counts less than a change of colour, because a shadow is background.
    """
    calm = cv2.GaussianBlur(rgb, (0, 0), 1.0).astype(np.float32) / 255.0
    lab = np.asarray(cv2.cvtColor(calm, cv2.COLOR_RGB2Lab), dtype=np.float32)
    height, width = lab.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    frame = np.zeros((height, width), dtype=bool)
    band = max(2, round(0.03 * max(height, width)))
    frame[:band] = frame[-band:] = frame[:, :band] = frame[:, -band:] = True
    rows, colors = basis[frame], lab[frame]
    keep = np.linalg.norm(colors - np.median(colors, axis=0), axis=1)
    chosen = keep <= np.percentile(keep, 80)
    for _ in range(2):
        fit, *_ = np.linalg.lstsq(rows[chosen], colors[chosen], rcond=None)
        error = np.linalg.norm(colors - rows @ fit, axis=1)
        chosen = error <= np.percentile(error, 85)
    noise = max(float(error[chosen].std() + np.median(error[chosen])), 1.0)
    difference = lab - (basis @ fit).astype(np.float32)
    lightness, a, b = difference[..., 0], difference[..., 1], difference[..., 2]
    mild = np.where((lightness < 0) & (lightness > -35.0), 0.3 * lightness, lightness)
    plain = np.sqrt(mild**2 + 1.5 * (a**2 + b**2)) / noise
    # Below, where things stand, a shadow may be much darker; higher up that would be the object.
    filled = np.flatnonzero((plain > 6.0).mean(axis=1) > 0.01)
    if len(filled):
        foot = int(filled[0] + _SHADOW_FROM * (filled[-1] - filled[0]))
        dark = _shadowed(rgb, difference, lab)
        dark[:foot] = False
        plain = np.where(dark, np.sqrt((0.25 * lightness) ** 2 + 1.5 * (a**2 + b**2)) / noise, plain)
    return np.asarray(plain, dtype=np.float32)


def _shadowed(rgb: Pixels, difference: Matte, lab: Matte) -> NDArray[np.bool_]:
    """Find pixels that are the background's own colour, only darker, down to a quarter of its light."""
    behind = np.asarray(cv2.cvtColor(lab - difference, cv2.COLOR_Lab2RGB), dtype=np.float32)
    color = rgb.astype(np.float32) / np.float32(255)
    power = np.maximum((behind * behind).sum(axis=2), 1e-4)
    share = (color * behind).sum(axis=2) / power
    tint = np.linalg.norm(color - share[..., None] * behind, axis=2) / np.sqrt(power)
    return np.asarray((share < 1.0) & (share > 0.25) & (tint < 0.06))


def _grab(rgb: NDArray[np.uint8], distance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Run GrabCut (Rother et al. 2004) from what the border model is sure of."""
    clipped = np.clip(distance, 0, 40)
    threshold = max(3.0, _otsu(clipped))
    if float(clipped.max()) < 4.0:
        return np.zeros(distance.shape, dtype=bool)
    likely = distance > threshold
    labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    side = max(distance.shape)
    core = cv2.erode(likely.astype(np.uint8), _disc(max(1, side // 100)))
    labels[(core > 0) & (distance > 1.6 * threshold)] = cv2.GC_FGD
    near = cv2.dilate(likely.astype(np.uint8), _disc(max(2, side // 25)))
    labels[(near == 0) | (distance < 0.35 * threshold)] = cv2.GC_BGD
    if not (labels & 1).any() or (labels & 1).all():
        return likely
    # GrabCut starts its colour models from OpenCV's own random numbers.
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(rgb[..., ::-1].copy(), labels, (0, 0, 1, 1), background, foreground, 4, cv2.GC_INIT_WITH_MASK)
    return np.asarray(labels & 1, dtype=bool)


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold that splits values best into two classes (Otsu 1979)."""
    scaled = np.round(values * (255.0 / 40.0)).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # Half of it: the object's own colours spread wider than the background's.
    return 0.5 * float(level) * 40.0 / 255.0


def _main_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest piece and those of at least 4 % of it; fill pinholes."""
    smooth = cv2.medianBlur(mask.astype(np.uint8) * 255, 5)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (smooth > 127).astype(np.uint8), connectivity=8
    )
    if count < 2:
        return mask
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    area[0] = 0
    kept = np.isin(labels, np.flatnonzero(area >= 0.04 * area.max()))
    holes, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    small = [index for index in range(1, holes) if stats[index, cv2.CC_STAT_AREA] < 0.002 * kept.sum()]
    return np.asarray(kept | np.isin(labels, small), dtype=bool)


def _refine(rgb: NDArray[np.uint8], mask: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Pull the edge of a coarse mask to the picture's own edge (guided filter, He et al. 2010)."""
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, window), dtype=np.float32)

    guide_mean, mask_mean = mean(guide), mean(mask)
    variance = mean(guide * guide) - guide_mean**2
    slope = (mean(guide * mask) - guide_mean * mask_mean) / (variance + 1e-3)
    offset = mask_mean - slope * guide_mean
    soft = mean(slope) * guide + mean(offset)
    # The filter may leave a veil far from the edge, where the coarse mask is right.
    soft = np.clip((soft - 0.5) * 2.0 + 0.5, 0.0, 1.0)
    sure = cv2.blur(mask, (4 * radius + 1, 4 * radius + 1))
    return np.where(sure > 0.98, 1.0, np.where(sure < 0.02, 0.0, soft)).astype(np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(kernel, dtype=np.uint8)
