"""The files of a run: the character as a glTF document, and motions of the client's own as takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maquette.geometry.codecs import MeshLimits
from maquette.geometry.codecs.bvh import read_bvh
from maquette.geometry.codecs.fbx import Blender, is_fbx
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig, read_rig
from maquette.geometry.errors import MeshError, UnreadableMesh
from maquette.runtime.engine import InputFile
from maquette.runtime.errors import FailedPrecondition
from services.animation.retarget import Take, take_of_clip
from services.animation.retarget.take import MOST_SECONDS

LIMITS = MeshLimits(max_vertices=1_500_000)
"""Vertices as stored, with those doubled at seams."""
_HEAD_BYTES = 1024
_LONGEST_NAME = 40
"""Characters of a clip's name that are kept: Blender takes 63 bytes."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads files; FBX by Blender, where that is there. ``tick`` may raise to stop the work."""

    workdir: Path
    blender: Blender | None
    tick: Callable[[], None]

    def character(self, file: InputFile) -> tuple[GltfDocument, FileRig, list[str]]:
        """Return the document of a rigged character, its rig, and what its owner should know of it.

        Raises :class:`MeshError` for what cannot be used, and MODEL_NOT_AVAILABLE for FBX without Blender.
        """
        data, warnings = _checked(file), []
        if is_fbx(data[:_HEAD_BYTES]):
            blender = self._need_blender()
            target = self.workdir / "character.glb"
            facts = blender.to_glb(file.path, target, self.tick)
            data = _taken(target)
            lost = int(facts.get("pictures_missing") or 0)
            if lost:
                warnings.append(f"The FBX file refers to {lost} pictures that are not inside it.")
        document = GltfDocument(data, LIMITS.max_vertices)
        rig = read_rig(document)
        if rig is None or len(rig.nodes) < 2:
            raise MeshError("The model has no skeleton to move; rig it first.")
        return document, rig, warnings

    def takes(self, file: InputFile, fps: float) -> list[tuple[str, Take]]:
        """Return the client's own motions: every clip of a GLB or FBX file, or the one of a BVH file.

        Raises as :meth:`character`.
        """
        data, name = _checked(file), Path(file.filename).stem or "clip"
        if data.lstrip()[:9].upper() == b"HIERARCHY":
            skeleton, clip = read_bvh(data, max_seconds=MOST_SECONDS, name=name)
            return [(name, take_of_clip(skeleton, clip, fps))]
        if is_fbx(data[:_HEAD_BYTES]):
            target = self.workdir / "clip.glb"
            self._need_blender().motion_to_glb(file.path, target, self.tick)
            data = _taken(target)
        document = GltfDocument(data, LIMITS.max_vertices)
        rig = read_rig(document)
        if rig is None:
            raise MeshError("The clip's file has no skeleton.")
        clips = read_clips(document, rig, fps, max_seconds=MOST_SECONDS)
        if not clips:
            raise MeshError("The clip's file has no clip that moves its skeleton.")
        return [(clip.name, take_of_clip(rig.skeleton, clip, fps)) for clip in clips]

    def _need_blender(self) -> Blender:
        if self.blender is None:
            raise FailedPrecondition("This node cannot read FBX.", reason="MODEL_NOT_AVAILABLE")
        return self.blender


def named_apart(takes: list[tuple[str, Take]], others: Iterable[str]) -> list[tuple[str, Take]]:
    """Return takes under names that none of ``others`` has, no two the same, short enough for FBX."""
    taken = set(others)
    named: list[tuple[str, Take]] = []
    for name, take in takes:
        short = name[:_LONGEST_NAME].strip() or "clip"
        free = next(each for each in _numbered(short) if each not in taken)
        taken.add(free)
        named.append((free, take))
    return named


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} {number}" for number in itertools.count(2))


def _checked(file: InputFile) -> bytes:
    size = file.path.stat().st_size
    if size == 0:
        raise UnreadableMesh("The file is empty.")
    if size > LIMITS.max_bytes:
        raise UnreadableMesh(f"The file is larger than {LIMITS.max_bytes >> 20} MiB.")
    return file.path.read_bytes()


def _taken(path: Path) -> bytes:
    data = path.read_bytes()
    path.unlink()
    return data
