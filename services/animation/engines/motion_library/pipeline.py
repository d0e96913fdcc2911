"""The run: read, perform, retarget, draw, write, measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from maquette.geometry.codecs import decode
from maquette.geometry.codecs.fbx import Blender
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.codecs.gltf_rig import FileRig
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile, OutputFile, Report
from maquette.runtime.errors import FailedPrecondition, InvalidArgument
from services.animation.engines.motion_library import FEATURE
from services.animation.engines.motion_library.deliver import Delivery
from services.animation.engines.motion_library.portrait import draw_preview, draw_still
from services.animation.engines.motion_library.source import LIMITS, Reader, named_apart
from services.animation.engines.motion_library.wishes import Wishes, read_wishes
from services.animation.retarget import Flesh, Retargeted, flesh_of, retarget, take_of_motion

_READING, _PERFORMING, _RENDERING, _WRITING = 0.0, 0.15, 0.6, 0.8
"""Share of a run at which each stage begins."""


def run(request: EngineRequest, report: Report, blender: Blender | None = None) -> EngineResult:
    """Do one run; see :class:`services.animation.engines.motion_library.MotionLibrary`."""
    if request.feature != FEATURE:
        raise InvalidArgument(f"This engine does not do {request.feature}.")
    own = next((file for file in request.inputs if file.role == "clip"), None)
    wishes = read_wishes(request.parameters, own_clip=own is not None)
    if wishes.output_format == "fbx" and blender is None:
        raise FailedPrecondition("This node cannot write FBX.", reason="MODEL_NOT_AVAILABLE")
    reader = Reader(request.workdir, blender, _tick(report, "reading", _READING, "Reading the character"))
    reader.tick()
    try:
        document, rig, warnings = reader.character(request.input("mesh"))
        asset = decode(document.encode(), "glb", LIMITS) if document.json.get("meshes") else None
        warnings += [wish.warning for wish in wishes.motions if wish.warning]
        # It stands on its lowest point.
        ground = min(float(p.mesh.vertices[:, 1].min()) for p in asset.parts) if asset else None
        puppet = Puppet(document, rig, asset, LIMITS.max_vertices) if asset else None
        flesh = flesh_of(*puppet.skin) if puppet else None
        done = _perform(wishes, own, reader, rig, ground, flesh, report)
        clips = [result.clip for result in done]
        warnings += dict.fromkeys(warning for result in done for warning in result.warnings)
        warnings += [f"The clip {clip.name} is a single pose." for clip in clips if len(clip.times) == 1]
        if not wishes.keep_clips and document.json.pop("animations", None):
            warnings.append("The clips that the model had were left out.")
        seen = None if request.parameters.get("no_pictures") else puppet
        pictures = _pictures(request.workdir, seen, rig, clips[0], report) if seen else []
        tick = _tick(report, "writing", _WRITING, "Writing the clips")
        tick()
        delivery = Delivery(request.workdir, document, rig, asset, wishes, blender, tick)
        files, info = delivery.write(clips, warnings)
        return EngineResult((*files, *pictures), info, tuple(warnings))
    except MeshError as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error


def _tick(report: Report, stage: str, fraction: float, message: str) -> Callable[[], None]:
    """Return what tells a stage again; it raises Cancelled when the task was cancelled."""
    return lambda: report(stage, fraction, message)


def _perform(
    wishes: Wishes,
    own: InputFile | None,
    reader: Reader,
    rig: FileRig,
    ground: float | None,
    flesh: Flesh | None,
    report: Report,
) -> list[Retargeted]:
    takes = reader.takes(own, wishes.fps) if own is not None else []
    takes = named_apart(takes, [wish.name for wish in wishes.motions])
    count = len(takes) + len(wishes.motions)
    done: list[Retargeted] = []

    def tell(message: str) -> None:
        share = (_RENDERING - _PERFORMING) * len(done) / count
        report("performing", _PERFORMING + share, message)

    for name, take in takes:
        tell(f"Taking over {name}")
        done.append(
            retarget(take, rig.skeleton, name=name, in_place=wishes.in_place, ground=ground, flesh=flesh)
        )
    for wish in wishes.motions:
        tell(f"Performing {wish.name}")
        take = take_of_motion(wish.move.perform(wishes.fps, wish.style), loop=wish.move.loop)
        done.append(
            retarget(take, rig.skeleton, name=wish.name, in_place=wish.in_place, ground=ground, flesh=flesh)
        )
    return done


def _pictures(workdir: Path, puppet: Puppet, rig: FileRig, clip: Clip, report: Report) -> list[OutputFile]:
    """Draw the first clip: a still and a short animated preview."""
    report("rendering", _RENDERING, "Drawing the thumbnail")
    still = draw_still(puppet, rig.skeleton, clip)
    report("rendering", (_RENDERING + _WRITING) / 2, "Drawing the preview")
    moving = draw_preview(puppet, rig.skeleton, clip)
    return [
        _write(workdir / "thumbnail.png", still, "thumbnail", "image/png"),
        _write(workdir / "preview.webp", moving, "preview", "image/webp"),
    ]


def _write(path: Path, data: bytes, role: str, media_type: str) -> OutputFile:
    path.write_bytes(data)
    return OutputFile(role, path, media_type, 0, {"file_size_bytes": len(data)})
