"""Find the object of a picture: from its alpha channel, or by telling it from its background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maquette.runtime.errors import InvalidArgument
from services.meshgen.engines.shape_from_silhouette.background import (
    Field,
    Ground,
    Mask,
    Pixels,
    axes,
    border_is_explained,
    fit_grounds,
    to_lab,
)
from services.meshgen.engines.shape_from_silhouette.edges import refine
from services.meshgen.engines.shape_from_silhouette.keying import key_out
from services.meshgen.engines.shape_from_silhouette.pieces import (
    Pieces,
    fill_pinholes,
    main_object,
    touched_sides,
)
from services.meshgen.engines.shape_from_silhouette.saliency import find_salient

_BACKGROUND_SIDE = 512
"""Longest side in pixels at which the background is modelled."""
_COARSE_SIDE = 1024
"""Longest side in pixels at which the object is looked for."""
_MAX_OBJECT_SIDE = 2048
"""Longest side in pixels of the cut-out; a larger one is reduced."""
_MIN_TRANSPARENT = 0.01
"""Share of clearly transparent pixels from which on alpha is believed to be the matte."""
_MIN_ALPHA_RANGE = 64
"""Levels between background and object below which alpha tells nothing."""
_MIN_SHARE, _MAX_SHARE = 0.002, 0.97
"""A matte below or above these shares of the picture shows no object."""
_KEY_REACH, _CUT_REACH = 0.003, 0.005
"""How far an outline may be off, as shares of the longest side: keyed, and cut by colour."""

NO_OBJECT = (
    "No object could be told from the background of the picture. "
    "Use a picture with a plain background, or one with transparency."
)
NOTHING_VISIBLE = "The picture shows nothing: its visible part is too small."
BUSY = "The background is not plain; the outline of the object may be off in places."
CUT_OFF = "The object reaches the edge of the picture; what lies beyond it is missing."
SEVERAL = "The picture shows several objects; the main one was taken and {} left out."


@dataclass(frozen=True, slots=True)
class Cutout:
    """The object, cut to the box around it.

    ``rgb (h, w, 3) uint8`` and ``alpha (h, w) float32`` in 0–1, with :attr:`margin` empty
    pixels on each side. ``matted`` tells whether the matte was guessed, ``warnings`` what the
    sender of the picture should know.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    margin: int
    matted: bool
    warnings: tuple[str, ...] = ()


def cut_out(rgba: Pixels) -> Cutout:
    """Cut the main object out of ``rgba (h, w, 4)``.

    Raises :class:`InvalidArgument` (INVALID_INPUT_FILE) when there is no object to be seen.
    """
    alpha = _believable(rgba[..., 3])
    return _cut_opaque(rgba) if alpha is None else _cut_transparent(rgba, alpha)


def _believable(alpha: Pixels) -> Pixels | None:
    """Stretch alpha between its background and its object level; None when it tells nothing.

    Some programs leave a veil on what should be empty, or never quite reach full opacity.
    """
    counts = np.bincount(alpha.ravel(), minlength=256)
    level = np.arange(256)
    split = max(int(level[counts > 0][-1]) // 2, 1)
    if counts[:split].sum() < _MIN_TRANSPARENT * alpha.size:
        return None
    empty, solid = _median_level(counts[:split]), split + _median_level(counts[split:])
    if solid - empty < _MIN_ALPHA_RANGE:
        return None
    table = np.clip(np.round((level - empty) * (255.0 / (solid - empty))), 0, 255).astype(np.uint8)
    stretched = table[alpha]
    return stretched if float((stretched < 128).mean()) >= _MIN_TRANSPARENT else None


def _median_level(counts: NDArray[np.int64]) -> int:
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))


def _cut_transparent(rgba: Pixels, alpha: Pixels) -> Cutout:
    _require_object(alpha >= 128, NOTHING_VISIBLE, 1.0)
    pieces = main_object(_reduced(alpha, _COARSE_SIDE) >= 48)
    kept = _resized(pieces.kept.astype(np.uint8), (alpha.shape[1], alpha.shape[0]), cv2.INTER_NEAREST)
    # Half-transparent pixels around the object are part of its soft outline.
    near = cv2.dilate(kept, _disc(2 * max(1, max(alpha.shape) // _COARSE_SIDE)))
    alpha = np.where(np.asarray(near) > 0, alpha, np.uint8(0))
    _require_object(alpha >= 128, NOTHING_VISIBLE, 1.0)
    box = _box(alpha >= 128, 0)
    rgb, matte = _reduced_object(rgba[..., :3][box], alpha[box])
    matte32 = matte.astype(np.float32) / np.float32(255)
    return _with_margin(rgb, matte32, matted=False, warnings=_warnings(pieces))


def _cut_opaque(rgba: Pixels) -> Cutout:
    """Key the object out of a smooth ground, else cut it out of a busy background."""
    rgb = np.ascontiguousarray(rgba[..., :3])
    small = to_lab(_reduced(rgb, _BACKGROUND_SIDE), 1.0)
    grounds = fit_grounds(small)
    smooth = border_is_explained(small, grounds)
    coarse = _reduced(rgb, _COARSE_SIDE)
    pieces = _find(coarse, grounds if smooth else ())
    if smooth and float(pieces.kept.mean()) > _MAX_SHARE:
        smooth, pieces = False, _find(coarse, ())
    _require_object(pieces.kept, NO_OBJECT)
    # Room around the object, because refining may move its edge outwards.
    full = _resized(pieces.kept.astype(np.uint8), (rgb.shape[1], rgb.shape[0]), cv2.INTER_LINEAR)
    box = _box(full > 0, round(0.03 * max(rgb.shape)))
    crop = _reduced(rgb[box])
    mask = _resized(full[box], (crop.shape[1], crop.shape[0]), cv2.INTER_LINEAR) > 0
    if smooth and max(rgb.shape) > _COARSE_SIDE:
        mask = _keyed_again(crop, mask, grounds, box, rgb.shape)
    reach = max(2, round((_KEY_REACH if smooth else _CUT_REACH) * max(crop.shape)))
    matte = refine(crop, mask, reach)
    _require_object(matte > 0.5, NO_OBJECT, 1.0)
    inner = _box(matte > 0.5, 0)
    warnings = (*(() if smooth else (BUSY,)), *_warnings(pieces))
    return _with_margin(crop[inner], matte[inner], matted=True, warnings=warnings)


def _find(rgb: Pixels, grounds: tuple[Ground, ...]) -> Pieces:
    """Find the main object in front of smooth grounds, or of a busy background where none are given."""
    if grounds:
        return main_object(key_out(rgb, grounds, *axes(*rgb.shape[:2])))
    calm = cv2.medianBlur(find_salient(rgb).astype(np.uint8), 5) > 0
    pieces = main_object(calm)
    return Pieces(fill_pinholes(pieces.kept, 0.002), pieces.others)


def _keyed_again(
    crop: Pixels, coarse: Mask, grounds: tuple[Ground, ...], box: tuple[slice, slice], shape: tuple[int, ...]
) -> Mask:
    """Key a crop at its own resolution and keep what hangs together with the coarse object."""
    height, width = crop.shape[:2]
    rows = np.linspace(box[0].start, min(box[0].stop, shape[0]), 2 * height + 1)[1::2]
    columns = np.linspace(box[1].start, min(box[1].stop, shape[1]), 2 * width + 1)[1::2]
    x, y = (columns / shape[1] * 2 - 1).astype(np.float32), (rows / shape[0] * 2 - 1).astype(np.float32)
    fine = key_out(crop, grounds, x, y)
    count, labels = cv2.connectedComponents(fine.astype(np.uint8), connectivity=8)
    own = np.zeros(count, dtype=bool)
    own[np.unique(np.asarray(labels)[coarse])] = True
    own[0] = False
    return own[np.asarray(labels)]


def _warnings(pieces: Pieces) -> tuple[str, ...]:
    warnings = []
    if pieces.others:
        warnings.append(
            SEVERAL.format("another was" if pieces.others == 1 else f"{pieces.others} others were")
        )
    if 0 < touched_sides(pieces.kept) < 4:
        warnings.append(CUT_OFF)
    return tuple(warnings)


def _shows_object(mask: Mask, largest: float = _MAX_SHARE) -> bool:
    return _MIN_SHARE <= float(mask.mean()) <= largest


def _require_object(mask: Mask, message: str, largest: float = _MAX_SHARE) -> None:
    if not _shows_object(mask, largest):
        raise InvalidArgument(message, reason="INVALID_INPUT_FILE")


def _box(mask: Mask, room: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold a mask, with ``room`` pixels more on each side."""
    sides = []
    for axis in (1, 0):
        filled = np.flatnonzero(mask.any(axis=axis))
        stop = min(int(filled[-1]) + 1 + room, mask.shape[1 - axis])
        sides.append(slice(max(int(filled[0]) - room, 0), stop))
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


def _reduced_object(rgb: Pixels, alpha: Pixels) -> tuple[Pixels, Pixels]:
    """Reduce colours and alpha together: hidden colours do not bleed in and thin parts stay whole."""
    if max(alpha.shape) <= _MAX_OBJECT_SIDE:
        return np.ascontiguousarray(rgb), alpha
    weighted = cv2.multiply(rgb, cv2.merge([alpha] * 3), scale=1 / 255)
    small = _reduced(np.asarray(weighted, dtype=np.uint8)).astype(np.float32)
    share = _reduced(alpha)
    color = np.clip(small * (255.0 / np.maximum(share, 1)[..., None]) + 0.5, 0, 255).astype(np.uint8)
    # A line of one pixel would fade to half its alpha and fall apart.
    opened = cv2.morphologyEx(alpha, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    lines = np.asarray(cv2.subtract(alpha, opened), dtype=np.uint8)
    thin = _reduced(lines).astype(np.float32)
    grown = thin * np.float32(max(alpha.shape) / max(share.shape))
    return color, np.maximum(share, np.clip(grown, 0, 255).astype(np.uint8))


def _with_margin(rgb: Pixels, matte: Field, *, matted: bool, warnings: tuple[str, ...]) -> Cutout:
    margin = max(4, round(0.03 * max(matte.shape)))
    return Cutout(
        rgb=np.pad(rgb, ((margin, margin), (margin, margin), (0, 0))),
        alpha=np.pad(matte, margin),
        margin=margin,
        matted=matted,
        warnings=warnings,
    )


def _disc(radius: int) -> Pixels:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(kernel, dtype=np.uint8)
