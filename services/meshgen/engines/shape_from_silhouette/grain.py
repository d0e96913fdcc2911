"""Fine grain for the guessed back: fur and scales go on, what is drawn on the front leaves no trace."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.meshgen.engines.shape_from_silhouette.background import to_lab

Field = NDArray[np.float32]
Values = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_GRAIN_SIGMA = 0.012
"""What is finer than this share of the picture is grain."""
_PATCH, _SOURCE, _CHOICE = 0.024, (0.8, 2.2), 12
"""Side of a patch of grain, as a share of the picture, how deep in sides it is taken, and among how many."""
_ALIKE, _STUFF = 9.0, 0.8
"""Distance in Lab at which the picture shows something else than is guessed, and the share that must not."""
_QUIETER = 0.6
"""Factor on what is sewn: a pattern that is none of the object's had better be faint."""
_NEARBY = 0.15
"""Way, as a share of the picture, that counts in the choice of a patch as another colour does."""


def grain_of_outline(paint: Pixels, mask: NDArray[np.bool_], guess: Field) -> Field:
    """Return grain as fine as the outline's: fur stays, an eye, a smile or a nostril leaves no trace.

    Along the outline it is the picture's own; farther in it is sewn together of patches from there.
    """
    sigma = max(_GRAIN_SIGMA * max(mask.shape), 1.0)
    lab = to_lab(paint)
    weight = mask.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]
    base = np.asarray(cv2.GaussianBlur(lab * weight[..., None], (0, 0), sigma)) / share
    grain = np.asarray((lab - base) * weight[..., None], dtype=np.float32)
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = np.asarray(distance, dtype=np.float32)[1:-1, 1:-1]
    side = 2 * max(round(_PATCH * max(mask.shape) / 2), 4)
    # Only what has about the guessed colour is of the same stuff.
    off = np.linalg.norm((base - guess) * (0.5, 1.0, 1.0), axis=2)
    alike = np.asarray(cv2.blur(np.clip(2.0 - off / _ALIKE, 0.0, 1.0).astype(np.float32), (side, side)))
    # A box filter of running sums falls a hair below zero where there is nothing.
    power = np.sqrt(np.maximum(cv2.blur((grain * grain).sum(axis=2), (side, side)), 0.0))
    along = mask & (depth < _SOURCE[1] * side) & (depth > 0.5 * side) & (alike > _STUFF)
    if not along.any():
        return np.zeros_like(grain)
    usual = float(np.median(power[along]))
    usable = along & (depth >= _SOURCE[0] * side) & (power < 1.5 * usual)
    sewn = _sewn(grain, depth, guess, power, usable, side)
    own = (np.clip(1.5 - depth / side, 0.0, 1.0) * alike)[..., None]
    return np.asarray(
        np.clip(own * grain + (1.0 - own) * _QUIETER * sewn, -3 * usual, 3 * usual), dtype=np.float32
    )


def _sewn(
    grain: Field, depth: Field, guess: Field, power: Field, usable: NDArray[np.bool_], side: int
) -> Field:
    """Cover the object with overlapping patches of the grain along its outline, quiet ones of a like colour.

    After the image quilting of Efros and Freeman (2001), with soft windows in place of cuts.
    """
    step = side // 2
    rows, columns = np.mgrid[step : depth.shape[0] - step : step, step : depth.shape[1] - step : step]
    places = np.stack([rows.ravel(), columns.ravel()], axis=1)
    deep = depth[places[:, 0], places[:, 1]]
    sources = places[usable[places[:, 0], places[:, 1]]]
    targets = places[deep > 0.5 * side]
    sewn = np.zeros_like(grain)
    if len(sources) < _CHOICE:
        return sewn

    def look(at: NDArray[np.int64]) -> Values:
        near = at / (_NEARBY * max(depth.shape))
        return np.concatenate([near, guess[at[:, 0], at[:, 1]] / _ALIKE], axis=1)

    _, found = cKDTree(look(sources)).query(look(targets), k=_CHOICE)
    quiet = np.argsort(power[sources[:, 0], sources[:, 1]][found], axis=1, kind="stable")
    rng = np.random.default_rng(0)
    pick = rng.integers(0, _CHOICE // 3, len(targets))
    rank = quiet[np.arange(len(targets)), pick]
    chosen = sources[found[np.arange(len(targets)), rank]]
    moved = rng.integers(-(step // 2), step // 2 + 1, targets.shape) + targets
    targets = np.clip(moved, step, np.array(depth.shape) - step)
    window = np.hanning(2 * step + 2)[1:-1].astype(np.float32)
    soft = np.outer(window, window)[..., None]
    weight = np.full((*depth.shape, 1), 1e-3, dtype=np.float32)
    for (row, column), (from_row, from_column) in zip(targets, chosen, strict=True):
        here = slice(row - step, row + step), slice(column - step, column + step)
        sewn[here] += soft * grain[from_row - step : from_row + step, from_column - step : from_column + step]
        weight[here] += soft * soft
    # Where patches overlap their contrast adds up as that of noise does.
    return np.asarray(sewn / np.sqrt(weight), dtype=np.float32)
