"""The local half of the remote engines: what is sent, made of the client's files, and what came back.

Runs in a worker: a provider's file is a stranger's as any upload is.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from maquette.geometry.codecs import MEDIA_TYPES, EncodedFile, encode, read_mesh
from maquette.geometry.errors import MeshError, UnreadableImage
from maquette.geometry.images import decode_image
from maquette.geometry.render import View, render
from maquette.geometry.textures import encode_png
from maquette.geometry.topology import measure
from maquette.runtime.capability.engines import plain_result
from maquette.runtime.engine import EngineResult, OutputFile, Report
from maquette.runtime.errors import Internal, InvalidArgument

THUMBNAIL_SIDE = 512
_QUALITY = 95


def prepare_picture(picture: str, report: Report) -> dict[str, Any]:
    """Write the picture anew, as PNG where it is transparent and as JPEG else.

    Providers take these two; and what else is in a photo's file, as where it was taken, stays here.
    """
    try:
        rgba = decode_image(Path(picture))
    except UnreadableImage as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error
    if (rgba[..., 3] < 255).any():
        target, data, media_type = Path("picture.png"), encode_png(rgba), "image/png"
    else:
        buffer = io.BytesIO()
        Image.fromarray(rgba[..., :3]).save(buffer, "JPEG", quality=_QUALITY)
        target, data, media_type = Path("picture.jpg"), buffer.getvalue(), "image/jpeg"
    target.write_bytes(data)
    return {"files": {"picture": target.name}, "media_type": media_type}


def prepare_mesh(mesh: str, report: Report) -> dict[str, Any]:
    """Check a mesh and write it as GLB; one that is GLB goes as it is."""
    source = Path(mesh)
    try:
        asset = read_mesh(source)
    except MeshError as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error
    data = source.read_bytes()
    Path("mesh.glb").write_bytes(data if data[:4] == b"glTF" else encode(asset, "glb")[0].data)
    return {"files": {"mesh": "mesh.glb"}}


def receive_mesh(
    model: str,
    output_format: str,
    upstream: Mapping[str, Any],
    warnings: Sequence[str],
    report: Report,
) -> dict[str, Any]:
    """Make a result of the GLB that a provider made: checked, measured, drawn.

    As GLB it is delivered to the byte. ``upstream`` tells later tasks which remote one made it.
    """
    source = Path(model)
    try:
        asset = read_mesh(source)
    except MeshError as error:
        raise Internal(
            f"the provider's file is no usable model: {error}", reason="PROCESSING_FAILED"
        ) from error
    data = source.read_bytes()
    files: Sequence[EncodedFile] = (EncodedFile("mesh", "model.glb", MEDIA_TYPES["glb"], data),)
    if output_format != "glb":
        files = encode(asset, output_format)
    facts = {**measure(asset), "format": output_format, "file_size_bytes": len(files[0].data)}
    outputs = [
        _written(file.name, file.data, file.role, file.media_type, number, {})
        for number, file in enumerate(files[1:])
    ]
    meta = {**facts, **({"upstream": dict(upstream)} if upstream else {})}
    mesh = _written(files[0].name, files[0].data, "mesh", files[0].media_type, 0, meta)
    picture = encode_png(render(asset, View(size=THUMBNAIL_SIDE)))
    size = {"width": THUMBNAIL_SIDE, "height": THUMBNAIL_SIDE}
    thumbnail = _written("thumbnail.png", picture, "thumbnail", "image/png", 0, size)
    info = {**facts, "thumbnail_generated": True}
    return plain_result(EngineResult((mesh, *outputs, thumbnail), info, tuple(warnings)), Path.cwd())


def _written(
    name: str, data: bytes, role: str, media_type: str, ordinal: int, meta: Mapping[str, Any]
) -> OutputFile:
    path = Path.cwd() / name
    path.write_bytes(data)
    return OutputFile(role, path, media_type, ordinal, {"file_size_bytes": len(data), **meta})
