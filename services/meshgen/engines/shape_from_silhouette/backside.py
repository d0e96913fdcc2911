"""Guess the colours of what the picture hides: the outline's, carried inwards and round the back.

What lies on the outline goes on behind it, so each material is carried inwards from there, in
the manner of a random walk (Grady 2006) that prefers level paths: belts, sleeves and stripes go
on round the body. Eyes, mouths and prints do not reach the outline and so leave no trace. What is
busy all over and looks in its middle as it does along its outline (masonry, a machine) looks so from
behind too.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from services.meshgen.engines.shape_from_silhouette.background import palette, to_lab
from services.meshgen.engines.shape_from_silhouette.grain import grain_of_outline

Field = NDArray[np.float32]
Values = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_SOLVE_SIDE = 144
"""Longest side at which colours are carried inwards."""
_PAINT_SIDE = 1024
"""Longest side of the guessed picture."""
_BAND = (1.2, 3.6)
"""Distances from the outline, pixels at the solving side, at which a colour is the object's own."""
_UPRIGHT = 0.2
"""How easily colour travels up and down against sideways: materials lie in belts."""
_MAX_MATERIALS = 8
_MERGE = 11.0
"""Materials nearer than this in Lab are one."""
_SAME_HUE, _COLOURED, _SHADE, _SAME_DEPTH = 0.3, 12.0, 40.0, 0.6
"""Materials of one hue (radians; from this chroma on) are one in light and shade, up to this lightness apart
and with this ratio of chroma over lightness."""
_LEVEL_MEAN, _LEVEL_SHARE = 0.03, 0.8
"""Share of the height over which a material's colours are evened out across the object, and how far."""
_LOOK_SIGMA, _LOOK_BAND = 2.0, 7.0
"""Size of what is compared and depth of the outline that it is compared with, at the solving side."""
_LOOK_WEIGHTS = (0.6, 1.0, 1.0, 0.6, 1.0, 1.0, 0.15)
"""Weights of mean Lab, its deviation, and the row."""
_SAME_LOOK, _ALL_OVER, _BUSY, _INNER = 8.0, 0.9, 8.0, 0.35
"""Distance of equal looks; their share, the contrast and the share of the middle of what is busy all over."""
_SHARP = 8
_FLATTEN = 0.5
"""Share of the shading towards the outline that is taken back."""
_BROAD, _LIGHTEN = 0.1, 0.7
"""What is broader than this share of the picture is light, and how much of its loss is made good."""


@dataclass(frozen=True, slots=True)
class _Rim:
    """The outline's colours at the solving side: ``lab``, where they are ``known``, ``material``."""

    lab: Field
    inside: NDArray[np.bool_]
    known: NDArray[np.bool_]
    material: NDArray[np.int64]
    count: int


def guess_back(rgb: Pixels, alpha: Field) -> Pixels:
    """Guess the back of what ``rgb (h, w, 3)`` and ``alpha (h, w)`` show, pixel behind pixel.

    Returns ``(h', w', 3)`` with the longest side at most 1024; outside the object its colours go on.
    """
    size = _size(rgb, _PAINT_SIDE)
    paint = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mask = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)) > 0.5
    rim = _rim(paint, mask)
    shares, colors = _carry_inwards(rim)
    guess = _enlarge(shares, colors, paint.shape[:2])
    guess += grain_of_outline(paint, mask, guess)
    share = _same_all_over(paint, mask)
    if share is not None:
        guess += share[..., None] * (to_lab(paint) - guess)
    guess[..., 0] += _light(paint, mask, guess)
    guess[..., 0] = np.clip(guess[..., 0], 0.0, 100.0)
    color = np.asarray(cv2.cvtColor(guess, cv2.COLOR_Lab2RGB), dtype=np.float32)
    return np.asarray(np.clip(color * 255 + 0.5, 0, 255), dtype=np.uint8)


def _light(paint: Pixels, mask: NDArray[np.bool_], guess: Field) -> Field:
    """Return what brings the broad lightness of the guess nearer to the picture's.

    Outlines lie in the shade more often than what is between them.
    """
    scale = _SOLVE_SIDE / max(mask.shape)
    size = (max(round(mask.shape[1] * scale), 1), max(round(mask.shape[0] * scale), 1))
    gap = (to_lab(paint)[..., 0] - guess[..., 0]) * mask
    sigma = _BROAD * _SOLVE_SIDE
    small = cv2.GaussianBlur(cv2.resize(gap, size, interpolation=cv2.INTER_AREA), (0, 0), sigma)
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    broad = np.asarray(small) / np.maximum(cv2.GaussianBlur(share, (0, 0), sigma), 1e-3)
    return _LIGHTEN * np.asarray(cv2.resize(broad, (mask.shape[1], mask.shape[0])), dtype=np.float32)


def _rim(paint: Pixels, mask: NDArray[np.bool_]) -> _Rim:
    shape = _size(mask, _SOLVE_SIDE)
    share = np.asarray(cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA))
    inside = share > 0.4
    lab = to_lab(paint) * mask[..., None]
    total = np.asarray(cv2.resize(lab, shape, interpolation=cv2.INTER_AREA))
    small = np.asarray(total / np.maximum(share, 0.05)[..., None], dtype=np.float32)
    padded = np.pad(inside.astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[1:-1, 1:-1]
    # A part that is thin throughout is all outline: the deepest of it speaks for it.
    ridge = depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 0.1
    known = inside & (((depth >= _BAND[0]) & (depth <= _BAND[1])) | (ridge & (depth <= _BAND[1])))
    if not known.any():
        known = inside
    calm = _median(small, known)
    material, count = _materials(calm[known])
    number = np.full(inside.shape, -1, dtype=np.int64)
    number[known] = material
    return _Rim(_flattened(calm, small, inside, number, count), inside, known, number, count)


def _median(lab: Field, known: NDArray[np.bool_]) -> Field:
    """Calm the outline's colours along it."""
    weight = known.astype(np.float32)
    total = cv2.GaussianBlur(lab * weight[..., None], (0, 0), 1.3)
    return np.asarray(
        total / np.maximum(cv2.GaussianBlur(weight, (0, 0), 1.3), 1e-3)[..., None], dtype=np.float32
    )


def _materials(colors: Field) -> tuple[NDArray[np.int64], int]:
    """Part the outline's colours into a few materials."""
    # Shading is no material: lightness counts half.
    scaled = colors.astype(np.float64) * (0.5, 1.0, 1.0)
    if len(scaled) < _MAX_MATERIALS * 2:
        return np.zeros(len(scaled), dtype=np.int64), 1
    centres, label = palette(scaled)
    root = np.arange(len(centres))
    for one in range(len(centres)):
        for two in range(one):
            if np.linalg.norm(centres[one] - centres[two]) < _MERGE or _one_hue(centres[one], centres[two]):
                root[root == root[one]] = root[two]
    _, merged = np.unique(root[label], return_inverse=True)
    return merged.astype(np.int64), int(merged.max()) + 1


def _one_hue(one: Values, two: Values) -> bool:
    """Tell whether two scaled colours are light and shade of one."""
    chroma = min(np.hypot(*one[1:]), np.hypot(*two[1:]))
    turn = abs(np.arctan2(one[2], one[1]) - np.arctan2(two[2], two[1]))
    apart = abs(one[0] - two[0]) / 0.5
    # Shade takes lightness and chroma alike; a tint with white does not.
    depth = np.hypot(*one[1:]) / max(one[0], 1.0), np.hypot(*two[1:]) / max(two[0], 1.0)
    alike = min(depth) > _SAME_DEPTH * max(depth) and min(turn, 2 * np.pi - turn) < _SAME_HUE
    return bool(chroma > _COLOURED and alike and apart < _SHADE)


def _levelled(lab: Field, number: NDArray[np.int64], count: int) -> Field:
    """Even out each material's colours across the object, else lit and dark side would meet behind."""
    result = lab.copy()
    for material in range(count):
        own = number == material
        total = np.stack([np.where(own, lab[..., k], 0.0).sum(axis=1) for k in range(3)], axis=1)
        sigma = max(_LEVEL_MEAN * len(lab), 1.0)
        weight = ndimage.gaussian_filter1d(own.sum(axis=1).astype(np.float64), sigma)
        mean = ndimage.gaussian_filter1d(total.astype(np.float64), sigma, axis=0)
        row = mean / np.maximum(weight, 1e-6)[:, None]
        even = np.broadcast_to(row[:, None], lab.shape)[own]
        result[own] += _LEVEL_SHARE * (even - result[own])
    return result


def _same_all_over(paint: Pixels, mask: NDArray[np.bool_]) -> Field | None:
    """Return where the back may look as the front does, 0–1 ``(h, w)``; None for most things.

    They must be busy all over, and their middle no busier than, and much like, what lies along the outline.
    """
    size = _size(mask, _SOLVE_SIDE)
    share = np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA))
    inside = share > 0.5
    lab = np.asarray(cv2.resize(to_lab(paint) * mask[..., None], size, interpolation=cv2.INTER_AREA))
    weight = np.maximum(cv2.GaussianBlur(share, (0, 0), _LOOK_SIGMA), 1e-3)[..., None]
    lab = lab / np.maximum(share, 0.05)[..., None]
    mean = np.asarray(cv2.GaussianBlur(lab * share[..., None], (0, 0), _LOOK_SIGMA)) / weight
    square = np.asarray(cv2.GaussianBlur(lab * lab * share[..., None], (0, 0), _LOOK_SIGMA)) / weight
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    row = np.broadcast_to(np.arange(len(mean), dtype=np.float32)[:, None, None], (*inside.shape, 1))
    look = np.concatenate([mean, spread, row], axis=2) * np.array(_LOOK_WEIGHTS, dtype=np.float32)
    padded = np.pad(inside.astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[1:-1, 1:-1]
    rim, inner = inside & (depth <= _LOOK_BAND), depth > _LOOK_BAND
    if inner.sum() < _INNER * inside.sum():
        return None
    along, within = float(np.median(spread[rim, 0])), float(np.median(spread[inner, 0]))
    if along < _BUSY or within < along:
        return None
    away = np.zeros(inside.shape, dtype=np.float32)
    away[inner] = cKDTree(look[rim]).query(look[inner])[0]
    if (away[inner] < _SAME_LOOK).mean() < _ALL_OVER:
        return None
    alike = np.clip(2.0 - away / _SAME_LOOK, 0.0, 1.0)
    calm = cv2.GaussianBlur(alike, (0, 0), _LOOK_SIGMA)
    return np.asarray(cv2.resize(calm, (mask.shape[1], mask.shape[0])), dtype=np.float32)


def _flattened(
    calm: Field, small: Field, inside: NDArray[np.bool_], number: NDArray[np.int64], count: int
) -> Field:
    """Bring the outline's lightness towards the usual one of its material in the whole picture."""
    result = calm.copy()
    pixels = small[inside]
    for material in range(count):
        own = number == material
        centre = calm[own].mean(axis=0)
        alike = np.linalg.norm((pixels - centre) * (0.4, 1.0, 1.0), axis=1) < _MERGE
        if alike.sum() > 8:
            usual = float(np.median(pixels[alike, 0]))
            result[own, 0] += _FLATTEN * (usual - float(np.median(calm[own, 0])))
    return _levelled(result, number, count)


def _carry_inwards(rim: _Rim) -> tuple[Values, Values]:
    """Return for each material its share ``(k, h, w)`` and its colour times that ``(k, h, w, 3)``."""
    height, width = rim.inside.shape
    unknown = ~rim.known
    number = np.full(rim.inside.shape, -1, dtype=np.int64)
    number[unknown] = np.arange(int(unknown.sum()))
    one, two, link = _links(rim.inside.shape)
    size = int(unknown.sum())
    given = np.zeros((height * width, 4 * rim.count))
    for material in range(rim.count):
        own = (rim.material == material).ravel()
        given[own, 4 * material] = 1.0
        given[own, 4 * material + 1 : 4 * material + 4] = rim.lab.reshape(-1, 3)[own]
    values = given.copy()
    if size:
        flat, known = number.ravel(), rim.known.ravel()
        diagonal = np.full(size, 1e-9)
        right = np.zeros((size, given.shape[1]))
        rows, columns, entries = [np.arange(size)], [np.arange(size)], [diagonal]
        for a, b in ((one, two), (two, one)):
            here = flat[a] >= 0
            np.add.at(diagonal, flat[a[here]], link[here])
            edge = here & known[b]
            np.add.at(right, flat[a[edge]], link[edge, None] * given[b[edge]])
            inner = here & ~known[b]
            rows.append(flat[a[inner]])
            columns.append(flat[b[inner]])
            entries.append(-link[inner])
        matrix = sparse.csc_matrix(
            (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
        )
        solver = splu(
            matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        values[unknown.ravel()] = solver.solve(right)
    table = values.reshape(height, width, rim.count, 4).transpose(2, 0, 1, 3)
    return np.maximum(table[..., 0], 0.0), table[..., 1:]


def _links(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
    """Return pairs of neighbouring places and how easily colour travels between them."""
    index = np.arange(shape[0] * shape[1]).reshape(shape[0], shape[1])
    level, upright = (index[:, :-1].ravel(), index[:, 1:].ravel()), (index[:-1].ravel(), index[1:].ravel())
    one, two = np.concatenate([level[0], upright[0]]), np.concatenate([level[1], upright[1]])
    return one, two, np.concatenate([np.ones(len(level[0])), np.full(len(upright[0]), _UPRIGHT)])


def _enlarge(shares: Values, colors: Values, shape: tuple[int, ...]) -> Field:
    """Enlarge colours with crisp borders between materials."""
    size = (shape[1], shape[0])
    total = np.zeros((*shape, 3), dtype=np.float32)
    weight = np.full(shape, 1e-20, dtype=np.float32)
    for share, color in zip(shares, colors, strict=True):
        calm = cv2.GaussianBlur(share.astype(np.float32), (0, 0), 0.8)
        tint = cv2.GaussianBlur(color.astype(np.float32), (0, 0), 0.8) / np.maximum(calm, 1e-6)[..., None]
        large = np.asarray(cv2.resize(calm, size, interpolation=cv2.INTER_CUBIC))
        power = np.maximum(large, 1e-3) ** _SHARP
        seen = np.asarray(cv2.resize(np.where(calm[..., None] > 1e-6, tint, 0.0), size))
        power *= np.asarray(cv2.resize((calm > 1e-6).astype(np.float32), size)) > 0.99
        total += power[..., None] * seen
        weight += power
    total /= weight[..., None]
    return total


def _size(image: NDArray[np.generic], side: int) -> tuple[int, int]:
    """Return width and height of an image reduced to at most ``side``."""
    scale = min(side / max(image.shape[:2]), 1.0)
    return max(round(image.shape[1] * scale), 2), max(round(image.shape[0] * scale), 2)
