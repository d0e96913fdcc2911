"""The run: decode, matte, shape, mesh, unwrap, paint, export, render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.codecs import EncodedFile, decode, encode
from maquette.geometry.errors import UnreadableImage
from maquette.geometry.images import decode_image
from maquette.geometry.render import View, render
from maquette.geometry.textures import encode_png
from maquette.geometry.topology import measure, vertex_normals
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile, OutputFile, Report
from maquette.runtime.errors import InvalidArgument
from services.meshgen.engines.shape_from_silhouette import FEATURES, OUTPUT_FORMATS
from services.meshgen.engines.shape_from_silhouette.hull.model import Model, build_model
from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import Viewpoint, parse_views
from services.meshgen.engines.shape_from_silhouette.matting import Cutout, cut_out
from services.meshgen.engines.shape_from_silhouette.progress import RAW, TEXTURED, Progress
from services.meshgen.engines.shape_from_silhouette.shape import (
    VERTEX_TARGETS,
    Shape,
    build_shape,
    guess_solid,
)
from services.meshgen.engines.shape_from_silhouette.texture import paint
from services.meshgen.engines.shape_from_silhouette.unwrap import unwrap

THUMBNAIL_SIDE = 512
_MIN_TEXTURE, _MAX_TEXTURE, _USUAL_TEXTURE = 256, 4096, 1024
_PLAIN = Material(name="clay", base_color=(0.6, 0.58, 0.54, 1.0), roughness=0.85)


@dataclass(frozen=True, slots=True)
class _Settings:
    textured: bool
    output_format: str
    texture_resolution: int
    quality: str
    views: tuple[Viewpoint, ...] = ()


def run(request: EngineRequest, report: Report) -> EngineResult:
    """Do one run; see :class:`services.meshgen.engines.shape_from_silhouette.ShapeFromSilhouette`."""
    settings = _settings(request)
    progress = Progress(report, TEXTURED if settings.textured else RAW)
    progress.enter("decoding", "Reading the picture")
    pictures = _pictures(request)
    rgba = _decode(pictures[0])
    progress.enter("matting", "Finding the object")
    cutouts = [cut_out(rgba)]
    del rgba
    cutouts += [cut_out(_decode(picture)) for picture in pictures[1:]]
    several = len(cutouts) > 1
    made = (
        _from_several(cutouts, settings, progress) if several else _from_one(cutouts[0], settings, progress)
    )
    progress.enter("exporting", f"Writing {settings.output_format}")
    files = encode(made.asset, settings.output_format)
    outputs = _write(files, request.workdir)
    facts = _measure(files)
    progress.enter("rendering", "Drawing the thumbnail")
    thumbnail = _thumbnail(made.asset, request.workdir)
    mesh = OutputFile(outputs[0].role, outputs[0].path, outputs[0].media_type, 0, facts)
    return EngineResult(
        outputs=(mesh, *outputs[1:], thumbnail),
        info={**facts, **made.info, "thumbnail_generated": True},
        warnings=(*made.warnings, *_warnings(settings, cutouts)),
    )


def _decode(picture: InputFile) -> NDArray[np.uint8]:
    try:
        return decode_image(picture.path)
    except UnreadableImage as error:
        raise InvalidArgument(str(error), reason="INVALID_INPUT_FILE") from error


def _from_one(cutout: Cutout, settings: _Settings, progress: Progress) -> Model:
    progress.enter("shaping", "Finding camera and shape")
    solid = guess_solid(cutout, settings.quality)
    progress.enter("meshing", "Closing the surface")
    shape = build_shape(solid)
    asset = _textured(shape, cutout, settings, progress) if settings.textured else _plain(shape)
    return Model(asset, {"camera": _camera(shape)})


def _from_several(cutouts: Sequence[Cutout], settings: _Settings, progress: Progress) -> Model:
    return build_model(
        cutouts,
        settings.views,
        vertex_target=VERTEX_TARGETS[settings.quality],
        texture_side=settings.texture_resolution if settings.textured else 0,
        plain=_PLAIN,
        progress=progress,
    )


def warm_up() -> None:
    """Take every path through the libraries once, on a small disc."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    rgba = np.full((64, 64, 4), 200, dtype=np.uint8)
    rgba[..., 3] = np.where(x * x + y * y < 0.8, 255, 0)
    cutout = cut_out(rgba)
    shape = build_shape(guess_solid(cutout, "low"))
    silent = Progress(_silence, TEXTURED)
    asset = _textured(shape, cutout, _Settings(True, "glb", _MIN_TEXTURE, "low"), silent)
    encode(asset, "glb")
    render(asset, View(size=32))


def _silence(
    stage: str, fraction: float, message: str = "", *, eta: float | None = None, upstream_status: str = ""
) -> None:
    """Report to nobody."""


def _settings(request: EngineRequest) -> _Settings:
    if request.feature not in FEATURES:
        raise InvalidArgument(f"This engine does not do {request.feature}.")
    parameters = request.parameters
    output_format = str(parameters.get("output_format") or "glb")
    if output_format not in OUTPUT_FORMATS:
        raise InvalidArgument(f"output_format must be one of {', '.join(OUTPUT_FORMATS)}.")
    quality = str(parameters.get("quality") or "medium")
    if quality not in VERTEX_TARGETS:
        raise InvalidArgument(f"quality must be one of {', '.join(VERTEX_TARGETS)}.")
    resolution = int(parameters.get("texture_resolution") or _USUAL_TEXTURE)
    if not _MIN_TEXTURE <= resolution <= _MAX_TEXTURE:
        raise InvalidArgument(f"texture_resolution must be from {_MIN_TEXTURE} to {_MAX_TEXTURE}.")
    views = parse_views(parameters.get("views") or (), len(_pictures(request)))
    textured = request.feature == "image_to_textured_mesh"
    return _Settings(textured, output_format, resolution, quality, views)


def _pictures(request: EngineRequest) -> list[InputFile]:
    return [file for file in request.inputs if file.role == "image"]


def _plain(shape: Shape) -> Asset:
    normals = vertex_normals(shape.vertices, shape.faces)
    return Asset("model", (Part("model", Mesh(shape.vertices, shape.faces, normals), _PLAIN),))


def _textured(shape: Shape, cutout: Cutout, settings: _Settings, progress: Progress) -> Asset:
    progress.enter("unwrapping", "Unwrapping the surface")
    atlas = unwrap(shape, settings.texture_resolution)
    progress.enter("texturing", "Painting the texture")
    texture = paint(atlas, shape, cutout)
    mesh = Mesh(
        vertices=atlas.vertices,
        faces=atlas.faces,
        normals=vertex_normals(shape.vertices, shape.faces)[atlas.source],
        uv=(atlas.texels / atlas.side).astype(np.float32),
    )
    material = Material(name="picture", base_color_texture=texture, roughness=0.85)
    return Asset("model", (Part("model", mesh, material),))


def _write(files: tuple[EncodedFile, ...], workdir: Path) -> tuple[OutputFile, ...]:
    outputs = []
    for file in files:
        path = workdir / file.name
        path.write_bytes(file.data)
        meta = {"file_size_bytes": len(file.data)}
        outputs.append(OutputFile(file.role, path, file.media_type, 0, meta))
    return tuple(outputs)


def _camera(shape: Shape) -> Mapping[str, float]:
    """Tell the angles that turn the model back into the picture's frame, degrees."""
    return {"yaw": round(shape.camera.yaw, 3), "pitch": round(shape.camera.pitch, 3)}


def _measure(files: tuple[EncodedFile, ...]) -> Mapping[str, Any]:
    """Read the delivered mesh back and measure it, so that no figure is a hope."""
    main = files[0]
    suffix = main.name.rsplit(".", 1)[1]
    facts = measure(decode(main.data, suffix))
    texture = next((file for file in files if file.role == "texture"), None)
    if texture is not None:
        # The width of a PNG stands at byte 16 of the file.
        facts["has_texture"] = True
        facts["texture_resolution"] = int.from_bytes(texture.data[16:20], "big")
    return {**facts, "format": suffix, "file_size_bytes": len(main.data)}


def _thumbnail(asset: Asset, workdir: Path) -> OutputFile:
    path = workdir / "thumbnail.png"
    data = encode_png(render(asset, View(size=THUMBNAIL_SIDE)))
    path.write_bytes(data)
    meta = {"width": THUMBNAIL_SIDE, "height": THUMBNAIL_SIDE, "file_size_bytes": len(data)}
    return OutputFile("thumbnail", path, "image/png", 0, meta)


def _warnings(settings: _Settings, cutouts: Sequence[Cutout]) -> tuple[str, ...]:
    warnings = []
    if any(cutout.matted for cutout in cutouts):
        pictures = "The picture has" if len(cutouts) == 1 else "Not every picture has"
        warnings.append(
            f"{pictures} {'no ' if len(cutouts) == 1 else ''}transparency; "
            "the object was told from its background by colour."
        )
    warnings += dict.fromkeys(warning for cutout in cutouts for warning in cutout.warnings)
    if settings.textured and settings.output_format == "ply":
        warnings.append("PLY holds no texture; its vertices carry the colours.")
    if settings.textured and settings.output_format == "stl":
        warnings.append("STL holds no colour; choose glb or obj for a textured model.")
    return tuple(warnings)
