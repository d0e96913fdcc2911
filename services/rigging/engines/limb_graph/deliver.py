"""The files of a result, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from maquette.geometry.asset import Asset
from maquette.geometry.codecs import MEDIA_TYPES, decode, encode
from maquette.geometry.codecs.fbx import Blender
from maquette.geometry.codecs.gltf_rig import measure_rig
from maquette.geometry.codecs.rig_sidecar import write_sidecar
from maquette.geometry.errors import MeshError
from maquette.geometry.textures import encode_png
from maquette.geometry.topology import measure
from maquette.runtime.engine import EngineResult, OutputFile
from services.rigging.engines.limb_graph.portrait import draw_rig
from services.rigging.engines.limb_graph.progress import Progress
from services.rigging.engines.limb_graph.source import LIMITS

FORMATS = ("glb", "obj", "fbx")
_FBX_TYPE = "model/fbx"
_FBX_ERROR = 1e-3
"""Farthest that a joint may have moved on its way through FBX, as a share of the model's height."""


def deliver(
    glb: bytes,
    kind: str,
    workdir: Path,
    facts: dict[str, Any],
    warnings: Sequence[str],
    progress: Progress,
    blender: Blender | None,
) -> EngineResult:
    """Write the files of a result in the format asked for, measure them, draw the thumbnail.

    ``facts`` are those that no file can tell. Raises :class:`MeshError` when FBX cannot hold the
    model.
    """
    asset = decode(glb, "glb", LIMITS)
    measured = {**measure(asset), **measure_rig(glb, LIMITS.max_vertices)}
    told = list(warnings)
    if kind == "obj":
        outputs = _write_obj(asset, glb, workdir, told)
    elif kind == "fbx" and blender is not None:
        outputs, found = _write_fbx(glb, workdir, measured, progress, blender)
        lost = int(measured["animations"]) - len(found.pop("clips"))
        if lost > 0:
            told.append(f"The FBX file leaves out {lost} animations of the model; GLB keeps them.")
        measured |= found
    else:
        outputs = (_write(workdir / "model.glb", glb, "mesh", MEDIA_TYPES["glb"]),)
    info = {**measured, **_told(facts, measured), "format": kind, "file_size_bytes": _size(outputs[0])}
    progress.enter("rendering", "Drawing the thumbnail")
    picture = encode_png(draw_rig(asset, measured["bones"]))
    thumbnail = _write(workdir / "thumbnail.png", picture, "thumbnail", "image/png")
    mesh = OutputFile("mesh", outputs[0].path, outputs[0].media_type, 0, _summary(info))
    return EngineResult((mesh, *outputs[1:], thumbnail), info, tuple(told))


def _told(facts: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Return what the dialects tell of a rig, from what was measured."""
    skinned = bool(measured["has_skinning"])
    return {
        **facts,
        "rig_info": {
            "rig_type": facts["template"],
            "has_skinning": skinned,
            "skeleton_only": not skinned,
            "bone_count": measured["bone_count"],
            "rig_mode": facts["rig_mode"],
        },
        "animation_ready": skinned and measured["unweighted_vertices"] == 0,
    }


def _summary(info: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept with the file itself: all but the lists."""
    return {name: value for name, value in info.items() if name not in ("bones", "aliases")}


def _write(path: Path, data: bytes, role: str, media_type: str, ordinal: int = 0) -> OutputFile:
    path.write_bytes(data)
    return OutputFile(role, path, media_type, ordinal, {"file_size_bytes": len(data)})


def _size(file: OutputFile) -> int:
    return int(file.meta["file_size_bytes"])


def _write_obj(asset: Asset, glb: bytes, workdir: Path, told: list[str]) -> tuple[OutputFile, ...]:
    told.append("OBJ holds no rig; joints and weights are in model.rig.json beside it.")
    outputs, seen = [], {"mesh": 0, "material": 0, "texture": 0}
    for file in encode(asset, "obj"):
        outputs.append(_write(workdir / file.name, file.data, file.role, file.media_type, seen[file.role]))
        seen[file.role] += 1
    sidecar = orjson.dumps(write_sidecar(glb, LIMITS.max_vertices), option=orjson.OPT_SERIALIZE_NUMPY)
    return (*outputs, _write(workdir / "model.rig.json", sidecar, "rig", "application/json"))


def _write_fbx(
    glb: bytes, workdir: Path, measured: dict[str, Any], progress: Progress, blender: Blender
) -> tuple[tuple[OutputFile, ...], dict[str, Any]]:
    """Write FBX and return what Blender found in it, which must be the rig that was meant."""
    source, target = workdir / "to-fbx.glb", workdir / "model.fbx"
    source.write_bytes(glb)
    found = blender.to_fbx(source, target, progress.tick)
    source.unlink()
    meant = {bone["name"]: bone for bone in measured["bones"]}
    height = max(high - low for low, high in zip(measured["bounds_min"], measured["bounds_max"], strict=True))
    for bone in found["bones"]:
        twin = meant.pop(bone["name"], None)
        far = twin is None or any(
            abs(a - b) > _FBX_ERROR * height for a, b in zip(bone["position"], twin["position"], strict=True)
        )
        if twin is None or far or bone["parent"] != twin["parent"]:
            raise MeshError("The FBX file does not hold the skeleton as it was fitted; take GLB instead.")
    if meant:
        raise MeshError("The FBX file has lost joints of the skeleton; take GLB instead.")
    found["bone_count"] = len(found["bones"])
    del found["fps"], found["clips_left_out"]
    size = target.stat().st_size
    return (OutputFile("mesh", target, _FBX_TYPE, 0, {"file_size_bytes": size}),), found
