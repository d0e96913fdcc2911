"""Legs of something seen level: which parts of the outline they are and which stand near or far."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.silhouette import Field, Mask, Silhouette

_LEAST_HEIGHT = 0.12
"""Height of the gap between legs as a share of the object's from which on it is one."""
_FLAT_BELLY = 0.45
"""Width of a gap high up as a share of its width low down from which on a belly spans it."""
_GROUND_BAND = 0.12
"""Share of the height within which the feet of one object end."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg: its nodes ``(nx, ny)``, reaching into the body, and its mean radius.

    ``alone`` tells that nothing of a second leg is seen beside it: near and far one lie
    behind each other.
    """

    mask: Mask
    radius: float
    alone: bool
    near: bool


@dataclass(frozen=True, slots=True)
class Stand:
    """The legs, the nodes of the body above them and the height of the belly."""

    legs: tuple[Leg, ...]
    body: Mask
    belly: float


def find_legs(silhouette: Silhouette, reach: float) -> Stand | None:
    """Find the legs below a belly, each continued upwards into the body by ``reach``."""
    inside = silhouette.inside
    gaps = _gaps(silhouette)
    bellies = [gap for gap in gaps if gap.flat]
    if not bellies:
        return None
    belly = max(gap.top for gap in bellies)
    below = inside & (silhouette.y < belly)[None, :]
    groups, count = ndimage.label(below)
    lowest = silhouette.y[np.flatnonzero(inside.any(axis=0))[0]]
    band = lowest + _GROUND_BAND * silhouette.extent[1]
    legs: list[Leg] = []
    taken = np.zeros_like(inside)
    for number in range(1, count + 1):
        group = groups == number
        rows = np.flatnonzero(group.any(axis=0))
        stands, joined = silhouette.y[rows[0]] <= band, silhouette.y[rows[-1]] > belly - 1.5 * silhouette.cell
        if not (stands and joined):
            continue
        taken |= group
        legs.extend(_group_legs(silhouette, group, belly, reach, len(legs)))
    if len(legs) < 2:
        return None
    return Stand(tuple(legs), inside & ~taken, belly)


@dataclass(frozen=True, slots=True)
class _Gap:
    top: float
    flat: bool
    mask: Mask


def _gaps(silhouette: Silhouette) -> list[_Gap]:
    """Find the empty places that the object and the ground enclose."""
    inside = silhouette.inside
    first = int(np.flatnonzero(inside.any(axis=0))[0])
    closed = inside.copy()
    band = first + max(int(_GROUND_BAND * silhouette.extent[1] / silhouette.cell), 1)
    # Feet that end a little above the lowest one still close the gap beside them.
    columns = np.flatnonzero(inside[:, :band].any(axis=1))
    closed[columns[0] : columns[-1] + 1, : first + 1] = True
    for column in columns:
        foot = int(np.flatnonzero(inside[column])[0])
        closed[column, first:foot] = True
    labels, count = ndimage.label(~closed)
    gaps = []
    for number in range(1, count + 1):
        mask = labels == number
        if mask[0, 0] or not mask[:, :band].any():
            continue
        rows = np.flatnonzero(mask.any(axis=0))
        height = (rows[-1] - first) * silhouette.cell
        if height < _LEAST_HEIGHT * silhouette.extent[1]:
            continue
        width = mask.sum(axis=0)
        low = float(width[rows[0] + int(0.2 * len(rows))])
        high = float(width[rows[0] + int(0.85 * len(rows))])
        gaps.append(_Gap(float(silhouette.y[rows[-1]]), high > _FLAT_BELLY * low and high > 3, mask))
    return gaps


def _group_legs(silhouette: Silhouette, group: Mask, belly: float, reach: float, before: int) -> list[Leg]:
    """Split a group that is joined below the belly into the legs that part lower down."""
    inside = silhouette.inside
    at_top = group & (silhouette.y > belly - 1.5 * silhouette.cell)[None, :]
    columns = np.flatnonzero(at_top.any(axis=1))
    upward = np.zeros_like(inside)
    above = (silhouette.y >= belly - silhouette.cell) & (silhouette.y < belly + reach)
    upward[columns[0] : columns[-1] + 1] = inside[columns[0] : columns[-1] + 1] & above[None, :]
    whole = group | upward
    parts = _feet(silhouette, group)
    if len(parts) < 2:
        return [Leg(whole, _mean_radius(silhouette, group), True, True)]
    ends = [silhouette.y[np.flatnonzero(part.any(axis=0))[0]] for part in parts]
    # Seen a little from above the lower foot is the near one; else they alternate as in a walk.
    first_near = ends[0] < ends[1] - 0.01 if abs(ends[0] - ends[1]) > 0.01 else before == 0
    return [
        Leg(whole & ~parts[1], _mean_radius(silhouette, parts[0]), False, first_near),
        Leg(whole & ~parts[0], _mean_radius(silhouette, parts[1]), False, not first_near),
    ]


def _feet(silhouette: Silhouette, group: Mask) -> list[Mask]:
    """Return the two largest parts into which a group falls below its highest fork."""
    rows = np.flatnonzero(group.any(axis=0))
    least = _LEAST_HEIGHT * 0.6 * silhouette.extent[1] / silhouette.cell
    for top in range(rows[-1], rows[0], -1):
        low = group.copy()
        low[:, top:] = False
        labels, count = ndimage.label(low)
        if count < 2:
            continue
        tall = [
            labels == number
            for number in range(1, count + 1)
            if np.ptp(np.flatnonzero((labels == number).any(axis=0))) >= least
        ]
        if len(tall) >= 2:
            return sorted(tall, key=lambda part: -int(part.sum()))[:2]
        if top - rows[0] < least:
            break
    return []


def _mean_radius(silhouette: Silhouette, mask: Mask) -> float:
    """Return half the mean width of the rows of a part."""
    widths = mask.sum(axis=0)
    return float(widths[widths > 0].mean()) / 2 * silhouette.cell


def part_distance(silhouette: Silhouette, mask: Mask) -> Field:
    """Return the distance in cells to the edge of a part of the silhouette, positive inside."""
    inner: NDArray[np.float64] = np.asarray(
        cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float64
    )
    outer = np.asarray(
        cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float64
    )
    # Where the part ends with the silhouette, the silhouette knows it better than the nodes do.
    cut = np.where(mask, inner - 0.5, 0.5 - outer)
    return np.where(
        mask, np.minimum(silhouette.signed, np.maximum(cut, 0.05)), np.minimum(cut, silhouette.signed)
    )
