"""What lies behind the object: a smooth ground, or the colours along the border of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FRAME_SHARE = 0.03
"""Width of the border that is taken for background, as a share of the longest side."""
_INLIER = 4.0
"""A border pixel belongs to a smooth ground when it is nearer than this in Lab."""
_CHROMA_WEIGHT = 1.5
"""Shading changes lightness more easily than colour, so colour counts more."""
_DARKEST_SHADOW = 0.25
"""A shadow leaves at least this share of the ground's light."""
_SHADOW_TINT = 0.06
_PALETTE = 8
_MAX_GROUNDS = 3
_SAMPLES = 4000
_GROWTH = 8
"""Rounds in which a fit takes in what goes on from it."""
_UNEXPLAINED, _LEAVING = 0.06, 0.35
"""Shares of the border that grounds need not explain: in general, and where the object lies."""
_MIN_GROUND_SHARE = 0.08
"""A ground shows on at least this share of the border."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A ground whose Lab colour is a second-order polynomial of the place.

    ``coefficients (6, 3)`` belong to 1, x, y, x², xy, y² with x and y from -1 to 1 over the
    whole picture; ``share`` is the part of the border that follows the polynomial.
    """

    coefficients: Field
    share: float

    def at(self, x: Field, y: Field) -> Field:
        """Return the ground's colour ``(n, 3)`` at single places."""
        rows = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
        return np.asarray(rows @ self.coefficients, dtype=np.float32)

    def lab(self, x: Field, y: Field) -> Field:
        """Return the ground's colour ``(len(y), len(x), 3)`` at columns x and rows y."""
        one, right, down, right2, both, down2 = self.coefficients
        across = right * x[:, None] + right2 * (x * x)[:, None]
        along = one + down * y[:, None] + down2 * (y * y)[:, None]
        field = along[:, None] + across[None]
        field += both * (y[:, None] * x[None])[..., None]
        return np.asarray(field, dtype=np.float32)


def to_lab(rgb: Pixels, blur: float = 0.0) -> Field:
    """Convert ``(h, w, 3) uint8`` sRGB to Lab, L from 0 to 100."""
    color = rgb.astype(np.float32)
    color *= np.float32(1 / 255)
    if blur:
        color = np.asarray(cv2.GaussianBlur(color, (0, 0), blur), dtype=np.float32)
    return np.asarray(cv2.cvtColor(color, cv2.COLOR_RGB2Lab), dtype=np.float32)


def axes(height: int, width: int) -> tuple[Field, Field]:
    """Return the coordinates x and y of columns and rows of a whole picture, -1 to 1."""
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1).astype(np.float32)
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1).astype(np.float32)
    return x, y


def frame_of(height: int, width: int) -> Mask:
    """Mark the pixels along the border."""
    frame = np.zeros((height, width), dtype=bool)
    band = max(2, round(_FRAME_SHARE * max(height, width)))
    frame[:band] = frame[-band:] = frame[:, :band] = frame[:, -band:] = True
    return frame


def difference(one: Field, other: Field) -> Field:
    """Measure how far two Lab pictures are apart at each pixel."""
    squared = (one - other) ** 2
    return np.asarray(np.sqrt(squared[..., 0] + _CHROMA_WEIGHT * (squared[..., 1] + squared[..., 2])))


def fit_grounds(lab: Field) -> tuple[Ground, ...]:
    """Fit the smooth grounds that the border shows, the largest first: a wall, and a floor.

    Each fit starts from the colour that the most border pixels share, so that an object that
    touches the border does not bend it; then it is fitted again to everything that it explains.
    """
    height, width = lab.shape[:2]
    x, y = axes(height, width)
    frame = frame_of(height, width)
    left = frame.copy()
    grounds: list[Ground] = []
    while len(grounds) < _MAX_GROUNDS and left.sum() > _MIN_GROUND_SHARE * frame.sum():
        fit = _fit(lab, left, x, y)
        near = difference(lab, Ground(fit, 0.0).lab(x, y)) < _INLIER
        share = float((near & left).sum() / frame.sum())
        if share < _MIN_GROUND_SHARE:
            break
        # A wall and a floor reach the corners of the picture; what does not is an object.
        if grounds and not any(near[row, column] for row in (2, -3) for column in (2, -3)):
            break
        grounds.append(Ground(fit, share))
        left &= ~near
    return tuple(grounds)


def border_is_explained(lab: Field, grounds: tuple[Ground, ...]) -> bool:
    """Tell whether smooth grounds explain the border, but for a place where the object leaves it."""
    if not grounds:
        return False
    height, width = lab.shape[:2]
    x, y = axes(height, width)
    rest = frame_of(height, width)
    size = int(rest.sum())
    for ground in grounds:
        rest &= difference(lab, ground.lab(x, y)) >= _INLIER
    left = float(rest.sum()) / size
    if left <= _UNEXPLAINED:
        return True
    # Few large pieces are an object that leaves the picture, many small ones a busy background.
    solid = cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(np.asarray(solid), connectivity=8)
    area = np.sort(np.asarray(stats)[1:, cv2.CC_STAT_AREA])[::-1]
    corners = int(rest[0, 0]) + int(rest[0, -1]) + int(rest[-1, 0]) + int(rest[-1, -1])
    return left <= _LEAVING and corners <= 1 and float(area[2:].sum()) <= 0.5 * _UNEXPLAINED * size


def _fit(lab: Field, frame: Mask, x: Field, y: Field) -> Field:
    """Fit one ground to places along ``frame`` and, as far as it goes on there, to those inside."""
    height, width = lab.shape[:2]
    grid_x, grid_y = np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))
    step = max(1, int(frame.sum()) // _SAMPLES)
    skip = max(1, round((lab.shape[0] * lab.shape[1] / _SAMPLES) ** 0.5))
    inner = (slice(skip // 2, None, skip), slice(skip // 2, None, skip))
    border = lab[frame][::step].astype(np.float64)
    colors = np.concatenate([border, lab[inner].reshape(-1, 3).astype(np.float64)])
    place_x = np.concatenate([grid_x[frame][::step], grid_x[inner].ravel()])
    place_y = np.concatenate([grid_y[frame][::step], grid_y[inner].ravel()])
    rows = _basis(place_x, place_y)
    fit = _grown(rows, colors, border)
    # A curve may meet a wall above and the edge of a floor below; only what hangs together counts.
    near = difference(lab, Ground(fit.astype(np.float32), 0.0).lab(x, y)) < _INLIER
    _, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    labels = np.asarray(labels)
    counts = np.bincount(labels[frame & near], minlength=1)
    own = labels == int(counts.argmax())
    chosen = np.concatenate([own[frame][::step], own[inner].ravel()])
    return _solve(rows, colors, chosen).astype(np.float32)


def _basis(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1).astype(np.float64)


def _solve(
    rows: NDArray[np.float64], colors: NDArray[np.float64], chosen: Mask | None
) -> NDArray[np.float64]:
    """Fit by least squares; where rows tell too little the polynomial stays flat."""
    if chosen is not None and int(chosen.sum()) >= 24:
        rows, colors = rows[chosen], colors[chosen]
    calm = np.diag([1e-9, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3]) * len(rows)
    return np.linalg.solve(rows.T @ rows + calm, rows.T @ colors)


def _grown(
    rows: NDArray[np.float64], colors: NDArray[np.float64], border: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit to one colour of the border and to what goes on from it; return the fit that explains most.

    A fit to all of the border at once would bridge a wall and a floor with a slope that is nowhere.
    """
    best, most = np.zeros((rows.shape[1], 3)), -1
    for color in (np.median(border, axis=0), *palette(border)[0]):
        chosen = np.linalg.norm(colors - color, axis=1) < 2 * _INLIER
        fit = _solve(rows, colors, chosen)
        for _ in range(_GROWTH):
            chosen = np.linalg.norm(colors - rows @ fit, axis=1) <= _INLIER
            fit = _solve(rows, colors, chosen)
        if int(chosen.sum()) > most:
            best, most = fit, int(chosen.sum())
    return best


def palette(colors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Cluster Lab colours ``(n, 3)``: centres ``(k, 3)`` and the cluster of each."""
    # k-means starts from OpenCV's own random numbers.
    cv2.setRNGSeed(0)
    count = min(_PALETTE, len(colors))
    ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.5)
    _, labels, centres = cv2.kmeans(
        colors.astype(np.float32), count, np.empty(0, dtype=np.int32), ends, 1, cv2.KMEANS_PP_CENTERS
    )
    return np.asarray(centres, dtype=np.float64), np.asarray(labels, dtype=np.int64).ravel()


def shadowed(rgb: Pixels, ground: Field) -> Mask:
    """Find pixels of the ground's own colour, only darker; ``ground (h, w, 3)`` is in Lab."""
    behind = np.asarray(cv2.cvtColor(ground, cv2.COLOR_Lab2RGB), dtype=np.float32)
    power = np.maximum(np.einsum("hwc,hwc->hw", behind, behind), 1e-4)
    color = rgb.astype(np.float32) * np.float32(1 / 255)
    share = np.einsum("hwc,hwc->hw", color, behind) / power
    color -= share[..., None] * behind
    tint = np.sqrt(np.einsum("hwc,hwc->hw", color, color) / power)
    return np.asarray((share < 1.0) & (share > _DARKEST_SHADOW) & (tint < _SHADOW_TINT))
