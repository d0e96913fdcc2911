"""Fit a skeleton to a character mesh; see :func:`fit_skeleton`."""

from __future__ import annotations

from services.rigging.engines.limb_graph.skeleton.fit import CHARACTER_TYPES, fit_skeleton
from services.rigging.engines.limb_graph.skeleton.fitted import (
    Fitted,
    Pose,
    PoseEstimationFailed,
    StageReport,
)

__all__ = ["CHARACTER_TYPES", "Fitted", "Pose", "PoseEstimationFailed", "StageReport", "fit_skeleton"]
