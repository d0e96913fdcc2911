"""Paths in a tree of joints whose parents come first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def path_down(parents: NDArray[np.int32], above: int, joint: int) -> list[int]:
    """Return the joints from ``above`` down to ``joint``, both included; empty where it hangs elsewhere."""
    path = [joint]
    while path[-1] != above:
        parent = int(parents[path[-1]])
        if parent < 0:
            return []
        path.append(parent)
    return path[::-1]


def common_ancestor(parents: NDArray[np.int32], joints: Sequence[int]) -> int:
    """Return the lowest joint that all of ``joints`` hang on, or that is one of them."""
    shared = path_down(parents, 0, joints[0])
    for joint in joints[1:]:
        other = set(path_down(parents, 0, joint))
        shared = [ancestor for ancestor in shared if ancestor in other]
    return shared[-1]
