"""The parts of a body told by where joints are, for skeletons whose names say nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton
from services.animation.retarget.tree import common_ancestor, path_down

_LOW = 0.25
"""Share of the height under which legs end."""
_ASIDE = 0.12
"""Share of the height that the ends of arms are from the middle at least."""


def map_by_shape(skeleton: Skeleton) -> dict[str, int]:
    """Return the joints by role of an upright body that looks along +Z; empty for another shape.

    Legs end lowest, on either side of the middle; arms end farthest from the middle of all that
    ends above; the head ends highest. The two longest bones that follow each other are a limb.
    """
    parents, heads = skeleton.parents, skeleton.heads
    low, height = heads[:, 1].min(), float(np.ptp(heads[:, 1]))
    if height < 1e-9:
        return {}
    ends = np.setdiff1d(np.arange(len(parents)), parents)
    middle = float(heads[0, 0])
    feet = _pair(heads, ends[heads[ends, 1] < low + _LOW * height], middle, height * 0.02)
    above = ends[heads[ends, 1] >= low + _LOW * height]
    hands = _pair(heads, above, middle, height * _ASIDE)
    if feet is None or hands is None:
        return {}
    roles: dict[str, int] = {}
    for name, pair, parts in (
        ("leg", feet, ("UpperLeg", "LowerLeg", "Foot", "Toes")),
        ("arm", hands, ("UpperArm", "LowerArm", "Hand")),
    ):
        trunk = common_ancestor(parents, pair)
        for side, end in zip(("left", "right"), pair, strict=True):
            chain = path_down(parents, trunk, end)[1:]
            limb = _limb(heads, chain)
            if limb is None:
                return {}
            roles |= {f"{side}{part}": joint for part, joint in zip(parts, chain[limb:], strict=False)}
            if name == "arm" and limb > 0:
                roles[f"{side}Shoulder"] = chain[limb - 1]
    chest = common_ancestor(parents, hands)
    tops = [end for end in above.tolist() if end not in hands and path_down(parents, chest, end)]
    if tops:
        highest = max(tops, key=lambda end: float(heads[end, 1]))
        chain = path_down(parents, chest, highest)[1:]
        # The last joint of a chain that goes on past the skull is its tip.
        roles["head"] = chain[-2] if len(chain) > 2 else chain[-1]
    return roles


def _pair(
    heads: NDArray[np.float64], ends: NDArray[np.int64], middle: float, least: float
) -> list[int] | None:
    """Return the ends farthest to the left and to the right."""
    if not len(ends):
        return None
    across = heads[ends, 0] - middle
    left, right = int(across.argmax()), int(across.argmin())
    if across[left] < least or across[right] > -least:
        return None
    return [int(ends[left]), int(ends[right])]


def _limb(heads: NDArray[np.float64], chain: list[int]) -> int | None:
    """Return where, in a chain, the two bones in a row begin that are longest together."""
    if len(chain) < 3:
        return None
    lengths = np.linalg.norm(np.diff(heads[chain], axis=0), axis=1)
    return int((lengths[:-1] * lengths[1:]).argmax())
