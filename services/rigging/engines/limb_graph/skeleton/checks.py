"""How sure a fit is, and what makes it no fit at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import PoseEstimationFailed, Vectors

_TOUCHING = np.ones((3, 3, 3), bool)
_INSIDE = 0.6
"""Share of the joints that must lie in the body."""
_WORST_MIRROR = 0.45


@dataclass
class Evidence:
    """Collects what speaks for and against a fit; the confidence is the product of the shares."""

    confidence: float = 1.0
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def weigh(self, share: float, reason: str) -> None:
        """Multiply the confidence by a share, 0 to 1, for a reason."""
        self.confidence *= float(np.clip(share, 0.0, 1.0))
        self.reasons.append(reason)

    def warn(self, share: float, warning: str) -> None:
        """Take confidence away and tell the person so."""
        self.confidence *= float(np.clip(share, 0.0, 1.0))
        self.warnings.append(warning)


def weigh_mirror(evidence: Evidence, body: Body, *, refuse: bool = True) -> None:
    """Judge how well the body mirrors itself."""
    if refuse and body.mirror_error > _WORST_MIRROR:
        raise PoseEstimationFailed("the body has no left and right half that mirror each other")
    evidence.weigh(
        1.0 - 0.8 * body.mirror_error, f"the halves of the body miss each other by {body.mirror_error:.0%}"
    )


def roundness(body: Body, line: Vectors, areas: Vectors) -> float:
    """Return how round the cuts of a limb are: 1 for a circle, near 0 for a sheet.

    The depth inside the body along the centre line ``(n, 3)`` is held against the radius of circles of
    the cuts' areas ``(n,)``; the median counts.
    """
    if not len(line):
        return 0.0
    depth = ndimage.distance_transform_edt(np.pad(body.occupied, 1)) * body.cell
    index = ((line - body.origin) / body.cell - 0.5 + 1.0).T
    inner = ndimage.map_coordinates(depth, index, order=1, mode="nearest")
    return float(np.median(inner / np.maximum(np.sqrt(areas / np.pi), 1e-12)))


def weigh_joints_inside(evidence: Evidence, body: Body, joints: Sequence[Vectors]) -> None:
    """Judge how many joints lie in the body, one cell of slack given."""
    near = ndimage.binary_dilation(body.occupied, _TOUCHING)
    index = np.floor((np.array(joints) - body.origin) / body.cell).astype(int)
    within = ((index >= 0) & (index < near.shape)).all(axis=1)
    hit = np.zeros(len(index), bool)
    hit[within] = near[tuple(index[within].T)]
    share = float(hit.mean())
    if share < _INSIDE:
        raise PoseEstimationFailed(f"only {share:.0%} of the joints would lie inside the body")
    evidence.weigh(share, f"{share:.0%} of the joints lie inside the body")
