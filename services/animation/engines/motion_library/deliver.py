"""The files of a result: models with clips, or clips alone, and what is measured on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maquette.geometry.asset import Asset
from maquette.geometry.codecs import MEDIA_TYPES
from maquette.geometry.codecs.fbx import Blender
from maquette.geometry.codecs.gltf_clips import strip_to_clips, write_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import FileRig, measure_rig
from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip
from maquette.geometry.topology import measure
from maquette.runtime.engine import OutputFile
from services.animation.engines.motion_library.source import LIMITS
from services.animation.engines.motion_library.wishes import Wishes

_FBX_TYPE = "model/fbx"
_LONGEST_NAME = 60
_SLACK_FRAMES = 1.01
"""Frames by which a clip's length may differ after its way through FBX."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A character and its new clips, about to be written to ``workdir``."""

    workdir: Path
    document: GltfDocument
    rig: FileRig
    asset: Asset | None
    """What is to be seen of the character; None where that is nothing."""
    wishes: Wishes
    blender: Blender | None
    tick: Callable[[], None]

    def write(self, clips: Sequence[Clip], warnings: list[str]) -> tuple[list[OutputFile], dict[str, Any]]:
        """Write the files; return them, the first told in full, and what was measured.

        Raises :class:`MeshError` when FBX cannot hold a clip.
        """
        if not self.wishes.each_in_a_file:
            return self._one("model", clips, 0, warnings)
        files: list[OutputFile] = []
        info: dict[str, Any] = {}
        untouched = self.document.encode()
        for ordinal, clip in enumerate(clips):
            # A document of its own: writing clips adds to it.
            document = GltfDocument(untouched, LIMITS.max_vertices)
            own = Delivery(self.workdir, document, self.rig, self.asset, self.wishes, self.blender, self.tick)
            written, told = own._one(_file_name(clip.name, ordinal), [clip], ordinal, warnings)
            files += written
            info = info or told
        info["animations"] = [{**_clip_facts(clip), "ordinal": ordinal} for ordinal, clip in enumerate(clips)]
        info["file_size_bytes"] = sum(int(file.meta["file_size_bytes"]) for file in files)
        return files, info

    def _one(
        self, name: str, clips: Sequence[Clip], ordinal: int, warnings: list[str]
    ) -> tuple[list[OutputFile], dict[str, Any]]:
        if self.wishes.clip_only:
            data = strip_to_clips(self.document, self.rig, clips)
        else:
            write_clips(self.document, self.rig, clips)
            data = self.document.encode()
        path = self.workdir / f"{name}.glb"
        path.write_bytes(data)
        info = self._facts(data, clips)
        if self.wishes.output_format == "fbx":
            path, found = self._as_fbx(path, clips, warnings)
            info |= found
        info["file_size_bytes"] = path.stat().st_size
        told = {key: value for key, value in info.items() if key != "bones"}
        kind = _FBX_TYPE if path.suffix == ".fbx" else MEDIA_TYPES["glb"]
        return [OutputFile("mesh", path, kind, ordinal, told)], info

    def _facts(self, data: bytes, clips: Sequence[Clip]) -> dict[str, Any]:
        """Return what is measured on the file; its meshes are those that came, to the byte."""
        whole = measure(self.asset) if self.asset and not self.wishes.clip_only else {}
        return {
            **whole,
            **measure_rig(data, LIMITS.max_vertices),
            "animations": [_clip_facts(clip) for clip in clips],
            "fps": self.wishes.fps,
            "format": self.wishes.output_format,
        }

    def _as_fbx(
        self, source: Path, clips: Sequence[Clip], warnings: list[str]
    ) -> tuple[Path, dict[str, Any]]:
        """Write FBX and return what Blender found in it, which must be the clips that were meant."""
        if self.blender is None:
            raise MeshError("This node cannot write FBX.")
        target = source.with_suffix(".fbx")
        found = self.blender.to_fbx(source, target, self.tick)
        source.unlink()
        lengths = {str(clip["name"]): float(clip["seconds"]) for clip in found.pop("clips", ())}
        for clip in clips:
            length = lengths.get(clip.name)
            if length is None or abs(length - clip.seconds) > _SLACK_FRAMES / self.wishes.fps:
                raise MeshError(
                    f"The FBX file does not hold the clip {clip.name} as it is; take GLB instead."
                )
        left_out = found.pop("clips_left_out", ())
        warnings += [f"The FBX file leaves out the clip {name}; GLB keeps it." for name in left_out]
        found["bone_count"] = len(found["bones"])
        found.pop("fps", None)
        return target, found


def _clip_facts(clip: Clip) -> dict[str, Any]:
    return {"name": clip.name, "seconds": round(clip.seconds, 4), "frames": len(clip.times)}


def _file_name(clip: str, ordinal: int) -> str:
    """Return a file name that no other clip of the run has."""
    words = re.sub(r"[^a-z0-9]+", "_", clip.lower()).strip("_")[:_LONGEST_NAME] or "clip"
    return f"{ordinal + 1:02d}_{words}"
