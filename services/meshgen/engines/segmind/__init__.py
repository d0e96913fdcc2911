"""Meshes made by Hunyuan3D 2.1 at Segmind: the remote half, which runs in the node.

Source: the client code of programs that use it; no page of the vendor's was found. One request, which is
answered after minutes: with the GLB, with JSON that names its URL, or with JSON that names an error.
Nothing can be polled, resumed or cancelled there, and a request that was sent is paid for. So it is noted
before it is sent, and a task whose node is lost again and again is not sent again and again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maquette.runtime.engine import EngineDescription, EngineKind
from maquette.runtime.errors import Internal, InvalidArgument
from maquette.runtime.remote.addresses import Resolve, resolve
from maquette.runtime.remote.answers import Gone, Refusal
from maquette.runtime.remote.engine import Desk, LocalStep, RemoteRequest
from maquette.runtime.remote.http import Upstream
from maquette.runtime.settings import SegmindSettings
from services.meshgen.engines import wishes

PROVIDER = "segmind"
KEY_VARIABLE = "MAQUETTE_SEGMIND__API_KEY"
LABEL = "3D Generation"
_PATH = "/v1/hunyuan3d-2.1"
_RANK = -110
_USUAL_SEED = 42
_MOST_SENT = 2
"""Times that one task is sent, over all of its attempts."""
_MAX_JSON = 1 << 20
_URLS = ("url", "download_url", "output.url", "data.url")


@dataclass(frozen=True, slots=True)
class _Quality:
    steps: int
    faces: int
    texture: int


_QUALITIES: Mapping[str, _Quality] = {
    "low": _Quality(20, 10_000, 1024),
    "medium": _Quality(30, 20_000, 2048),
    "high": _Quality(50, 40_000, 4096),
}


class SegmindImageTo3d:
    """Engine `segmind_image_to_3d`."""

    def __init__(self, settings: SegmindSettings, *, ask: Resolve = resolve) -> None:
        key = settings.api_key.get_secret_value()
        self._settings = settings
        headers = {"x-api-key": key, "Accept": "application/octet-stream"}
        self._upstream = Upstream("Segmind", KEY_VARIABLE, settings, settings.base_url, key, headers, ask=ask)
        self._unavailable = "" if key else f"needs a key of Segmind: set {KEY_VARIABLE}"

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id="segmind_image_to_3d",
            kind=EngineKind.PROVIDER,
            features=("image_to_raw_mesh", "image_to_textured_mesh"),
            input_formats=wishes.IMAGE_FORMATS,
            output_formats=wishes.OUTPUT_FORMATS,
            memory_mib=wishes.MEMORY_MIB,
            description="Sends the picture to Segmind, which makes a mesh of it for credits of the account.",
            rank=_RANK,
            unavailable=self._unavailable,
        )

    async def run(self, request: RemoteRequest, desk: Desk) -> LocalStep:
        """Send the picture and wait for the mesh."""
        output_format = wishes.read_output_format(request)
        fields = self._fields(request)
        picture, warnings = wishes.read_pictures(request)
        path, media_type = await wishes.prepare_picture(picture, desk)
        most = self._settings.max_upload_mib
        if path.stat().st_size > most << 20:
            text = f"The picture is larger than the {most} MiB that are sent to Segmind."
            raise InvalidArgument(text, reason="FILE_TOO_LARGE")
        sent = int(desk.checkpoint.get("sent", 0))
        if sent >= _MOST_SENT:
            raise Internal(
                f"the picture was sent to Segmind {sent} times without an answer that could be kept",
                reason="PROCESSING_FAILED",
            )
        desk.note({"provider": PROVIDER, "sent": sent + 1})
        # It tells nothing until it is done, and so do we.
        desk.report("generating", 0.0, f"{LABEL}: waiting for Segmind")
        model = await self._model(fields, path, media_type, desk)
        return wishes.receive_mesh(model, output_format, {"provider": PROVIDER}, warnings)

    def _fields(self, request: RemoteRequest) -> dict[str, str]:
        quality: _Quality = wishes.read_quality(request, _QUALITIES)
        textured = request.feature == "image_to_textured_mesh"
        texture = int(request.parameters.get("texture_resolution") or 0) or quality.texture
        return {
            "seed": str(request.seed or _USUAL_SEED),
            "steps": str(quality.steps),
            "num_chunks": "8000",
            "max_facenum": str(quality.faces),
            "guidance_scale": "7.5",
            "generate_texture": str(textured).lower(),
            "octree_resolution": "256",
            "remove_background": "true",
            "texture_resolution": str(texture),
        }

    async def _model(self, fields: Mapping[str, str], path: Path, media_type: str, desk: Desk) -> Path:
        """Return the GLB that the service makes."""
        target = desk.folder / "answer.bin"
        form = {"data": dict(fields), "files": {"image": (path.name, path.read_bytes(), media_type)}}
        try:
            await self._upstream.request(
                "POST",
                _PATH,
                form=form,
                paid=True,
                into=target,
                tell=lambda text: desk.report("generating", 0.0, text),
            )
        except Refusal as refusal:
            raise InvalidArgument(
                f"Segmind refuses the picture: {refusal.text or refusal}", reason="INVALID_INPUT_FILE"
            ) from refusal
        with target.open("rb") as file:
            head = file.read(4)
        if head == b"glTF":
            return target.rename(desk.folder / "model.glb")
        return await self._named(target, desk)

    async def _named(self, answer: Path, desk: Desk) -> Path:
        """Return the GLB whose URL an answer names. Raises Internal for an answer that names none."""
        url = ""
        told: Any = None
        if answer.stat().st_size <= _MAX_JSON:
            try:
                told = json.loads(answer.read_bytes())
            except ValueError:
                told = None
        if isinstance(told, dict):
            error = told.get("error") or told.get("message")
            if isinstance(error, str) and error:
                raise Internal(f"Segmind: {self._upstream.clean(error)}", reason="PROCESSING_FAILED")
            url = next((found for place in _URLS if (found := _at(told, place))), "")
        if not url:
            raise Internal("Segmind's answer is neither a model nor its URL", reason="PROCESSING_FAILED")
        target = desk.folder / "model.glb"
        try:
            await self._upstream.download(url, target)
        except Gone as gone:
            raise Internal(f"Segmind's file is not to be had ({gone})", reason="PROCESSING_FAILED") from gone
        return target

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Do nothing: the service has no way to cancel."""

    async def close(self) -> None:
        """Close connections."""
        await self._upstream.close()


def _at(told: Mapping[str, Any], place: str) -> str:
    value: Any = told
    for name in place.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
