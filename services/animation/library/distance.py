"""How different two moves look: the mean angle between their joints over a shared phase."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.animation.motion.figure import JOINTS
from services.animation.motion.moves import Move
from services.animation.motion.pose import Motion

_FPS = 15.0
_PHASES = 16
_MAIN = np.array(
    [
        JOINTS[name]
        for name in (
            "hips",
            "spine",
            "chest",
            "upperChest",
            "neck",
            "head",
            *(
                f"{side}{part}"
                for side in ("left", "right")
                for part in ("UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot")
            ),
        )
    ]
)
Signature = NDArray[np.float64]
"""The main joints' rotations at evenly spaced phases, ``(p, j, 3, 3)``."""


def signature(motion: Motion) -> Signature:
    """Return the main joints of a motion at evenly spaced phases."""
    at = np.linspace(0, len(motion.root) - 1, _PHASES, endpoint=False).round().astype(int)
    return np.asarray(motion.rotations[at][:, _MAIN])


def distance(first: Signature, second: Signature) -> float:
    """Return the mean geodesic angle between two motions, degrees, where they agree best in phase.

    Each phase of the first is compared with the same phase of the second, for every shift of the
    second by whole phases; left stays left.
    """
    # The trace of A Bᵀ is the sum of the products of their entries.
    flat = first.reshape(_PHASES, -1, 9)
    other = second.reshape(_PHASES, -1, 9)
    traces = np.einsum("pjk,qjk->pqj", flat, other)
    angles = np.degrees(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0))).mean(axis=2)
    phases = np.arange(_PHASES)
    return float(min(angles[phases, (phases + shift) % _PHASES].mean() for shift in phases))


def at_least(first: Signature, others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the distances from one signature to ``others (n, p, j, 3, 3)`` cannot be below.

    Mean rotations do not know the phase, a mean is never longer than the mean of the lengths, and
    rotations that are an angle θ apart are 2√2 sin(θ/2) ≤ √2 θ apart as matrices.
    """
    apart = np.linalg.norm(others.mean(axis=1) - first.mean(axis=0), axis=(2, 3))
    return np.asarray(np.degrees(apart.mean(axis=1) / np.sqrt(2.0)))


def of_move(move: Move) -> Signature:
    """Return the signature of a move as written."""
    return signature(move.perform(_FPS))
