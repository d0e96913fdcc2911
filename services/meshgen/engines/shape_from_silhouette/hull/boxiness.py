"""Tell boxes from round things by their outline: long straight sides that meet in corners."""

from __future__ import annotations

import cv2
import numpy as np

from services.meshgen.engines.shape_from_silhouette.hull.frames import Silhouette

_SIDE = 400
"""Longest side in pixels at which an outline is judged."""
_LONG, _SHORT = 0.25, 0.08
"""Least length of a straight side, and of the side it meets, as shares of the longest extent."""
_LEAST_TURN = 30.0
_TOLERANCE = 3.0
"""Pixels that a straight side may stray, as at a corner that pixels blunt."""
_FROM, _TO = 0.35, 0.75
"""Shares of the outline that are straight between which a thing turns from round to boxy."""


def boxiness(one: Silhouette) -> float:
    """Return how far the outline is that of a box, 0–1.

    A side counts when it is long and meets straight neighbours at corners: the flanks of a
    capsule are straight too, but run on into its caps.
    """
    scale = _SIDE / max(one.box.width, one.box.height)
    size = (max(round(one.signed.shape[1] * scale), 1), max(round(one.signed.shape[0] * scale), 1))
    signed = np.asarray(cv2.resize(one.signed, size, interpolation=cv2.INTER_LINEAR))
    solid = np.pad((signed > 0).astype(np.uint8), 1)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)
    corners = cv2.approxPolyDP(outline, _TOLERANCE, True)[:, 0].astype(np.float64)
    side = np.roll(corners, -1, axis=0) - corners
    length = np.linalg.norm(side, axis=1)
    if len(corners) < 3:
        return 0.0
    heading = np.degrees(np.arctan2(side[:, 1], side[:, 0]))
    turn = np.abs((np.roll(heading, -1) - heading + 180.0) % 360.0 - 180.0)
    long, held = length >= _LONG * _SIDE, length >= _SHORT * _SIDE
    sharp = turn >= _LEAST_TURN
    counted = long & sharp & np.roll(sharp, 1) & np.roll(held, -1) & np.roll(held, 1)
    share = float((length * counted).sum() / length.sum())
    rise = float(np.clip((share - _FROM) / (_TO - _FROM), 0.0, 1.0))
    return rise * rise * (3.0 - 2.0 * rise)
