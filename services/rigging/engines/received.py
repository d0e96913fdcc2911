"""The local half of the remote rigging engines: the mesh as it is sent, and the rig that came back.

Runs in a worker: a provider's file is a stranger's as any upload is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maquette.geometry.codecs import decode
from maquette.geometry.codecs.fbx import is_fbx
from maquette.geometry.errors import MeshError
from maquette.geometry.topology import measure
from maquette.runtime.capability.engines import plain_result
from maquette.runtime.engine import EngineResult, InputFile, OutputFile, Report
from maquette.runtime.errors import Internal, InvalidArgument
from services.rigging.engines.limb_graph.deliver import deliver
from services.rigging.engines.limb_graph.progress import Progress
from services.rigging.engines.limb_graph.source import LIMITS, open_source

_FBX_TYPE = "model/fbx"
_HEAD_BYTES = 1024


def prepare_mesh(mesh: str, most_faces: int, report: Report) -> dict[str, Any]:
    """Check a mesh and write it as GLB; ``most_faces`` is what the provider takes."""
    source = InputFile("mesh", Path(mesh), "", Path(mesh).name)
    try:
        glb = open_source(source, Path.cwd(), None, Progress(report)).document.encode()
        faces = int(measure(decode(glb, "glb", LIMITS))["face_count"])
    except MeshError as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error
    if faces > most_faces:
        raise InvalidArgument(
            f"The model has {faces:,} faces; the provider rigs at most {most_faces:,}.",
            reason="INVALID_INPUT_FILE",
        )
    Path("mesh.glb").write_bytes(glb)
    return {"files": {"mesh": "mesh.glb"}}


def receive_rig(
    model: str,
    output_format: str,
    upstream: Mapping[str, Any],
    warnings: Sequence[str],
    report: Report,
    fbx: str = "",
) -> dict[str, Any]:
    """Make a result of the rigged GLB that a provider made: checked, measured, drawn.

    ``fbx`` is the same as FBX, where the provider gave it: it is the mesh if FBX was asked for, and comes
    along in a role of its own else. ``upstream`` tells later tasks which remote one made it.
    """
    told = list(warnings)
    facts: dict[str, Any] = {
        "template": "provider",
        "confidence": None,
        "confidence_reasons": [],
        "pose": None,
        "aliases": {},
        "rig_mode": "full",
    }
    progress = Progress(report)
    data = Path(model).read_bytes()
    try:
        kind = "glb" if output_format == "fbx" else output_format
        result = deliver(data, kind, Path.cwd(), facts, told, progress, None)
    except MeshError as error:
        text = f"the provider's file is no usable rig: {error}"
        raise Internal(text, reason="PROCESSING_FAILED") from error
    if not result.info["has_skinning"]:
        raise Internal("the provider's file has no rig", reason="PROCESSING_FAILED")
    outputs = [
        replace(output, meta={**output.meta, "upstream": dict(upstream)}) if output.role == "mesh" else output
        for output in result.outputs
    ]
    if fbx:
        outputs = _with_fbx(outputs, Path(fbx), upstream, first=output_format == "fbx")
    elif output_format == "fbx":
        raise Internal("the provider gave no FBX file", reason="PROCESSING_FAILED")
    info = {**result.info, "format": output_format}
    return plain_result(EngineResult(tuple(outputs), info, result.warnings), Path.cwd())


def _with_fbx(
    outputs: Sequence[OutputFile], source: Path, upstream: Mapping[str, Any], *, first: bool
) -> list[OutputFile]:
    """Return the files with the provider's FBX: as the mesh, or beside it."""
    data = source.read_bytes()
    if not is_fbx(data[:_HEAD_BYTES]):
        raise Internal("the provider's FBX file is none", reason="PROCESSING_FAILED")
    path = Path.cwd() / "model.fbx"
    path.write_bytes(data)
    mesh = next(output for output in outputs if output.role == "mesh")
    others = [output for output in outputs if output is not mesh]
    meta = {"file_size_bytes": len(data), "format": "fbx", "upstream": dict(upstream)}
    if first:
        return [
            OutputFile("mesh", path, _FBX_TYPE, 0, {**mesh.meta, **meta}),
            replace(mesh, role="glb"),
            *others,
        ]
    return [mesh, OutputFile("fbx", path, _FBX_TYPE, 0, meta), *others]
