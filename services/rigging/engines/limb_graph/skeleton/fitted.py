"""What a fitted skeleton is, and what is raised when there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton
from services.rigging.engines.limb_graph.solid import Solid

Vectors = NDArray[np.float64]
StageReport = Callable[[str, float], None]
"""Told the name of a stage and the share of the fitting, 0 to 1, that is done when it begins."""


class PoseEstimationFailed(ValueError):
    """The mesh is no character of the asked type; ``reason`` says why, in words for its owner."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StandsOtherwise(PoseEstimationFailed):
    """It stands on legs, but as neither a person nor an animal of four legs does."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How the character stands.

    ``kind`` is "T" (arms within 20° of the horizontal), "A" (20° to 75° below it) or "other";
    ``arm_angle`` is how far the upper arms point below the horizontal, in degrees, and NaN for a
    body without arms.
    """

    kind: str
    arm_angle: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A skeleton in the space of the mesh it was fitted to.

    ``tails (j, 3)`` float64 are where the bones end: at the child that goes on with the limb, or
    at the tip of the body part for the last joint of a limb.
    ``up (3,)`` and ``facing (3,)`` are unit vectors; the mirror plane holds the points x with
    ``plane_normal · x = plane_offset``, its normal pointing to the character's left.
    ``confidence`` runs from 0 to 1; ``reasons`` say what it was built from.
    ``aliases`` maps joint names to their names elsewhere: ``{"vrm": …, "mixamo": …}``.
    ``solid`` is the voxelised body in the same space, rotated where the mesh was turned.
    """

    skeleton: Skeleton
    tails: Vectors
    template: str
    pose: Pose
    up: Vectors
    facing: Vectors
    plane_normal: Vectors
    plane_offset: float
    confidence: float
    reasons: tuple[str, ...]
    aliases: Mapping[str, Mapping[str, str]]
    warnings: tuple[str, ...]
    solid: Solid
