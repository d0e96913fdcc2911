"""The channels a pose is written in: anatomical angles, the pelvis, feet and hands as targets.

Angles are degrees, distances are leg lengths (hands: arm lengths). All zero is standing upright
with hanging arms. Paired channels begin with ``l_`` or ``r_`` and mean the same on both sides, so
mirroring a pose swaps them and turns the sign of what points sideways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Channel:
    """One number of a pose."""

    name: str
    meaning: str
    low: float
    high: float
    sideways: bool = False
    """Changes its sign when the pose is mirrored (unpaired channels only)."""
    rest: float = 0.0


_MIDDLE = (
    Channel("x", "pelvis to the left of the start, leg lengths", -20, 20, True),
    Channel("y", "pelvis above its standing height, leg lengths", -1.15, 3),
    Channel("z", "pelvis in front of the start, leg lengths", -20, 20),
    Channel("turn", "pelvis about the vertical, left positive", -1080, 1080, True),
    Channel("pitch", "pelvis forward about its own side axis", -720, 720),
    Channel("roll", "pelvis to its left side", -360, 360, True),
    Channel("bend", "spine forward, hips to upper chest", -45, 100),
    Channel("lean", "spine to the left", -45, 45, True),
    Channel("twist", "spine about its length, left positive", -70, 70, True),
    Channel("nod", "neck and head forward", -60, 60),
    Channel("tilt", "head towards the left shoulder", -45, 45, True),
    Channel("look", "head to the left", -85, 85, True),
)
_PAIRED = (
    Channel("shrug", "shoulder upwards", -10, 35),
    Channel("reach", "shoulder forward", -25, 35),
    Channel("swing", "upper arm forward and up from hanging", -70, 200),
    Channel("spread", "upper arm away from the side", -60, 185, rest=7.0),
    Channel("rotate", "upper arm about its length, inwards", -100, 100),
    Channel("elbow", "elbow bent", 0, 155, rest=12.0),
    Channel("palm", "forearm turned inwards: thumb towards the body", -90, 95),
    Channel("wrist", "hand bent towards the palm", -75, 85),
    Channel("fist", "fingers curled, 0 straight, 1 closed", 0, 1, rest=0.22),
    Channel("point", "index finger kept straight, 0 no, 1 yes", 0, 1),
    Channel("grip", "share of the arm that follows the hand's target, 0–1", 0, 1),
    Channel("hand_x", "hand's target outwards from the middle of the chest, arm lengths", -1.2, 1.4),
    Channel("hand_y", "hand's target above the shoulders, arm lengths", -1.4, 1.4),
    Channel("hand_z", "hand's target in front of the chest, arm lengths", -1.2, 1.4),
    Channel("elbow_out", "elbow about the line shoulder–hand, outwards", -180, 180),
    Channel("foot_x", "ankle outwards from under its hip joint, leg lengths", -20, 20),
    Channel("foot_y", "ankle above its height when standing, leg lengths", -0.1, 3),
    Channel("foot_z", "ankle in front of the start, leg lengths", -20, 20),
    Channel("toe_out", "foot about the vertical, outwards", -1080, 1080),
    Channel("heel", "foot pitched, toes downwards", -60, 95),
    Channel("toes", "toes bent upwards", -20, 75),
    Channel("knee_out", "knee about the line hip–ankle, outwards", -90, 90),
    Channel("free", "share of the leg that follows the angles below instead of the ankle's target", 0, 1),
    Channel("thigh", "free leg: thigh forward", -60, 140),
    Channel("thigh_out", "free leg: thigh outwards", -40, 90),
    Channel("thigh_turn", "free leg: thigh about its length, outwards", -60, 70),
    Channel("knee", "free leg: knee bent", 0, 155),
    Channel("ankle", "free leg: foot pointed", -35, 70),
)

CHANNELS: tuple[Channel, ...] = (
    *_MIDDLE,
    *(
        Channel(f"{side}_{c.name}", c.meaning, c.low, c.high, rest=c.rest)
        for side in ("l", "r")
        for c in _PAIRED
    ),
)
INDEX: dict[str, int] = {channel.name: index for index, channel in enumerate(CHANNELS)}
REST: NDArray[np.float64] = np.array([channel.rest for channel in CHANNELS])
LOW: NDArray[np.float64] = np.array([channel.low for channel in CHANNELS])
HIGH: NDArray[np.float64] = np.array([channel.high for channel in CHANNELS])
PAIRED: frozenset[str] = frozenset(channel.name for channel in _PAIRED)


def sideless(name: str) -> str:
    """Return a channel's name without its ``l_`` or ``r_``."""
    return name[2:] if name[1:2] == "_" else name


_OTHER = {"l": "r", "r": "l"}
_SWAP = np.array(
    [INDEX[_OTHER[c.name[0]] + c.name[1:] if c.name != sideless(c.name) else c.name] for c in CHANNELS]
)
_SIGN = np.array([-1.0 if channel.sideways else 1.0 for channel in CHANNELS])


def expand(values: Mapping[str, float]) -> dict[str, float]:
    """Write a paired channel named without its side out for both sides.

    Raises KeyError for a channel that does not exist and ValueError for a value out of range.
    """
    whole: dict[str, float] = {}
    for name, value in values.items():
        for full in (f"l_{name}", f"r_{name}") if name in PAIRED else (name,):
            channel = CHANNELS[INDEX[full]]
            if not channel.low <= value <= channel.high:
                raise ValueError(f"{full} = {value:g} is not from {channel.low:g} to {channel.high:g}")
            if full not in whole or name not in PAIRED:
                whole[full] = float(value)
    return whole


def pose(base: NDArray[np.float64] | None = None, /, **values: float) -> NDArray[np.float64]:
    """Return the channels ``(c,)`` of a base pose (standing) with some values set.

    A paired channel without ``l_`` or ``r_`` sets both sides; a value with a side wins over it.
    """
    channels = (REST if base is None else base).copy()
    for name, value in expand(values).items():
        channels[INDEX[name]] = value
    return channels


def mirrored(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return poses ``(…, c)`` as seen in a mirror: left and right exchanged."""
    return np.asarray(channels[..., _SWAP] * _SIGN)
