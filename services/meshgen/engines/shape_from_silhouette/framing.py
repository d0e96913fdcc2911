"""The picture of the object, brought to the middle of a square of a given size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.background import to_lab
from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]

_ROOM = 16
"""Empty pixels on each side of the object."""
_FINER = 3.0
"""How much finer than asked for a large picture is first reduced to, which saves memory and blurs nothing."""


def framed(
    rgb: Pixels, alpha: NDArray[np.float32], silhouette: Silhouette, side: int
) -> tuple[Values, Values]:
    """Return Lab ``(n, n, 3)`` and share ``(n, n)`` of the object, ``side`` pixels along its longest side.

    ``rgb (h, w, 3)`` and ``alpha (h, w)`` are the cut-out that ``silhouette`` was sampled from. Beyond
    the outline the nearest colour goes on, so that the outline is an edge of the share alone.
    """
    color, weight = _reduced(rgb, alpha, max(int(silhouette.unit / (_FINER * side)), 1))
    # Reduced or not, a pixel's middle lies half a pixel from its corner.
    reduced = np.array([color.shape[1] / rgb.shape[1], color.shape[0] / rgb.shape[0]])
    scale, whole = side / silhouette.unit / reduced, side + 2 * _ROOM
    shift = whole / 2 - 0.5 - scale * (reduced * np.array(silhouette.centre) - 0.5)
    turn = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    image = np.concatenate([to_lab(color) * weight[..., None], weight[..., None]], axis=2)
    if scale[0] < 1.0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 / float(scale[0])))
    small = np.asarray(cv2.warpAffine(image, turn, (whole, whole), flags=cv2.INTER_LINEAR), dtype=np.float64)
    share = small[..., 3]
    inside = share > 0.5
    _, labels = cv2.distanceTransformWithLabels(
        1 - inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = np.zeros((int(labels.max()) + 1, 3))
    palette[labels[inside]] = small[inside, :3] / share[inside, None]
    return palette[labels], share


def _reduced(rgb: Pixels, alpha: NDArray[np.float32], factor: int) -> tuple[Pixels, NDArray[np.float32]]:
    """Reduce a cut-out about ``factor`` times; its colours are those of the object alone."""
    if factor < 2:
        return rgb, alpha
    size = (max(rgb.shape[1] // factor, 1), max(rgb.shape[0] // factor, 1))
    solid = np.round(alpha * 255.0).astype(np.uint8)
    shown = cv2.multiply(rgb, cv2.merge([solid, solid, solid]), scale=1.0 / 255.0)
    weight = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    color = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    color /= np.maximum(weight, 1.0 / 255.0)[..., None]
    return np.clip(color + 0.5, 0.0, 255.0).astype(np.uint8), weight
