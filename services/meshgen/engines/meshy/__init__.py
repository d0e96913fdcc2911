"""Meshes made, and painted anew, by Meshy: the remote half, which runs in the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maquette.runtime.engine import EngineDescription, EngineKind
from maquette.runtime.errors import Internal, InvalidArgument
from maquette.runtime.remote.engine import Desk, LocalStep, RemoteRequest
from maquette.runtime.remote.meshy import (
    BYTES,
    IMAGE_TO_3D,
    RANK,
    RETEXTURE,
    Finished,
    Meshy,
    Wish,
    origin,
    upstream_of,
)
from maquette.runtime.settings import MeshySettings
from services.meshgen.engines import wishes

_FACES: Mapping[str, int] = {"low": 10_000, "medium": 30_000, "high": 100_000}
_MODEL = ("model_urls.glb", "result.model_urls.glb", "result.model_url", "result.glb_url", "model_url")


class MeshyImageTo3d:
    """Engine `meshy_image_to_3d`."""

    def __init__(self, meshy: Meshy, settings: MeshySettings) -> None:
        self._meshy = meshy
        self._settings = settings

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id="meshy_image_to_3d",
            kind=EngineKind.PROVIDER,
            features=("image_to_raw_mesh", "image_to_textured_mesh"),
            input_formats=wishes.IMAGE_FORMATS,
            output_formats=wishes.OUTPUT_FORMATS,
            memory_mib=wishes.MEMORY_MIB,
            description="Sends the picture to Meshy, which makes a mesh of it for credits of the account.",
            rank=RANK,
            unavailable=self._meshy.unavailable,
        )

    async def run(self, request: RemoteRequest, desk: Desk) -> LocalStep:
        """Send the picture, wait, take the mesh."""
        output_format = wishes.read_output_format(request)
        faces = wishes.read_quality(request, _FACES)
        picture, warnings = wishes.read_pictures(request)
        pose = str(request.parameters.get("pose") or self._settings.pose_mode)

        async def body() -> dict[str, Any]:
            path, media_type = await wishes.prepare_picture(picture, desk)
            return {
                "image_url": await self._meshy.data_uri(path, media_type),
                "ai_model": self._settings.ai_model,
                "should_texture": request.feature == "image_to_textured_mesh",
                "should_remesh": True,
                "topology": "triangle",
                "target_polycount": faces,
                "target_formats": ["glb"],
                **({"pose_mode": pose} if pose else {}),
            }

        wish = Wish(IMAGE_TO_3D, body)
        task = await self._meshy.finish(wish, desk)
        return await _receive(self._meshy, wish, task, desk, output_format, warnings)

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Delete the task."""
        await self._meshy.discard(checkpoint)

    async def close(self) -> None:
        """Close connections."""
        await self._meshy.close()


class MeshyRetexture:
    """Engine `meshy_retexture`."""

    def __init__(self, meshy: Meshy, settings: MeshySettings) -> None:
        self._meshy = meshy
        self._settings = settings

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id="meshy_retexture",
            kind=EngineKind.PROVIDER,
            features=("retexture",),
            input_formats=(*wishes.MESH_FORMATS, *wishes.IMAGE_FORMATS),
            output_formats=wishes.OUTPUT_FORMATS,
            memory_mib=wishes.MEMORY_MIB,
            description="Sends the mesh to Meshy, which paints it anew for credits of the account.",
            rank=RANK,
            unavailable=self._meshy.unavailable,
        )

    async def run(self, request: RemoteRequest, desk: Desk) -> LocalStep:
        """Send the mesh, or name the task that made it; wait, take the new one."""
        output_format = wishes.read_output_format(request)
        mesh = request.input("mesh")
        styled = any(file.role == "image" for file in request.inputs)
        if not styled and not str(request.parameters.get("prompt") or "").strip():
            raise InvalidArgument("Say with a prompt or a picture what the surface shall look like.")

        async def by_name() -> dict[str, Any]:
            return {**await self._style(request, desk), "input_task_id": upstream_of(mesh)}

        async def by_bytes() -> dict[str, Any]:
            path = await wishes.prepare_mesh(mesh, desk)
            return {**await self._style(request, desk), "model_url": await self._meshy.data_uri(path, BYTES)}

        wish = Wish(RETEXTURE, by_bytes)
        if upstream_of(mesh):
            task = await self._meshy.finish_either(Wish(RETEXTURE, by_name), wish, desk)
        else:
            task = await self._meshy.finish(wish, desk)
        return await _receive(self._meshy, wish, task, desk, output_format, ())

    async def _style(self, request: RemoteRequest, desk: Desk) -> dict[str, Any]:
        """Return the fields that tell what the surface shall look like."""
        wanted: dict[str, Any] = {
            "ai_model": self._settings.ai_model,
            # Meshy's own default throws the texture coordinates away.
            "enable_original_uv": not request.parameters.get("new_uv"),
            "target_formats": ["glb"],
        }
        prompt = str(request.parameters.get("prompt") or "").strip()
        if prompt:
            wanted["text_style_prompt"] = prompt
        picture = next((file for file in request.inputs if file.role == "image"), None)
        if picture is not None:
            path, media_type = await wishes.prepare_picture(picture, desk)
            wanted["image_style_url"] = await self._meshy.data_uri(path, media_type)
        return wanted

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Delete the task."""
        await self._meshy.discard(checkpoint)

    async def close(self) -> None:
        """Close connections."""
        await self._meshy.close()


async def _receive(
    meshy: Meshy, wish: Wish, task: Finished, desk: Desk, output_format: str, warnings: Sequence[str]
) -> LocalStep:
    """Download the mesh of a finished task."""
    files = await meshy.files(wish, task, {"model.glb": _MODEL}, desk)
    if "model.glb" not in files:
        raise Internal("Meshy's answer names no GLB file", reason="PROCESSING_FAILED")
    return wishes.receive_mesh(files["model.glb"], output_format, origin(task), warnings)
