"""What remote engines read from a request, and the step that receives a mesh of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maquette.runtime.engine import InputFile
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.remote.engine import Desk, LocalStep, Made, RemoteRequest

IMAGE_FORMATS = ("png", "jpg", "webp", "bmp", "tiff")
MESH_FORMATS = ("glb", "gltf", "obj", "ply", "stl")
OUTPUT_FORMATS = ("glb", "obj", "ply", "stl")
MEMORY_MIB = 2048
_LOCAL = "services.meshgen.engines.received"


def read_output_format(request: RemoteRequest) -> str:
    """Return the format asked for. Raises InvalidArgument."""
    wanted = str(request.parameters.get("output_format") or "glb")
    if wanted not in OUTPUT_FORMATS:
        raise InvalidArgument(f"output_format must be one of {', '.join(OUTPUT_FORMATS)}.")
    return wanted


def read_quality(request: RemoteRequest, table: Mapping[str, Any]) -> Any:
    """Return what a table has for the quality asked for. Raises InvalidArgument."""
    quality = str(request.parameters.get("quality") or "medium")
    if quality not in table:
        raise InvalidArgument(f"quality must be one of {', '.join(table)}.")
    return table[quality]


def read_pictures(request: RemoteRequest) -> tuple[InputFile, tuple[str, ...]]:
    """Return the first picture, and what its owner should know of the others. Raises InvalidArgument."""
    pictures = [file for file in request.inputs if file.role == "image"]
    if not pictures:
        raise InvalidArgument("There is no picture.")
    warnings = ("Only the first picture was used.",) if len(pictures) > 1 else ()
    return pictures[0], warnings


async def prepare_picture(picture: InputFile, desk: Desk) -> tuple[Path, str]:
    """Return a picture as it is sent, and its media type."""
    step = LocalStep(f"{_LOCAL}:prepare_picture", files={"picture": picture.path}, memory_mib=MEMORY_MIB)
    made: Made = await desk.local(step)
    return made.files["picture"], str(made.value["media_type"])


async def prepare_mesh(mesh: InputFile, desk: Desk) -> Path:
    """Return a mesh as it is sent: GLB."""
    step = LocalStep(f"{_LOCAL}:prepare_mesh", files={"mesh": mesh.path}, memory_mib=MEMORY_MIB)
    return (await desk.local(step)).files["mesh"]


def receive_mesh(
    model: Path, output_format: str, upstream: Mapping[str, Any], warnings: Sequence[str]
) -> LocalStep:
    """Return the step that makes a result of a GLB."""
    return LocalStep(
        f"{_LOCAL}:receive_mesh",
        {"output_format": output_format, "upstream": dict(upstream), "warnings": list(warnings)},
        {"model": model},
        MEMORY_MIB,
    )
