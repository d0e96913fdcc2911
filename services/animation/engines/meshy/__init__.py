"""Characters animated by Meshy: the remote half, which runs in the node.

One task of Meshy's for each motion, and it moves only what Meshy has rigged: the character must come from
the engine `meshy_rigging`. `change_fps` gives an FBX alone, and for four rates only: the GLB is resampled in
our own half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maquette.runtime.engine import EngineDescription, EngineKind
from maquette.runtime.errors import Internal, InvalidArgument
from maquette.runtime.remote.engine import Desk, LocalStep, RemoteRequest
from maquette.runtime.remote.meshy import ANIMATION, RANK, Finished, Meshy, Wish, origin, upstream_of
from maquette.runtime.settings import MeshySettings

OUTPUT_FORMATS = ("glb", "fbx")
FPS = (24.0, 25.0, 30.0, 60.0)
"""Rates that Meshy can make."""
_LAST_ID = 696
_MOST_MOTIONS = 32
_LOCAL = "services.animation.engines.received"
_MEMORY_MIB = 2048
_GLB = ("result.animation_glb_url", "animation_glb_url")
_FBX = ("result.animation_fbx_url", "animation_fbx_url")
_RATED_FBX = ("result.processed_animation_fps_fbx_url", "processed_animation_fps_fbx_url")
_LEFT_OUT: Mapping[str, tuple[Any, ...]] = {
    "speed": (0.0, 1.0),
    "energy": (None, 1.0),
    "mood": ("", "neutral"),
    "left_handed": (False,),
    "in_place": (None, False),
    "keep_clips": (False,),
}
"""Fields of the parameters that have no meaning at Meshy, with what asks for nothing."""


@dataclass(frozen=True, slots=True)
class _Wishes:
    ids: tuple[int, ...]
    fps: float
    output_format: str
    clip_only: bool
    warnings: tuple[str, ...]


class MeshyAnimation:
    """Engine `meshy_animation`."""

    def __init__(self, meshy: Meshy, settings: MeshySettings) -> None:
        self._meshy = meshy
        self._settings = settings

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id="meshy_animation",
            kind=EngineKind.PROVIDER,
            features=("animate",),
            input_formats=("glb", "fbx"),
            output_formats=OUTPUT_FORMATS,
            memory_mib=_MEMORY_MIB,
            description="Lets Meshy animate a character that it rigged, for credits of the account.",
            rank=RANK,
            unavailable=self._meshy.unavailable,
        )

    async def run(self, request: RemoteRequest, desk: Desk) -> LocalStep:
        """Ask for one clip after the other; wait, take the files."""
        wishes = _read(request)
        rig = upstream_of(request.input("mesh"))
        if not rig:
            raise InvalidArgument(
                "Meshy animates only characters that it has rigged: rig this one with meshy_rigging.",
                reason="INVALID_INPUT_FILE",
            )
        rated = wishes.fps in FPS
        motions: list[dict[str, Any]] = []
        files: dict[str, Path] = {}
        for number, motion in enumerate(wishes.ids):
            wish = _wish(rig, motion, wishes.fps if rated else 0.0, number, len(wishes.ids))
            task = await self._meshy.finish(wish, desk)
            motions.append(await self._take(wish, task, motion, desk, files))
        payload = {
            "motions": [{**each, "fbx_fps": wishes.fps if each.pop("rated") else 0.0} for each in motions],
            "fps": wishes.fps,
            "clip_only": wishes.clip_only,
            "output_format": wishes.output_format,
            "warnings": list(wishes.warnings),
        }
        return LocalStep(f"{_LOCAL}:receive_clips", payload, files, _MEMORY_MIB)

    async def _take(
        self, wish: Wish, task: Finished, motion: int, desk: Desk, files: dict[str, Path]
    ) -> dict[str, Any]:
        """Download the files of one clip; FBX at the rate asked for where Meshy made it."""
        names = {f"{motion}.glb": _GLB, f"{motion}_rated.fbx": _RATED_FBX}
        found = await self._meshy.files(wish, task, names, desk)
        if f"{motion}_rated.fbx" not in found:
            found |= await self._meshy.files(wish, task, {f"{motion}.fbx": _FBX}, desk)
        taken: dict[str, Any] = {"id": motion, "upstream": origin(task), "rated": False}
        for name, path in found.items():
            kind = path.suffix.removeprefix(".")
            # They become names of arguments.
            taken[kind] = f"{kind}_{motion}"
            files[taken[kind]] = path
            taken["rated"] |= name.endswith("_rated.fbx")
        if "glb" not in taken:
            raise Internal("Meshy's answer names no GLB file", reason="PROCESSING_FAILED")
        return taken

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Delete the tasks."""
        await self._meshy.discard(checkpoint)

    async def close(self) -> None:
        """Close connections."""
        await self._meshy.close()


def _wish(rig: str, motion: int, fps: float, number: int, count: int) -> Wish:
    fields: dict[str, Any] = {"rig_task_id": rig, "action_id": motion}
    if fps:
        fields["post_process"] = {"operation_type": "change_fps", "fps": int(fps)}

    async def body() -> Mapping[str, Any]:
        return fields

    share = (number / count, (number + 1) / count)
    return Wish(ANIMATION, body, name=str(motion), label=f"Animation {motion}", share=share)


def _read(request: RemoteRequest) -> _Wishes:
    """Read the parameters. Raises InvalidArgument for what Meshy does not do."""
    given = request.parameters
    if any(file.role == "clip" for file in request.inputs):
        raise InvalidArgument("Meshy plays motions of its own library only, no clip that is sent.")
    names = [str(name).strip() for name in given.get("motions") or ()]
    if not 1 <= len(names) <= _MOST_MOTIONS:
        raise InvalidArgument(f"Name from 1 to {_MOST_MOTIONS} motions by their ids.")
    if not all(name.isascii() and name.isdigit() and int(name) <= _LAST_ID for name in names):
        raise InvalidArgument(f"Meshy knows motions by ids from 0 to {_LAST_ID}.")
    ids = tuple(map(int, names))
    if len(set(ids)) < len(ids):
        raise InvalidArgument("A motion is asked for twice.")
    wanted = str(given.get("output_format") or "glb")
    if wanted not in OUTPUT_FORMATS:
        raise InvalidArgument(f"output_format must be one of {', '.join(OUTPUT_FORMATS)}.")
    warnings = []
    left_out = [name for name, usual in _LEFT_OUT.items() if name in given and given[name] not in usual]
    if left_out:
        warnings.append(f"Meshy plays motions as they are: {', '.join(left_out)} had no effect.")
    fps = float(given.get("fps") or 0.0)
    if fps and fps not in FPS:
        warnings.append(f"Meshy makes no FBX with {fps:g} frames per second; the FBX has its usual rate.")
    if len(ids) > 1 and given.get("files") != "each":
        warnings.append("Meshy makes a file for each motion.")
    return _Wishes(ids, fps, wanted, bool(given.get("clip_only")), tuple(warnings))
