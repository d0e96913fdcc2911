"""The run: read, perform, retarget, write, measure, draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maquette.geometry.asset import Asset
from maquette.geometry.codecs import MEDIA_TYPES, MeshLimits, decode
from maquette.geometry.codecs.bvh import read_bvh
from maquette.geometry.codecs.gltf_clips import strip_to_clips, write_clips
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.codecs.gltf_rig import FileRig, measure_rig, read_rig
from maquette.geometry.errors import MeshError, UnreadableMesh
from maquette.geometry.rig import Clip
from maquette.geometry.topology import measure
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile, OutputFile, Report
from maquette.runtime.errors import InvalidArgument
from services.animation.engines.motion_library import FEATURE
from services.animation.engines.motion_library.portrait import draw_preview, draw_still
from services.animation.engines.motion_library.wishes import Wishes, read_wishes
from services.animation.retarget import Retargeted, Take, retarget, take_of_clip, take_of_motion
from services.animation.retarget.take import MOST_SECONDS

LIMITS = MeshLimits(max_vertices=1_500_000)
"""Vertices as stored, with those doubled at seams."""


def run(request: EngineRequest, report: Report) -> EngineResult:
    """Do one run; see :class:`services.animation.engines.motion_library.MotionLibrary`."""
    if request.feature != FEATURE:
        raise InvalidArgument(f"This engine does not do {request.feature}.")
    own = next((file for file in request.inputs if file.role == "clip"), None)
    wishes = read_wishes(request.parameters, own_clip=own is not None)
    report("reading", 0.0, "Reading the character")
    try:
        document = GltfDocument(_bytes(request.input("mesh")), LIMITS.max_vertices)
        rig = _rig_of(document)
        asset = decode(document.encode(), "glb", LIMITS) if document.json.get("meshes") else None
        warnings = [wish.warning for wish in wishes.motions if wish.warning]
        # It stands on its lowest point.
        ground = min(float(p.mesh.vertices[:, 1].min()) for p in asset.parts) if asset else None
        done = _perform(wishes, own, rig, ground, report)
        clips = [result.clip for result in done]
        warnings += dict.fromkeys(warning for result in done for warning in result.warnings)
        return _deliver(request.workdir, document, rig, asset, clips, wishes, warnings, report)
    except MeshError as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error


def _bytes(file: InputFile) -> bytes:
    size = file.path.stat().st_size
    if size == 0:
        raise UnreadableMesh("The file is empty.")
    if size > LIMITS.max_bytes:
        raise UnreadableMesh(f"The file is larger than {LIMITS.max_bytes >> 20} MiB.")
    return file.path.read_bytes()


def _rig_of(document: GltfDocument) -> FileRig:
    rig = read_rig(document)
    if rig is None or len(rig.nodes) < 2:
        raise MeshError("The model has no skeleton to move; rig it first.")
    return rig


def _perform(
    wishes: Wishes, own: InputFile | None, rig: FileRig, ground: float | None, report: Report
) -> list[Retargeted]:
    takes: list[tuple[str, Take, bool]] = []
    if own is not None:
        takes += [(name, take, wishes.in_place) for name, take in _own_takes(own, wishes.fps)]
    count = len(takes) + len(wishes.motions)
    done: list[Retargeted] = []
    for name, take, place in takes:
        report("performing", 0.1 + 0.5 * len(done) / count, f"Taking over {name}")
        done.append(retarget(take, rig.skeleton, name=name, in_place=place, ground=ground))
    for wish in wishes.motions:
        report("performing", 0.1 + 0.5 * len(done) / count, f"Performing {wish.name}")
        take = take_of_motion(wish.move.perform(wishes.fps, wish.style), loop=wish.move.loop)
        done.append(retarget(take, rig.skeleton, name=wish.name, in_place=wish.in_place, ground=ground))
    return done


def _own_takes(file: InputFile, fps: float) -> list[tuple[str, Take]]:
    """Read the client's own motion: every clip of a GLB, or the one of a BVH file."""
    data = _bytes(file)
    name = Path(file.filename).stem or "clip"
    if data.lstrip()[:9].upper() == b"HIERARCHY":
        skeleton, clip = read_bvh(data, max_seconds=MOST_SECONDS, name=name)
        return [(name, take_of_clip(skeleton, clip, fps))]
    document = GltfDocument(data, LIMITS.max_vertices)
    rig = read_rig(document)
    if rig is None:
        raise MeshError("The clip's file has no skeleton.")
    clips = read_clips(document, rig, fps, max_seconds=MOST_SECONDS)
    if not clips:
        raise MeshError("The clip's file has no clip that moves its skeleton.")
    return [(clip.name, take_of_clip(rig.skeleton, clip, fps)) for clip in clips]


def _deliver(
    workdir: Path,
    document: GltfDocument,
    rig: FileRig,
    asset: Asset | None,
    clips: list[Clip],
    wishes: Wishes,
    warnings: list[str],
    report: Report,
) -> EngineResult:
    if not wishes.keep_clips and document.json.pop("animations", None):
        warnings.append("The clips that the model had were left out.")
    outputs = _pictures(workdir, document, rig, asset, clips[0], report) if asset else []
    report("writing", 0.95, "Writing the clips")
    if wishes.clip_only:
        data = strip_to_clips(document, rig, clips)
    else:
        write_clips(document, rig, clips)
        data = document.encode()
    path = workdir / "model.glb"
    path.write_bytes(data)
    info = _facts(data, None if wishes.clip_only else asset, clips, wishes)
    told = {name: value for name, value in info.items() if name != "bones"}
    mesh = OutputFile("mesh", path, MEDIA_TYPES["glb"], 0, told)
    return EngineResult((mesh, *outputs), info, tuple(warnings))


def _pictures(
    workdir: Path, document: GltfDocument, rig: FileRig, asset: Asset, clip: Clip, report: Report
) -> list[OutputFile]:
    """Draw the first clip: a still and a short animated preview."""
    report("rendering", 0.6, "Drawing the thumbnail")
    puppet = Puppet(document, rig, asset, LIMITS.max_vertices)
    still = _write(
        workdir / "thumbnail.png", draw_still(puppet, rig.skeleton, clip), "thumbnail", "image/png"
    )
    report("rendering", 0.75, "Drawing the preview")
    moving = _write(
        workdir / "preview.webp", draw_preview(puppet, rig.skeleton, clip), "preview", "image/webp"
    )
    return [still, moving]


def _write(path: Path, data: bytes, role: str, media_type: str) -> OutputFile:
    path.write_bytes(data)
    return OutputFile(role, path, media_type, 0, {"file_size_bytes": len(data)})


def _facts(data: bytes, asset: Asset | None, clips: list[Clip], wishes: Wishes) -> dict[str, Any]:
    """Return what is measured on the file; its meshes are those that came, to the byte."""
    whole = measure(asset) if asset else {}
    return {
        **whole,
        **measure_rig(data, LIMITS.max_vertices),
        "animations": [
            {"name": clip.name, "seconds": round(clip.seconds, 4), "frames": len(clip.times)}
            for clip in clips
        ],
        "fps": wishes.fps,
        "format": "glb",
        "file_size_bytes": len(data),
    }
