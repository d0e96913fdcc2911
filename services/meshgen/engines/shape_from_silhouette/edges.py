"""Find how much of each pixel along the outline of an object belongs to it."""

from __future__ import annotations

import cv2
import numpy as np

from services.meshgen.engines.shape_from_silhouette.background import Field, Mask, Pixels

_MIN_CONTRAST = 0.03
"""Least distance of object and background (RGB 0–1) at which colours tell them apart."""
_ENOUGH = 0.02
"""Mean weight of near pixels from which on farther ones are not asked."""


def refine(rgb: Pixels, mask: Mask, reach: int) -> Field:
    """Return the matte ``(h, w) float32`` of a mask whose outline is off by up to ``reach`` pixels.

    Near the outline a pixel is taken for a mix of the object's colour next to it and the
    background's: its place on the line between both is its alpha. A part thinner than the
    reach has no inside; there the colour that stands out most is the object's.
    """
    solid = mask.astype(np.uint8)
    inner = cv2.erode(solid, _disc(reach))
    outer = cv2.dilate(solid, _disc(reach))
    band = outer > inner
    matte: Field = mask.astype(np.float32)
    if not band.any():
        return matte
    color = rgb.astype(np.float32) * np.float32(1 / 255)
    far = cv2.dilate(solid, _disc(3 * reach + 2))
    behind = _spread(color, ((far > 0) & (outer == 0)).astype(np.float32), reach + 1)
    apart = color - behind
    strength = np.sqrt(np.einsum("hwc,hwc->hw", apart, apart))
    # Pixels deep inside count in full, those of a thin part by how clearly they stand out.
    sure = inner.astype(np.float32)
    weight = sure + solid * (0.02 * strength**2 + 1e-5)
    object_color = _spread(color, weight, max(1, reach // 2))
    line = object_color - behind
    power = np.einsum("hwc,hwc->hw", line, line)
    along = np.einsum("hwc,hwc->hw", apart, line) / np.maximum(power, 1e-6)
    clear = np.clip(np.sqrt(power) / _MIN_CONTRAST - 1.0, 0.0, 1.0)
    soft = clear * np.clip(along, 0.0, 1.0) + (1.0 - clear) * matte
    return np.where(band, soft, matte).astype(np.float32)


def _spread(color: Field, weight: Field, radius: int) -> Field:
    """Average the weighted colours around each pixel, wider where none are near."""
    stack = np.dstack([color * weight[..., None], weight])
    near = _calm(stack, radius)
    small = cv2.resize(stack, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    far = cv2.resize(_calm(np.asarray(small), radius), (weight.shape[1], weight.shape[0]))
    share = np.clip(near[..., 3:] / _ENOUGH, 0.0, 1.0)
    close = near[..., :3] / np.maximum(near[..., 3:], 1e-9)
    wide = far[..., :3] / np.maximum(far[..., 3:], 1e-9)
    return np.asarray(share * close + (1.0 - share) * wide, dtype=np.float32)


def _calm(stack: Field, radius: int) -> Field:
    """Blur twice with a box, which comes near a Gaussian and costs the same at any width."""
    window = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.blur(cv2.blur(stack, window), window), dtype=np.float32)


def _disc(radius: int) -> Pixels:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(kernel, dtype=np.uint8)
