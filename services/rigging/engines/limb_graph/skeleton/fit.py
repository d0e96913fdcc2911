"""Try the templates on a mesh and keep the best fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skeleton.assembly import assemble
from services.rigging.engines.limb_graph.skeleton.body import Body, upright_bodies
from services.rigging.engines.limb_graph.skeleton.fit_generic import fit_generic
from services.rigging.engines.limb_graph.skeleton.fit_humanoid import Fit, fit_humanoid
from services.rigging.engines.limb_graph.skeleton.fit_quadruped import fit_quadruped
from services.rigging.engines.limb_graph.skeleton.fitted import (
    Fitted,
    PoseEstimationFailed,
    StageReport,
    Vectors,
)
from services.rigging.engines.limb_graph.skeleton.templates import aliases_of

CHARACTER_TYPES = ("humanoid", "quadruped", "generic", "auto")
_UPS = (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
_SURE = 0.6
"""A fit this confident ends the search."""
_SECOND_PLANE = 2.0
"""A second mirror plane is tried when its error is less than so many times the best one's."""
_UNSURE = 0.5
"""A fit less confident is none."""
_BLOCK = 0.48
_WHOLE = 0.9
_SECOND_BODY = 0.2
_SECOND_HEIGHT = 0.6
"""A separate piece with more of the volume and of the height is a body of its own."""
_FEWEST_VERTICES = 20

_KINDS: Mapping[str, tuple[str, ...]] = {
    "humanoid": ("humanoid",),
    "quadruped": ("quadruped",),
    "auto": ("humanoid", "quadruped"),
}
_WITH_FINGERS = 40
"""Fewer bones than these leave a humanoid no room for fingers."""


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
    no character of that type and ValueError on an unknown type.
    """
    if character_type not in CHARACTER_TYPES:
        raise ValueError(f"character_type must be one of {', '.join(CHARACTER_TYPES)}")
    tell = report or _tell_nobody
    vertices, faces = _checked(vertices, faces)
    if character_type == "generic":
        fit = _generic(vertices, faces, bone_count, tell)
    else:
        try:
            fit = _best_template(vertices, faces, character_type, bone_count, tell)
        except PoseEstimationFailed:
            if character_type != "auto":
                raise
            fit = _generic(vertices, faces, bone_count, tell)
            fit.evidence.warn(1.0, "No known kind of body was found; the bones follow the curve skeleton.")
    tell("assembling joints", 0.95)
    return _fitted(fit)


def _best_template(
    vertices: Vectors,
    faces: NDArray[np.integer],
    character_type: str,
    bone_count: int | None,
    tell: StageReport,
) -> Fit:
    """Try the templates of a type on every upright laying; the best fit wins, the first failure is told.

    The search ends with the first fit that is sure.
    """
    best: Fit | None = None
    failure: PoseEstimationFailed | None = None
    extent = np.ptp(vertices, axis=0)
    for number, up in enumerate(_UPS):
        kinds = _KINDS[character_type]
        if number:
            # Of what stands along Z, a biped is taller than deep and an animal not much taller than long.
            across = extent[:2]
            lying = {
                "humanoid": extent[2] > 1.05 * across.min(),
                "quadruped": across.max() > 0.7 * extent[2],
            }
            kinds = tuple(kind for kind in kinds if lying[kind])
            if not kinds:
                break
        tell("filling the solid", 0.45 * number)
        for index, body in enumerate(upright_bodies(vertices, faces, up, _SECOND_PLANE)):
            _refuse_block(body)
            tell("finding the limbs", 0.45 * number + 0.2 + 0.1 * index)
            for kind in kinds:
                try:
                    _refuse_crowd(body)
                    fit = _fit(body, kind, bone_count)
                except PoseEstimationFailed as error:
                    failure = failure or error
                    continue
                if best is None or fit.evidence.confidence > best.evidence.confidence:
                    best = fit
            if best is not None and best.evidence.confidence >= _SURE:
                return best
    if best is None:
        raise failure or PoseEstimationFailed("no body was found")
    if best.evidence.confidence < _UNSURE:
        raise PoseEstimationFailed(
            f"the best fit is too unlikely ({best.evidence.confidence:.0%}): "
            + "; ".join((*best.evidence.warnings, *best.evidence.reasons))
        )
    return best


def _fit(body: Body, kind: str, bone_count: int | None) -> Fit:
    """Fit one template."""
    if kind == "quadruped":
        return fit_quadruped(body)
    return fit_humanoid(body, fingers=bone_count is None or bone_count >= _WITH_FINGERS)


def _generic(vertices: Vectors, faces: NDArray[np.integer], bone_count: int | None, tell: StageReport) -> Fit:
    """Lay bones along the curve skeleton of the mesh as its file lays it."""
    tell("filling the solid", 0.0)
    body = next(upright_bodies(vertices, faces, _UPS[0], 1.0))
    tell("finding the limbs", 0.5)
    fit = fit_generic(body, bone_count)
    if body.pieces[0].volume < _WHOLE:
        fit.evidence.warn(0.9, "The mesh is in loose pieces; bones were laid through the largest one.")
    return fit


def _refuse_block(body: Body) -> None:
    """Refuse boxes and balls at once: limbs leave most of their box empty."""
    filled = float(body.occupied.sum()) * body.cell**3 / float(np.prod(body.high - body.low))
    if filled > _BLOCK:
        raise PoseEstimationFailed(f"it fills {filled:.0%} of its box like a block; no limbs stand out")


def _refuse_crowd(body: Body) -> None:
    """Refuse a mesh of two bodies; loose eyes, shields and feathers are small or low."""
    tall = [p for p in body.pieces if p.volume > _SECOND_BODY and p.height > _SECOND_HEIGHT]
    if len(tall) > 1:
        raise PoseEstimationFailed(f"the mesh holds {len(tall)} separate bodies")


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
