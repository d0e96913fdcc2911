"""Fit a skeleton of the asked type to a mesh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skeleton.assembly import assemble
from services.rigging.engines.limb_graph.skeleton.body import upright_bodies
from services.rigging.engines.limb_graph.skeleton.fit_generic import fit_generic
from services.rigging.engines.limb_graph.skeleton.fit_humanoid import Fit
from services.rigging.engines.limb_graph.skeleton.fitted import (
    Fitted,
    PoseEstimationFailed,
    StageReport,
    Vectors,
)
from services.rigging.engines.limb_graph.skeleton.search import UPS, best_template
from services.rigging.engines.limb_graph.skeleton.templates import aliases_of

CHARACTER_TYPES = ("humanoid", "quadruped", "generic", "auto")
_WHOLE = 0.9
_FEWEST_VERTICES = 20


def fit_skeleton(
    vertices: NDArray[np.float64],
    faces: NDArray[np.integer],
    *,
    character_type: str = "auto",
    bone_count: int | None = None,
    report: StageReport | None = None,
) -> Fitted:
    """Fit a skeleton of the asked type to a mesh.

    ``vertices (n, 3)`` finite, in any unit; ``faces (m, 3)``. The body may look anywhere about the
    vertical, which is the Y axis of the file or its Z axis. ``character_type`` is "humanoid", "quadruped",
    "generic" (the curve skeleton itself) or "auto" (whichever fits best). ``bone_count`` is how many
    joints, the root included, a generic skeleton gets; the others keep their template, without
    fingers where it is below 40. Raises :class:`PoseEstimationFailed` when the mesh is
    no character of that type, or one of another, and ValueError on an unknown type.
    """
    if character_type not in CHARACTER_TYPES:
        raise ValueError(f"character_type must be one of {', '.join(CHARACTER_TYPES)}")
    tell = report or _tell_nobody
    vertices, faces = _checked(vertices, faces)
    if character_type == "generic":
        fit = _generic(vertices, faces, bone_count, tell)
    else:
        try:
            fit = best_template(vertices, faces, character_type, bone_count, tell)
        except PoseEstimationFailed:
            if character_type != "auto":
                raise
            fit = _generic(vertices, faces, bone_count, tell)
            fit.evidence.warn(1.0, "No known kind of body was found; the bones follow the curve skeleton.")
    tell("assembling joints", 0.95)
    return _fitted(fit)


def _generic(vertices: Vectors, faces: NDArray[np.integer], bone_count: int | None, tell: StageReport) -> Fit:
    """Lay bones along the curve skeleton of the mesh as its file lays it."""
    tell("filling the solid", 0.0)
    body = next(upright_bodies(vertices, faces, UPS[0], 1.0))
    tell("finding the limbs", 0.5)
    fit = fit_generic(body, bone_count)
    if body.pieces[0].volume < _WHOLE:
        fit.evidence.warn(0.9, "The mesh is in loose pieces; bones were laid through the largest one.")
    return fit


def _checked(vertices: NDArray[np.float64], faces: NDArray[np.integer]) -> tuple[Vectors, NDArray[np.int64]]:
    """Return the vertices that faces name, and the faces; refuse what has no inside at all."""
    points = np.asarray(vertices, np.float64)
    corners = np.asarray(faces, np.int64)
    if corners.ndim != 2 or not len(corners):
        raise PoseEstimationFailed("the mesh has no faces")
    named, order = np.unique(corners, return_inverse=True)
    used = points[named]
    if not np.isfinite(used).all():
        raise PoseEstimationFailed("the mesh has coordinates that are no numbers")
    # So few places show in the first rows: sorting a million of them would take seconds.
    if len(np.unique(used[: 50 * _FEWEST_VERTICES], axis=0)) < _FEWEST_VERTICES and (
        len(np.unique(used, axis=0)) < _FEWEST_VERTICES
    ):
        raise PoseEstimationFailed(f"a mesh of fewer than {_FEWEST_VERTICES} points shows no body")
    extent = np.ptp(used, axis=0)
    if extent.min() < 1e-3 * extent.max():
        raise PoseEstimationFailed("the mesh is flat")
    return used, order.reshape(-1, 3).astype(np.int64)


def _fitted(fit: Fit) -> Fitted:
    """Bring a fit to the space of the mesh."""
    body = fit.body
    skeleton, tails = assemble(body, fit.table, fit.joints, fit.ends)
    return Fitted(
        skeleton=skeleton,
        tails=tails,
        template=fit.template,
        pose=fit.pose,
        up=body.axes[:, 1].copy(),
        facing=body.axes[:, 2].copy(),
        plane_normal=body.axes[:, 0].copy(),
        plane_offset=float(body.shift[0]),
        confidence=round(fit.evidence.confidence, 3),
        reasons=tuple(fit.evidence.reasons),
        aliases=aliases_of(fit.table, skeleton.names),
        warnings=tuple(fit.evidence.warnings),
        solid=body.solid,
    )


def _tell_nobody(stage: str, share: float) -> None:
    """Report to nobody."""
