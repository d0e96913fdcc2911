"""A muzzle that points at the viewer: two nostrils below two eyes.

A face seen from the front hides how far its snout reaches. Eyes and nostrils are two pairs of dark
spots, each pair alike and mirrored, one above the other; the farther the nostrils are apart, the
larger is what they sit on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.body import Sheet
from services.meshgen.engines.shape_from_silhouette.framing import framed
from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Silhouette

Values = NDArray[np.float64]

_SIDE = 320
"""Longest side of the object at which spots are looked for, pixels."""
_SIGMAS = (2.0, 2.8, 4.0, 5.6, 8.0)
"""Sizes of spots, pixels."""
_DARKER = 5.0
"""Response in lightness from which on a spot is one."""
_ROUND = 0.3
"""Ratio of the two curvatures of a spot's lightness from which on it is no line."""
_LIKE_SIZE, _LIKE_DEPTH, _LIKE_LOOK = 1.5, 2.0, 0.5
"""Ratio of the sizes and depths of the spots of a pair at most, and correlation of their looks at least."""
_TILT = 18.0
"""Degrees by which a pair may be tilted."""
_APART, _LEAST_APART = (5.0, 14.0), 0.045
"""Distance of the spots of a pair: as a multiple of their size, at least as a share of the longest side."""
_PARALLEL, _NARROWER = 15.0, (0.25, 0.8)
"""Degrees between the two pairs, and distance of the nostrils as a share of that of the eyes."""
_ASIDE, _BELOW = 0.4, (0.15, 1.2)
"""How far aside of and below the middle of the eyes that of the nostrils is, as shares of their distance."""
_CALM, _SHADE, _SAME_SKIN = 1.5, 0.3, 14.0
"""Blur in pixels, weight of lightness, and distance in Lab of colours that are one skin's."""
_CHEEK = 0.25
"""How far the face goes on beside each eye, as a share of their distance."""
_LARGER = 1.2
"""Size of an eye at least, as a multiple of that of a nostril."""
_LOWER, _HALF_WIDTH, _HALF_HEIGHT, _REACH = 0.5, 1.5, 1.3, 1.5
"""Middle of a muzzle below the nostrils, half its sides and its length, in distances of the nostrils."""
_TIP = 0.4
"""Share of a muzzle that is its blunt end."""


@dataclass(frozen=True, slots=True)
class Muzzle:
    """The middle between two nostrils and how far the right one lies right of it and above, y up."""

    x: float
    y: float
    across: float
    rise: float


@dataclass(frozen=True, slots=True)
class _Pair:
    x: float
    y: float
    across: float
    rise: float
    size: float
    likeness: float

    @property
    def apart(self) -> float:
        return 2.0 * float(np.hypot(self.across, self.rise))

    @property
    def tilt(self) -> float:
        return float(np.degrees(np.arctan2(self.rise, self.across)))


def find_muzzle(rgb: NDArray[np.uint8], alpha: NDArray[np.float32], silhouette: Silhouette) -> Muzzle | None:
    """Return the nostrils of a face seen from the front, or None where there are none below two eyes."""
    lab, share = framed(rgb, alpha, silhouette, _SIDE)
    light = lab[..., 0]
    color = np.asarray(cv2.GaussianBlur(lab, (0, 0), _CALM), dtype=np.float64)
    pairs = _pairs(light, _spots(light, share))
    best, chosen = 0.0, None
    for eyes in pairs:
        for nostrils in pairs:
            rated = eyes.likeness * nostrils.likeness
            if rated > best and _below(eyes, nostrils) and _one_face(color, share, eyes, nostrils):
                best, chosen = rated, nostrils
    if chosen is None:
        return None
    middle = light.shape[0] / 2 - 0.5
    x, y = chosen.x - middle, middle - chosen.y
    return Muzzle(*(float(value) / _SIDE for value in (x, y, chosen.across, chosen.rise)))


def _spots(light: Values, share: Values) -> Values:
    """Return x, y, size and depth of dark round spots within the object ``(n, 4)``."""
    spots = []
    inside = cv2.erode((share > 0.5).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    for sigma in _SIGMAS:
        calm = cv2.GaussianBlur(light, (0, 0), sigma)
        xx, yy, xy = (
            sigma**2 * np.asarray(cv2.Sobel(calm, cv2.CV_64F, *order, ksize=3)) / scale
            for order, scale in (((2, 0), 4.0), ((0, 2), 4.0), ((1, 1), 4.0))
        )
        mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        low, high = mean - spread, mean + spread
        depth = np.where(inside & (low > _ROUND * high), low, 0.0)
        peak = (depth == cv2.dilate(depth, np.ones((2 * int(sigma) + 1,) * 2, np.uint8))) & (depth > _DARKER)
        rows, columns = np.nonzero(peak)
        spots.append(np.stack([columns, rows, np.full(len(rows), sigma), depth[rows, columns]], axis=1))
    found = np.concatenate(spots)
    return found[np.argsort(-found[:, 3])][:60]


def _pairs(light: Values, spots: Values) -> list[_Pair]:
    """Return pairs of spots side by side that look alike, mirrored."""
    pairs = []
    for i, (x, y, size, depth) in enumerate(spots):
        for other_x, other_y, other_size, other_depth in spots[:i]:
            across, rise = (other_x - x) / 2, (y - other_y) / 2
            if across < 0:
                across, rise = -across, -rise
            mean = float(np.sqrt(size * other_size))
            pair = _Pair((x + other_x) / 2, (y + other_y) / 2, across, rise, mean, 0.0)
            least = max(_APART[0] * mean, _LEAST_APART * _SIDE)
            if not least < pair.apart < _APART[1] * mean or abs(pair.tilt) > _TILT:
                continue
            if max(size, other_size) > _LIKE_SIZE * min(size, other_size):
                continue
            if max(depth, other_depth) > _LIKE_DEPTH * min(depth, other_depth):
                continue
            likeness = _likeness(light, pair, mean)
            if likeness > _LIKE_LOOK:
                pairs.append(replace(pair, likeness=likeness))
    return pairs


def _likeness(light: Values, pair: _Pair, size: float) -> float:
    """Return the correlation of what is about both spots, one of them mirrored, -1–1."""
    reach = 2.5 * size
    along, up = np.meshgrid(np.linspace(-reach, reach, 15), np.linspace(-reach, reach, 15))
    cosine, sine = np.cos(np.radians(pair.tilt)), np.sin(np.radians(pair.tilt))
    patches = []
    for side in (-1.0, 1.0):
        x = pair.x + side * pair.across + side * along * cosine - up * sine
        y = pair.y - side * pair.rise - side * along * sine - up * cosine
        patch = cv2.remap(
            light.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR
        )
        patches.append(np.asarray(patch, dtype=np.float64).ravel())
    return float(np.asarray(np.corrcoef(np.stack(patches)))[0, 1])


def _below(eyes: _Pair, nostrils: _Pair) -> bool:
    """Tell whether two pairs can be the eyes and the nostrils of one face."""
    tilt = np.radians(eyes.tilt)
    x, down = nostrils.x - eyes.x, nostrils.y - eyes.y
    aside = x * np.cos(tilt) - down * np.sin(tilt)
    below = x * np.sin(tilt) + down * np.cos(tilt)
    apart = eyes.apart
    return bool(
        eyes.size > _LARGER * nostrils.size
        and abs(eyes.tilt - nostrils.tilt) < _PARALLEL
        and _NARROWER[0] * apart < nostrils.apart < _NARROWER[1] * apart
        and abs(aside) < _ASIDE * apart
        and _BELOW[0] * apart < below < _BELOW[1] * apart
    )


def _one_face(color: Values, share: Values, eyes: _Pair, nostrils: _Pair) -> bool:
    """Tell whether one colour is between the eyes and between the nostrils, and face beside the eyes."""
    beside = (1.0 + 2.0 * _CHEEK) * np.array([(-eyes.across, eyes.rise), (eyes.across, -eyes.rise)])
    places = np.concatenate(
        [[(eyes.x, eyes.y), (nostrils.x, nostrils.y)], beside + np.array([eyes.x, eyes.y])]
    )
    column, row = np.clip(np.rint(places).astype(np.int64), 0, len(color) - 1).T
    bridge, tip = color[row[:2], column[:2]] * (_SHADE, 1.0, 1.0)
    return bool(np.linalg.norm(bridge - tip) < _SAME_SKIN and (share[row[2:], column[2:]] > 0.5).all())


def put_forward(silhouette: Silhouette, sheet: Sheet, muzzle: Muzzle) -> Sheet:
    """Return a sheet whose front stands out where the muzzle is, while its back stays."""
    reach = np.where(sheet.squared > 0, _relief(silhouette, muzzle), 0.0)
    half = np.sqrt(np.maximum(sheet.squared, 0.0)) + reach / 2
    return Sheet(sheet.middle + reach / 2, np.where(sheet.squared > 0, half * half, sheet.squared))


def _relief(silhouette: Silhouette, muzzle: Muzzle) -> Field:
    """Return how far a muzzle stands out of the face, ``(nx, ny)``."""
    apart = 2.0 * float(np.hypot(muzzle.across, muzzle.rise))
    cosine, sine = 2.0 * muzzle.across / apart, 2.0 * muzzle.rise / apart
    x, y = silhouette.x[:, None] - muzzle.x, silhouette.y[None, :] - muzzle.y
    along, up = x * cosine + y * sine, y * cosine - x * sine + _LOWER * apart
    away = np.hypot(along / (_HALF_WIDTH * apart), up / (_HALF_HEIGHT * apart))
    share = np.clip((1.0 - away) / (1.0 - _TIP), 0.0, 1.0)
    return np.asarray(_REACH * apart * share * share * (3.0 - 2.0 * share))
