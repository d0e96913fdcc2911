"""Skeletons and skin weights, in the conventions of the asset model.

Matrices act on column vectors; joint transforms are rigid, so bones have no scale of their own.
A vertex moves by linear blend skinning (glTF 2.0, section 3.7.3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Floats
from maquette.geometry.errors import MeshError

MAX_INFLUENCES = 4
"""Joints that may move one vertex: what one JOINTS_0 / WEIGHTS_0 pair holds."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Joints in an order in which parents come before their children.

    ``parents (j,)`` int32 names each joint's parent, -1 for the one root, which is joint 0.
    ``rest (j, 4, 4)`` float64 are the joints' rigid transforms to the world in the bind pose.
    Raises :class:`MeshError` when the arrays do not agree or the order is broken.
    """

    names: tuple[str, ...]
    parents: NDArray[np.int32]
    rest: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count or self.parents.shape != (count,) or self.rest.shape != (count, 4, 4):
            raise MeshError("The arrays of the skeleton do not agree.")
        if len(set(self.names)) != count:
            raise MeshError("Two joints of the skeleton have one name.")
        if self.parents[0] != -1 or (self.parents[1:] < 0).any() or (self.parents >= np.arange(count)).any():
            raise MeshError("The joints of the skeleton are no tree whose parents come first.")

    @property
    def heads(self) -> NDArray[np.float64]:
        """Where the joints are: ``(j, 3)`` metres."""
        return np.asarray(self.rest[:, :3, 3])

    @property
    def local(self) -> NDArray[np.float64]:
        """The joints' transforms to their parents: ``(j, 4, 4)``."""
        to_parent = np.linalg.inv(self.rest[np.maximum(self.parents, 0)])
        to_parent[0] = np.eye(4)
        return np.asarray(to_parent @ self.rest)


@dataclass(frozen=True, slots=True)
class Skin:
    """Which joints move each vertex, the strongest first.

    ``joints (n, 4)`` uint16 and ``weights (n, 4)`` float32; each row of weights sums to one and
    unused places hold joint 0 with weight 0.
    """

    joints: NDArray[np.uint16]
    weights: Floats


@dataclass(frozen=True, slots=True)
class Clip:
    """A motion of one skeleton.

    ``times (t,)`` float64 rise, in seconds. ``rotations (t, j, 4)`` are unit quaternions
    (x, y, z, w) that turn each joint against its parent, as ``Skeleton.local`` does at rest.
    ``translations`` gives the joints that travel, each ``(t, 3)`` metres in its parent's space; all
    others keep their place, and with it the length of their bone. Raises :class:`MeshError` when
    the arrays do not agree.
    """

    name: str
    times: NDArray[np.float64]
    rotations: NDArray[np.float64]
    translations: Mapping[int, NDArray[np.float64]]

    def __post_init__(self) -> None:
        count = len(self.times)
        agree = self.rotations.ndim == 3 and self.rotations.shape[::2] == (count, 4)
        if not count or not agree or any(t.shape != (count, 3) for t in self.translations.values()):
            raise MeshError("The arrays of the clip do not agree.")
        if (np.diff(self.times) <= 0).any():
            raise MeshError("The times of the clip do not rise.")

    @property
    def seconds(self) -> float:
        """Duration from the first to the last pose."""
        return float(self.times[-1] - self.times[0])
