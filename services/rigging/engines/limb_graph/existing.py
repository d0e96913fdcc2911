"""Which joints of a rig that a file came with may move its skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.codecs.gltf_rig import FileRig
from maquette.geometry.rig import Skeleton


def deforming(rig: FileRig) -> tuple[Skeleton, NDArray[np.uint16]]:
    """Return the joints that move vertices now as a skeleton, and their places in the rig.

    Controls and targets that a rig has beside them would draw vertices to themselves. A rig
    without weights is taken whole.
    """
    chosen = rig.moves.copy()
    if not chosen.any():
        chosen[:] = True
    # One root for all: the joint above every other.
    chosen[0] = chosen[0] or int((_parents(rig, chosen) < 0).sum()) > 1
    kept = np.flatnonzero(chosen)
    parents = _parents(rig, chosen)
    parents[0] = -1
    names = tuple(rig.skeleton.names[joint] for joint in kept)
    return Skeleton(names, parents, rig.skeleton.rest[kept]), kept.astype(np.uint16)


def _parents(rig: FileRig, chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return, for each chosen joint, the place of the nearest chosen one above it, -1 for none."""
    place = np.cumsum(chosen) - 1
    above = rig.skeleton.parents
    found = []
    for joint in np.flatnonzero(chosen).tolist():
        parent = int(above[joint])
        while parent >= 0 and not chosen[parent]:
            parent = int(above[parent])
        found.append(int(place[parent]) if parent >= 0 else -1)
    return np.array(found, dtype=np.int32)
