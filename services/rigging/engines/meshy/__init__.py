"""Characters rigged by Meshy: the remote half, which runs in the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maquette.runtime.engine import EngineDescription, EngineKind
from maquette.runtime.errors import Internal, InvalidArgument
from maquette.runtime.remote.engine import Desk, LocalStep, RemoteRequest
from maquette.runtime.remote.meshy import BYTES, RANK, RIGGING, Meshy, Wish, origin, upstream_of
from maquette.runtime.settings import MeshySettings

INPUT_FORMATS = ("glb", "gltf", "obj", "ply", "stl")
OUTPUT_FORMATS = ("glb", "fbx", "obj")
MOST_FACES = 300_000
_LOCAL = "services.rigging.engines.received"
_MEMORY_MIB = 2048
_FILES = {
    "rigged.glb": ("result.rigged_character_glb_url", "rigged_character_glb_url"),
    "rigged.fbx": ("result.rigged_character_fbx_url", "rigged_character_fbx_url"),
}


class MeshyRigging:
    """Engine `meshy_rigging`."""

    def __init__(self, meshy: Meshy, settings: MeshySettings) -> None:
        self._meshy = meshy
        self._settings = settings

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id="meshy_rigging",
            kind=EngineKind.PROVIDER,
            features=("auto_rig",),
            input_formats=INPUT_FORMATS,
            output_formats=OUTPUT_FORMATS,
            memory_mib=_MEMORY_MIB,
            description="Sends the mesh to Meshy, which rigs people in it for credits of the account.",
            rank=RANK,
            unavailable=self._meshy.unavailable,
        )

    async def run(self, request: RemoteRequest, desk: Desk) -> LocalStep:
        """Send the mesh, or name the task that made it; wait, take the rig."""
        output_format = _checked(request.parameters)
        mesh = request.input("mesh")
        height = float(request.parameters.get("height_meters") or 0.0)
        common = {"height_meters": height} if height else {}

        async def by_name() -> dict[str, Any]:
            return {**common, "input_task_id": upstream_of(mesh)}

        async def by_bytes() -> dict[str, Any]:
            step = LocalStep(
                f"{_LOCAL}:prepare_mesh", {"most_faces": MOST_FACES}, {"mesh": mesh.path}, _MEMORY_MIB
            )
            path = (await desk.local(step)).files["mesh"]
            return {**common, "model_url": await self._meshy.data_uri(path, BYTES)}

        wish = Wish(RIGGING, by_bytes)
        if upstream_of(mesh):
            task = await self._meshy.finish_either(Wish(RIGGING, by_name), wish, desk)
        else:
            task = await self._meshy.finish(wish, desk)
        files = await self._meshy.files(wish, task, _FILES, desk)
        if "rigged.glb" not in files:
            raise Internal("Meshy's answer names no GLB file", reason="PROCESSING_FAILED")
        given = {"model": files["rigged.glb"]}
        if "rigged.fbx" in files:
            given["fbx"] = files["rigged.fbx"]
        payload = {"output_format": output_format, "upstream": origin(task), "warnings": []}
        return LocalStep(f"{_LOCAL}:receive_rig", payload, given, _MEMORY_MIB)

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Delete the task."""
        await self._meshy.discard(checkpoint)

    async def close(self) -> None:
        """Close connections."""
        await self._meshy.close()


def _checked(given: Mapping[str, Any]) -> str:
    """Return the format asked for. Raises InvalidArgument for what Meshy does not do."""
    if given.get("rig_mode") != "full" or given.get("include_weights") is False:
        raise InvalidArgument("Meshy makes skeleton and weights together; take rig_mode full.")
    if (given.get("character_type") or "auto") not in ("auto", "humanoid"):
        raise InvalidArgument("Meshy rigs humanoid characters only.")
    wanted = str(given.get("output_format") or "glb")
    if wanted not in OUTPUT_FORMATS:
        raise InvalidArgument(f"output_format must be one of {', '.join(OUTPUT_FORMATS)}.")
    return wanted
