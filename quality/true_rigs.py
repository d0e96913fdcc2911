"""Characters with the skeletons and weights their makers gave them, read with the measures' own reader."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton, Skin

SHARED = Path(__file__).resolve().parents[2] / "shared"
RIGS = SHARED / "data" / "rigging" / "gt"
READER = SHARED / "metrics" / "common.py"
GROUND = "ground"
_MOVES = 1e-3
"""Least sum of weights of a joint that moves anything."""


@dataclass(frozen=True, slots=True)
class TrueRig:
    """``vertices (n, 3)`` and ``faces (m, 3)`` in the bind pose, ``weights (n, j)`` of the joints."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    skeleton: Skeleton
    weights: NDArray[np.float64]


def there() -> bool:
    """Tell whether the rigs lie beside the repository."""
    return RIGS.is_dir() and READER.is_file()


def read_true_rig(path: Path, *, all_joints: bool = False) -> TrueRig:
    """Read a rigged GLB.

    Keeps the joints that move something and those above them; ``all_joints`` also keeps handles
    (pole targets and the like). Several roots come under a ground joint at the origin.
    """
    rig = _reader().load_rig(str(path))
    weights = np.asarray(rig.W, np.float64)
    parents = np.asarray(rig.parent)
    moves = weights.sum(axis=0) > (-1.0 if all_joints else _MOVES)
    kept = _with_ancestors(moves, parents)
    order = sorted(np.flatnonzero(kept).tolist(), key=lambda joint: (_depth(joint, parents), joint))
    number = {joint: place for place, joint in enumerate(order)}
    above = [number.get(int(parents[joint]), -1) for joint in order]
    names = [str(rig.names[joint]) for joint in order]
    rest = np.tile(np.eye(4), (len(order), 1, 1))
    rest[:, :3, 3] = rig.J[order]
    rest[:, :3, :3] = [_rotation_of(rig.world[rig.joint_nodes[joint]][:3, :3]) for joint in order]
    dense = weights[:, order]
    if above.count(-1) > 1:
        names, above = [GROUND, *names], [-1, *(place + 1 for place in above)]
        rest = np.concatenate([np.eye(4)[None], rest])
        dense = np.concatenate([np.zeros((len(dense), 1)), dense], axis=1)
    skeleton = Skeleton(tuple(names), np.array(above, np.int32), rest)
    return TrueRig(np.asarray(rig.V, np.float64), np.asarray(rig.F, np.int64), skeleton, dense)


def dense_weights(skin: Skin, joints: int) -> NDArray[np.float64]:
    """Spread a skin to ``(n, joints)``."""
    weights = np.zeros((len(skin.joints), joints))
    rows = np.arange(len(weights))
    for place in range(skin.joints.shape[1]):
        np.add.at(weights, (rows, skin.joints[:, place].astype(np.int64)), skin.weights[:, place])
    return weights


def mean_l1(rig: TrueRig, skin: Skin) -> float:
    """Return the mean over vertices of Σ|w − w′|, 0 to 2, over vertices that the maker weighted."""
    known = rig.weights.sum(axis=1) > 0.5
    off = np.abs(dense_weights(skin, len(rig.skeleton.names)) - rig.weights).sum(axis=1)
    return float(off[known].mean())


def _reader() -> Any:
    spec = importlib.util.spec_from_file_location("shared_metrics_common", READER)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(READER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _with_ancestors(used: NDArray[np.bool_], parents: NDArray[np.int64]) -> NDArray[np.bool_]:
    kept = used.copy()
    for joint in np.flatnonzero(used).tolist():
        while joint >= 0:
            kept[joint] = True
            joint = int(parents[joint])
    return kept


def _depth(joint: int, parents: NDArray[np.int64]) -> int:
    depth = 0
    while parents[joint] >= 0:
        joint, depth = int(parents[joint]), depth + 1
    return depth


def _rotation_of(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest rotation to a matrix with scale."""
    left, _, right = np.linalg.svd(matrix)
    left[:, 2] *= np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ right)
