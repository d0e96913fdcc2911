"""The run: read, fit a skeleton, bind the skin, write, measure, render."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.codecs.fbx import Blender
from maquette.geometry.codecs.gltf_character import Character, read_character
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig, read_rig
from maquette.geometry.codecs.gltf_rig_write import forget_rig, renew_rig, write_skeleton, write_skin
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Skin
from maquette.runtime.engine import EngineRequest, EngineResult, Report
from maquette.runtime.errors import InvalidArgument
from services.rigging.engines.limb_graph import CHARACTER_TYPES, FEATURE, RIG_MODES
from services.rigging.engines.limb_graph.deliver import FORMATS, deliver
from services.rigging.engines.limb_graph.existing import deforming
from services.rigging.engines.limb_graph.progress import Progress
from services.rigging.engines.limb_graph.skeleton import Fitted, PoseEstimationFailed, fit_skeleton
from services.rigging.engines.limb_graph.skin import bind
from services.rigging.engines.limb_graph.source import LIMITS, open_source

MAX_FACES = 1_000_000
_LEAST_EXTENT = 1e-9


@dataclass(frozen=True, slots=True)
class _Settings:
    rig_mode: str
    character_type: str
    output_format: str
    bone_count: int | None


@dataclass(slots=True)
class _Work:
    """What a run has so far."""

    settings: _Settings
    document: GltfDocument
    progress: Progress
    warnings: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


def run(request: EngineRequest, report: Report, blender: Blender | None) -> EngineResult:
    """Do one run; see :class:`services.rigging.engines.limb_graph.LimbGraph`."""
    settings = _settings(request, fbx=blender is not None)
    progress = Progress(report)
    progress.enter("reading", "Reading the mesh")
    try:
        source = open_source(request.input("mesh"), request.workdir, blender, progress)
        work = _Work(settings, source.document, progress, list(source.warnings))
        del source
        rig = read_rig(work.document)
        if settings.rig_mode == "skin":
            _skin(work, rig)
        else:
            _rig(work, rig)
        return deliver(
            work.document.encode(),
            settings.output_format,
            request.workdir,
            {**work.facts, "rig_mode": settings.rig_mode},
            work.warnings,
            progress,
            blender,
        )
    except PoseEstimationFailed as error:
        raise InvalidArgument(f"pose estimation failed: {error.reason}", reason="RIGGING_FAILED") from error
    except MeshError as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error


def _settings(request: EngineRequest, *, fbx: bool) -> _Settings:
    if request.feature != FEATURE:
        raise InvalidArgument(f"This engine does not do {request.feature}.")
    given = request.parameters
    mode = _one_of("rig_mode", given.get("rig_mode"), RIG_MODES)
    if given.get("include_weights") is False:
        if mode == "skin":
            raise InvalidArgument("rig_mode skin makes weights; include_weights must not be false.")
        mode = "skeleton"
    count = int(given.get("bone_count") or 0)
    if count and not 2 <= count <= 256:
        raise InvalidArgument("bone_count must be from 2 to 256.")
    return _Settings(
        rig_mode=mode,
        character_type=_one_of("character_type", given.get("character_type") or "auto", CHARACTER_TYPES),
        output_format=_one_of("output_format", given.get("output_format"), FORMATS if fbx else FORMATS[:2]),
        bone_count=count or None,
    )


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise InvalidArgument(f"{name} must be one of {', '.join(allowed)}.")
    return str(value)


def _read(work: _Work, *, rigid: bool) -> Character:
    character = read_character(work.document, LIMITS.max_vertices, rigid=rigid)
    if len(character.faces) > MAX_FACES:
        raise MeshError(f"The model has {len(character.faces):,} faces; at most {MAX_FACES:,} can be rigged.")
    if np.ptp(character.vertices, axis=0).max() < _LEAST_EXTENT:
        raise MeshError("All points of the model are in one place.")
    return character


def _rig(work: _Work, old: FileRig | None) -> None:
    """Give the document a new skeleton and, unless that is all that was asked for, weights."""
    character = _read(work, rigid=True)
    fitted = _fit(work, character)
    skin = _bind(work, character, fitted) if work.settings.rig_mode == "full" else None
    work.progress.enter("writing", "Writing the rig")
    if old is not None:
        _tell_replaced(work, old)
        character = character.renumbered(forget_rig(work.document, old.nodes))
    nodes = write_skeleton(work.document, fitted.skeleton)
    write_skin(work.document, character, nodes, fitted.skeleton.rest, skin)
    work.facts |= _facts_of(fitted)


def _fit(work: _Work, character: Character) -> Fitted:
    work.progress.enter("fitting", "Finding the limbs")
    fitted = fit_skeleton(
        character.vertices,
        character.faces,
        character_type=work.settings.character_type,
        bone_count=work.settings.bone_count,
        report=lambda stage, share: work.progress.within(share, stage.capitalize()),
    )
    work.warnings += fitted.warnings
    return fitted


def _bind(work: _Work, character: Character, fitted: Fitted) -> Skin:
    work.progress.enter("binding", "Binding the skin")
    skin, warnings = bind(character.vertices, character.faces, fitted.skeleton, report=work.progress.within)
    work.warnings += warnings
    return skin


def _tell_replaced(work: _Work, old: FileRig) -> None:
    text = f"The model had a rig of {len(old.nodes)} joints, which was replaced"
    if old.animations:
        text += f"; {old.animations} animations that moved it were removed"
    work.warnings.append(f"{text}.")


def _skin(work: _Work, rig: FileRig | None) -> None:
    """Renew the weights of the joints the document has."""
    if rig is None or len(rig.nodes) < 2:
        raise InvalidArgument(
            "The mesh has no joints to bind it to; use rig_mode full.", reason="INVALID_INPUT_FILE"
        )
    character = _read(work, rigid=not rig.moves.any())
    work.progress.enter("binding", "Binding the skin")
    part, joints = deforming(rig)
    skin, warnings = bind(character.vertices, character.faces, part, report=work.progress.within)
    work.warnings += warnings
    work.progress.enter("writing", "Writing the weights")
    renew_rig(work.document, character, rig, Skin(joints[skin.joints], skin.weights))
    work.facts |= {"template": "existing", "confidence": None, "pose": None}


def _facts_of(fitted: Fitted) -> Mapping[str, Any]:
    angle = fitted.pose.arm_angle
    return {
        "template": fitted.template,
        "confidence": fitted.confidence,
        "confidence_reasons": list(fitted.reasons),
        "pose": {
            "kind": fitted.pose.kind,
            "arm_angle_degrees": None if math.isnan(angle) else round(angle, 1),
            "facing": _numbers(fitted.facing),
            "up": _numbers(fitted.up),
        },
        "aliases": {system: dict(names) for system, names in fitted.aliases.items()},
    }


def _numbers(vector: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 4) for value in vector]
