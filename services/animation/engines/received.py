"""The local half of the remote animation engines: the clips that came back, at the rate asked for.

Runs in a worker: a provider's file is a stranger's as any upload is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maquette.geometry.codecs import MEDIA_TYPES, decode
from maquette.geometry.codecs.fbx import is_fbx
from maquette.geometry.codecs.gltf_arrays import WRONG, index
from maquette.geometry.codecs.gltf_clips import strip_to_clips, write_clips
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.codecs.gltf_rig import FileRig, measure_rig, read_rig
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip
from maquette.geometry.topology import measure
from maquette.runtime.capability.engines import plain_result
from maquette.runtime.engine import EngineResult, OutputFile, Report
from maquette.runtime.errors import Internal
from services.animation.engines.motion_library.portrait import draw_preview, draw_still
from services.animation.engines.motion_library.source import LIMITS
from services.animation.retarget.take import MOST_SECONDS

_FBX_TYPE = "model/fbx"
_HEAD_BYTES = 1024
_USUAL_FPS = 30.0
_SAME_RATE = 0.01
"""Share by which two rates may differ and still be one."""


@dataclass(frozen=True, slots=True)
class _Wish:
    fps: float
    """Frames per second; 0 leaves them as they are."""
    clip_only: bool
    output_format: str


@dataclass(slots=True)
class _Animated:
    """A character with its clips, as it came."""

    document: GltfDocument
    rig: FileRig
    clips: tuple[Clip, ...]
    own_fps: float
    fps: float


def receive_clips(
    motions: Sequence[Mapping[str, Any]],
    fps: float,
    clip_only: bool,
    output_format: str,
    warnings: Sequence[str],
    report: Report,
    **files: str,
) -> dict[str, Any]:
    """Make a result of the characters with clips that a provider made, one file for each motion.

    A motion has its ``id``, its ``upstream``, the ``fbx_fps`` that the provider made its FBX with (0: its
    usual rate), and names of ``files``: ``glb``, and ``fbx`` where there is one. A clip at another rate than
    ``fps`` is resampled here.
    """
    wish, told = _Wish(fps, clip_only, output_format), list(warnings)
    outputs: list[OutputFile] = []
    info: dict[str, Any] = {}
    names: list[dict[str, Any]] = []
    for number, motion in enumerate(motions):
        stem = "model" if len(motions) == 1 else f"{number + 1:02d}_motion_{motion['id']}"
        try:
            animated = _read(Path(files[motion["glb"]]), wish, told)
            made, facts = _write(animated, wish, stem, number, motion, files)
            if not number:
                info = facts
                made += _pictures(animated, report)
        except MeshError as error:
            raise Internal(
                f"the provider's file for motion {motion['id']} is no usable clip: {error}",
                reason="PROCESSING_FAILED",
            ) from error
        outputs += made
        names += [{**_clip_facts(clip), "ordinal": number} for clip in animated.clips]
    info["animations"] = names
    warnings = tuple(dict.fromkeys(told))
    return plain_result(EngineResult(tuple(outputs), info, warnings), Path.cwd())


def _read(path: Path, wish: _Wish, told: list[str]) -> _Animated:
    """Read a file and bring its clips to the rate asked for."""
    document = GltfDocument(path.read_bytes(), LIMITS.max_vertices)
    rig = read_rig(document)
    if rig is None:
        raise MeshError("It has no skeleton.")
    own = _rate(document)
    fps = wish.fps or own
    clips = read_clips(document, rig, fps, max_seconds=MOST_SECONDS)
    if not clips:
        raise MeshError("It has no clip that moves its skeleton.")
    if abs(fps - own) > _SAME_RATE * own:
        document.json.pop("animations")
        write_clips(document, rig, clips)
        told.append(f"The GLB came with {own:g} frames per second and was resampled to {fps:g} here.")
    return _Animated(document, rig, clips, own, fps)


def _rate(document: GltfDocument) -> float:
    """Return the frames per second of the densest channel; 30 where no channel has two keys."""
    best = 0.0
    try:
        for entry in document.json.get("animations", []):
            for sampler in entry["samplers"]:
                times = document.arrays.accessor(index(sampler["input"])).astype(np.float64).ravel()
                steps = np.diff(times)
                steps = steps[steps > 0]
                if len(steps):
                    best = max(best, 1.0 / float(np.median(steps)))
    except WRONG as error:
        if isinstance(error, MeshError):
            raise
        raise MeshError("An animation of the glTF file breaks the format.") from error
    return round(best, 3) or _USUAL_FPS


def _write(
    animated: _Animated,
    wish: _Wish,
    stem: str,
    number: int,
    motion: Mapping[str, Any],
    files: Mapping[str, str],
) -> tuple[list[OutputFile], dict[str, Any]]:
    document, rig = animated.document, animated.rig
    data = strip_to_clips(document, rig, animated.clips) if wish.clip_only else document.encode()
    whole = {} if wish.clip_only else measure(decode(data, "glb", LIMITS))
    facts: dict[str, Any] = {
        **whole,
        **measure_rig(data, LIMITS.max_vertices),
        "animations": [_clip_facts(clip) for clip in animated.clips],
        "fps": animated.fps,
        "format": wish.output_format,
        "file_size_bytes": len(data),
    }
    told = {
        **{name: value for name, value in facts.items() if name != "bones"},
        "format": "glb",
        "upstream": dict(motion["upstream"]),
    }
    path = Path.cwd() / f"{stem}.glb"
    path.write_bytes(data)
    glb = OutputFile("mesh", path, MEDIA_TYPES["glb"], number, told)
    if not motion.get("fbx"):
        if wish.output_format == "fbx":
            raise Internal("the provider gave no FBX file", reason="PROCESSING_FAILED")
        return [glb], facts
    fbx_fps = float(motion["fbx_fps"]) or animated.own_fps
    fbx = _fbx(Path(files[motion["fbx"]]), stem, number, {**told, "format": "fbx", "fps": fbx_fps})
    if wish.output_format == "fbx":
        facts |= {"fps": fbx_fps, "file_size_bytes": fbx.meta["file_size_bytes"]}
        return [fbx, OutputFile("glb", path, MEDIA_TYPES["glb"], number, told)], facts
    return [glb, OutputFile("fbx", fbx.path, _FBX_TYPE, number, fbx.meta)], facts


def _fbx(source: Path, stem: str, number: int, meta: Mapping[str, Any]) -> OutputFile:
    data = source.read_bytes()
    if not is_fbx(data[:_HEAD_BYTES]):
        raise Internal("the provider's FBX file is none", reason="PROCESSING_FAILED")
    path = Path.cwd() / f"{stem}.fbx"
    path.write_bytes(data)
    return OutputFile("mesh", path, _FBX_TYPE, number, {**meta, "file_size_bytes": len(data)})


def _pictures(animated: _Animated, report: Report) -> list[OutputFile]:
    """Draw the first clip: a still and a short animated preview."""
    if not animated.document.json.get("meshes"):
        return []
    report("rendering", 1.0, "Drawing the preview")
    asset = decode(animated.document.encode(), "glb", LIMITS)
    puppet = Puppet(animated.document, animated.rig, asset, LIMITS.max_vertices)
    skeleton, clip = animated.rig.skeleton, animated.clips[0]
    drawn = (
        ("thumbnail", "thumbnail.png", "image/png", draw_still(puppet, skeleton, clip)),
        ("preview", "preview.webp", "image/webp", draw_preview(puppet, skeleton, clip)),
    )
    outputs = []
    for role, name, media_type, data in drawn:
        path = Path.cwd() / name
        path.write_bytes(data)
        outputs.append(OutputFile(role, path, media_type, 0, {"file_size_bytes": len(data)}))
    return outputs


def _clip_facts(clip: Clip) -> dict[str, Any]:
    return {"name": clip.name, "seconds": round(clip.seconds, 4), "frames": len(clip.times)}
