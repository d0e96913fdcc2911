"""Look for the template that fits a mesh best, in every way it may lie in its file.

Every template is tried, also those not asked for: a horse on its rump passes for a person, and only the
horse that stands on four legs tells that it is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skeleton.body import Body, upright_bodies
from services.rigging.engines.limb_graph.skeleton.fit_humanoid import Fit, fit_humanoid
from services.rigging.engines.limb_graph.skeleton.fit_quadruped import fit_quadruped
from services.rigging.engines.limb_graph.skeleton.fitted import (
    PoseEstimationFailed,
    StageReport,
    StandsOtherwise,
    Vectors,
)

UPS = (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
_TEMPLATES = ("humanoid", "quadruped")
_STANDS: Mapping[str, str] = {
    "humanoid": "it stands upright on two legs, a quadruped on four",
    "quadruped": "it stands on four legs, a humanoid on two",
}
_CERTAIN = 0.85
"""A fit this confident ends the search."""
_SURE = 0.6
"""A template that fits so well is looked for no further; below it, it refutes no other."""
_UNSURE = 0.5
"""A fit less confident is none."""
_SECOND_PLANE = 2.0
"""A second mirror plane is tried when its error is less than so many times the best one's."""
_BLOCK = 0.48
_SECOND_BODY = 0.2
_SECOND_HEIGHT = 0.6
"""A separate piece with more of the volume and of the height is a body of its own."""
_WITH_FINGERS = 40
"""Fewer bones than these leave a humanoid no room for fingers."""


@dataclass
class _Search:
    """What was found so far: the best fit of each template, and why others were none."""

    asked: tuple[str, ...]
    fingers: bool
    fits: dict[str, Fit] = field(default_factory=dict)
    failure: PoseEstimationFailed | None = None
    otherwise: StandsOtherwise | None = None

    def confidence(self, kind: str) -> float:
        """Return how well a template fits, 0 where it does not."""
        return self.fits[kind].evidence.confidence if kind in self.fits else 0.0

    def surest(self, kinds: tuple[str, ...]) -> str | None:
        """Return the template that fits best of these."""
        return max((kind for kind in kinds if kind in self.fits), key=self.confidence, default=None)

    def ended(self) -> bool:
        """Tell whether some template fits beyond doubt."""
        return any(self.confidence(kind) >= _CERTAIN for kind in _TEMPLATES)

    def try_on(self, body: Body, kinds: tuple[str, ...]) -> None:
        """Fit the templates to a body; those asked for come first and may end the search."""
        for kind in sorted(kinds, key=lambda kind: kind not in self.asked):
            if self.confidence(kind) >= _SURE or (kind not in self.asked and self.ended()):
                continue
            try:
                _refuse_crowd(body)
                fit = fit_quadruped(body) if kind == "quadruped" else fit_humanoid(body, self.fingers)
            except PoseEstimationFailed as error:
                if isinstance(error, StandsOtherwise):
                    self.otherwise = self.otherwise or error
                if kind in self.asked:
                    self.failure = self.failure or error
                continue
            if fit.evidence.confidence > self.confidence(kind):
                self.fits[kind] = fit

    def verdict(self) -> Fit:
        """Return the best fit asked for; raise when another template or none fits the body better."""
        kind = self.surest(self.asked)
        surest = self.surest(_TEMPLATES)
        if surest == "humanoid" and self.otherwise is not None and not self.ended():
            raise PoseEstimationFailed(f"{self.otherwise.reason}; ask for the character_type generic or auto")
        if surest is not None and surest != kind and self.confidence(surest) >= _SURE:
            raise PoseEstimationFailed(f"{_STANDS[surest]}; ask for the character_type {surest} or auto")
        if kind is None:
            raise self.failure or PoseEstimationFailed("no body was found")
        evidence = self.fits[kind].evidence
        if evidence.confidence < _UNSURE:
            told = "; ".join((*evidence.warnings, *evidence.reasons))
            raise PoseEstimationFailed(f"the best fit is too unlikely ({evidence.confidence:.0%}): {told}")
        return self.fits[kind]


def best_template(
    vertices: Vectors,
    faces: NDArray[np.integer],
    character_type: str,
    bone_count: int | None,
    tell: StageReport,
) -> Fit:
    """Fit the templates to every upright laying of a mesh and return the best one of the type asked for.

    ``vertices (n, 3)``, ``faces (m, 3)``; ``character_type`` is "humanoid", "quadruped" or "auto" (either).
    Raises :class:`PoseEstimationFailed` where none fits, and where the template not asked for fits better.
    """
    asked = _TEMPLATES if character_type == "auto" else (character_type,)
    search = _Search(asked, fingers=bone_count is None or bone_count >= _WITH_FINGERS)
    for number, up in enumerate(UPS):
        kinds = _lying(vertices) if number else _TEMPLATES
        if not kinds or not (search.fits or set(kinds) & set(asked)):
            break
        tell("filling the solid", 0.45 * number)
        for index, body in enumerate(upright_bodies(vertices, faces, up, _SECOND_PLANE)):
            if not search.fits:
                _refuse_block(body)
            tell("finding the limbs", 0.45 * number + 0.2 + 0.1 * index)
            search.try_on(body, kinds)
            if search.ended():
                return search.verdict()
    return search.verdict()


def _lying(vertices: Vectors) -> tuple[str, ...]:
    """Return the templates a mesh may hold that stands along Z.

    Of those a biped is taller than deep, and an animal not much taller than long.
    """
    extent = np.ptp(vertices, axis=0)
    lying = {
        "humanoid": extent[2] > 1.05 * extent[:2].min(),
        "quadruped": float(np.hypot(*extent[:2])) > 0.7 * extent[2],
    }
    return tuple(kind for kind in _TEMPLATES if lying[kind])


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
