"""The input of a run as a glTF document, whatever format it came in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maquette.geometry.codecs import MEDIA_TYPES, MeshLimits, decode, encode
from maquette.geometry.codecs.fbx import Blender, is_fbx
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.errors import UnreadableMesh
from maquette.runtime.engine import InputFile
from maquette.runtime.errors import FailedPrecondition
from services.rigging.engines.limb_graph.progress import Progress

LIMITS = MeshLimits(max_vertices=1_500_000)
"""Vertices as stored, with those doubled at seams."""
_HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A document to rig, and what its owner should know of how it was read."""

    document: GltfDocument
    warnings: tuple[str, ...] = ()


def open_source(file: InputFile, workdir: Path, blender: Blender | None, progress: Progress) -> Source:
    """Read the input.

    GLB and glTF are taken as they are; OBJ, PLY and STL are read into triangles and FBX is read by
    Blender, and both become GLB. Raises :class:`maquette.geometry.errors.MeshError`, and
    MODEL_NOT_AVAILABLE for FBX without Blender.
    """
    size = file.path.stat().st_size
    if size == 0:
        raise UnreadableMesh("The file is empty.")
    if size > LIMITS.max_bytes:
        raise UnreadableMesh(f"The file is larger than {LIMITS.max_bytes >> 20} MiB.")
    with file.path.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    if is_fbx(head):
        return _from_fbx(file.path, workdir, blender, progress)
    data = file.path.read_bytes()
    suffix = file.path.suffix.lower().removeprefix(".") or _suffix_of(file.media_type)
    if head[:4] == b"glTF" or suffix in ("glb", "gltf"):
        if suffix == "glb" and head[:4] != b"glTF":
            raise UnreadableMesh("The file is no GLB file.")
        return Source(GltfDocument(data, LIMITS.max_vertices))
    asset = decode(data, suffix, LIMITS)
    return Source(GltfDocument(encode(asset, "glb")[0].data, LIMITS.max_vertices))


def _from_fbx(path: Path, workdir: Path, blender: Blender | None, progress: Progress) -> Source:
    if blender is None:
        raise FailedPrecondition("This node cannot read FBX.", reason="MODEL_NOT_AVAILABLE")
    target = workdir / "from-fbx.glb"
    facts = blender.to_glb(path, target, progress.tick)
    data = target.read_bytes()
    target.unlink()
    warnings = []
    if lost := int(facts.get("pictures_missing") or 0):
        warnings.append(f"The FBX file refers to {lost} pictures that are not inside it.")
    if too_long := facts.get("clips_left_out"):
        warnings.append(f"Clips of the FBX file that are too long were left out: {', '.join(too_long)}.")
    return Source(GltfDocument(data, LIMITS.max_vertices), tuple(warnings))


def _suffix_of(media_type: str) -> str:
    known = {**{name: kind for kind, name in MEDIA_TYPES.items()}, "application/wavefront-obj": "obj"}
    return known.get(media_type, "")
