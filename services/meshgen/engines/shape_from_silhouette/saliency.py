"""Find the object in front of a busy background: what stands out, then GrabCut."""

from __future__ import annotations

import cv2
import numpy as np

from services.meshgen.engines.shape_from_silhouette.background import Field, Mask, Pixels, frame_of, palette

_SALIENCY_SIDE = 224
_CUT_SIDE = 384
"""Longest sides at which saliency is judged and GrabCut runs: enough for parts, fast enough."""
_CENTRE_SPREAD = 0.55
"""Standard deviation of the prior on the object's place, as a share of half the picture."""
_ROUNDS = 2
_CUT_STEPS = 4


def find_salient(rgb: Pixels) -> Mask:
    """Mark what stands out of ``rgb (h, w, 3)``, at the size of the picture."""
    height, width = rgb.shape[:2]
    small = _fit(rgb, _CUT_SIDE)
    likely = _resized(saliency(_fit(rgb, _SALIENCY_SIDE)), small.shape[:2])
    mask = _grab(small, likely)
    return _resized(mask.astype(np.float32), (height, width)) > 0.5


def saliency(rgb: Pixels) -> Field:
    """Measure from 0 to 1 how much each pixel stands out from the border of the picture.

    Two signs count: colours that the border does not have, and being walled off from the border
    (minimum barrier distance, Zhang et al. 2015). Things also tend to stand in the middle.
    """
    calm = cv2.GaussianBlur(rgb, (0, 0), 1.5).astype(np.float32) * np.float32(1 / 255)
    lab = np.asarray(cv2.cvtColor(calm, cv2.COLOR_RGB2Lab), dtype=np.float32)
    height, width = lab.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    middle = np.exp(-(x * x + y * y) / (2 * _CENTRE_SPREAD**2))
    strange = _scaled(_strangeness(lab))
    walled = _scaled(_barrier(lab))
    return _scaled((strange + walled) * (0.25 + 0.75 * middle))


def _strangeness(lab: Field) -> Field:
    """Measure how unlikely each colour is among those of the border."""
    frame = frame_of(*lab.shape[:2])
    colors = lab[frame].astype(np.float64)
    centres, label = palette(colors)
    flat = lab.reshape(-1, 3).astype(np.float64)
    best = np.full(len(flat), np.inf)
    for index, centre in enumerate(centres):
        own = colors[label == index]
        share = len(own) / len(colors)
        if share < 0.02:
            continue
        spread = np.cov(own.T) + 6.0 * np.eye(3)
        off = flat - centre
        squared = np.einsum("nd,nd->n", off @ np.linalg.inv(spread), off)
        best = np.minimum(best, squared + np.log(np.linalg.det(spread)) - 2.0 * np.log(share))
    floor = float(np.percentile(best.reshape(lab.shape[:2])[frame], 20))
    return np.sqrt(np.clip(best - floor, 0.0, 60.0)).reshape(lab.shape[:2]).astype(np.float32)


def _barrier(lab: Field) -> Field:
    """Return how much the colour must change at least on the way from the border to each pixel."""
    total = np.zeros(lab.shape[:2], dtype=np.float32)
    for channel in range(3):
        plane = np.ascontiguousarray(lab[..., channel])
        high, low = plane.copy(), plane.copy()
        cost = np.full(plane.shape, np.float32(1e6))
        cost[0] = cost[-1] = cost[:, 0] = cost[:, -1] = 0.0
        for _ in range(_ROUNDS):
            _sweep(plane, cost, high, low)
            _sweep(plane[::-1], cost[::-1], high[::-1], low[::-1])
            _sweep(plane.T, cost.T, high.T, low.T)
            _sweep(plane.T[::-1], cost.T[::-1], high.T[::-1], low.T[::-1])
        total += cost
    return total


def _sweep(plane: Field, cost: Field, high: Field, low: Field) -> None:
    """Carry paths from each row to the next, in place."""
    for row in range(1, len(plane)):
        top = np.maximum(high[row - 1], plane[row])
        bottom = np.minimum(low[row - 1], plane[row])
        reached = top - bottom
        better = reached < cost[row]
        cost[row] = np.where(better, reached, cost[row])
        high[row] = np.where(better, top, high[row])
        low[row] = np.where(better, bottom, low[row])


def _grab(rgb: Pixels, likely: Field) -> Mask:
    """Run GrabCut (Rother et al. 2004) from what stands out."""
    level, _ = cv2.threshold((likely * 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    threshold = float(level) / 255
    labels = np.where(likely > threshold, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[likely > threshold + 0.6 * (1 - threshold)] = cv2.GC_FGD
    labels[likely < 0.35 * threshold] = cv2.GC_BGD
    labels[frame_of(*labels.shape) & (likely < threshold)] = cv2.GC_BGD
    if not (labels & 1).any() or (labels & 1).all():
        return np.zeros(likely.shape, dtype=bool)
    # GrabCut starts its colour models from OpenCV's own random numbers.
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    cv2.grabCut(bgr, labels, (0, 0, 1, 1), background, foreground, _CUT_STEPS, cv2.GC_INIT_WITH_MASK)
    return np.asarray(labels & 1, dtype=bool)


def _scaled(values: Field) -> Field:
    low, high = np.percentile(values, (2, 98))
    scaled = (values - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)


def _fit(rgb: Pixels, side: int) -> Pixels:
    scale = side / max(rgb.shape[:2])
    if scale >= 1.0:
        return rgb
    size = (max(round(rgb.shape[1] * scale), 1), max(round(rgb.shape[0] * scale), 1))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _resized(field: Field, shape: tuple[int, ...]) -> Field:
    return np.asarray(cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
