"""Read pictures that strangers send: sniff, measure, then decode.

The order matters. The first bytes name the format, the header names the size, and only a
picture whose size is allowed is decoded. Needs Pillow and numpy and nothing else, so that a
sandboxed child that only inspects an upload starts fast.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from maquette.geometry.errors import UnreadableImage

MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
}

VISIBLE_ALPHA = 16
"""A pixel counts as visible from this alpha (0–255) on."""

_PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}

# Pillow's decoders raise what their parsers happen to raise on damaged bytes.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AttributeError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may be.

    ``max_side`` and ``min_side`` in pixels, ``max_bytes`` of the file, ``min_visible`` the
    side in pixels that the box around the visible part must reach.
    """

    max_side: int = 4096
    min_side: int = 16
    max_bytes: int = 50 * 1024 * 1024
    min_visible: int = 8


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What was found in a picture, measured on the decoded pixels (after EXIF rotation)."""

    format: str
    media_type: str
    width: int
    height: int
    has_alpha: bool
    """Some pixel is not fully opaque."""
    visible_fraction: float
    """Share of the pixels whose alpha is at least :data:`VISIBLE_ALPHA`."""


def sniff_image(head: bytes) -> str | None:
    """Name the format (png, jpg, webp, bmp, tiff) that the first 16 bytes show, or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(b"BM"):
        return "bmp"
    if head[:4] in (b"II*\x00", b"MM\x00*"):
        return "tiff"
    return None


def inspect_image(path: Path, limits: ImageLimits = ImageLimits()) -> ImageFacts:
    """Decode a picture in full and tell what it is.

    Raises :class:`UnreadableImage` with a plain sentence for anything that is not a usable
    picture: another kind of file, damage, too large, too small, nothing visible.
    """
    kind, rgba = _decode(path, limits)
    alpha = rgba[..., 3]
    height, width = alpha.shape
    visible = alpha >= VISIBLE_ALPHA
    return ImageFacts(
        format=kind,
        media_type=MEDIA_TYPES[kind],
        width=width,
        height=height,
        has_alpha=bool(alpha.min() < 255),
        visible_fraction=float(visible.mean()),
    )


def decode_image(path: Path, limits: ImageLimits = ImageLimits()) -> NDArray[np.uint8]:
    """Decode a picture to ``(h, w, 4) uint8`` straight-alpha RGBA, turned as EXIF says.

    CMYK, 16-bit, grey and palette pictures are converted; of an animation the first frame is
    taken. Raises :class:`UnreadableImage` like :func:`inspect_image`.
    """
    return _decode(path, limits)[1]


def _decode(path: Path, limits: ImageLimits) -> tuple[str, NDArray[np.uint8]]:
    kind = _check_header(path, limits)
    try:
        with warnings.catch_warnings():
            # The size was checked against our own limit; Pillow's advice adds nothing.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=[_PILLOW_NAMES[kind]]) as image:
                _check_size(image.width, image.height, limits)
                image.seek(0)
                image.load()
                rgba = _to_rgba(_upright(image))
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"The picture has far too many pixels; at most {limits.max_side} on a side are allowed."
        ) from error
    except _DECODE_ERRORS as error:
        raise UnreadableImage(f"The {kind} picture is damaged or incomplete.") from error
    _check_visible(rgba, limits)
    return kind, rgba


def _check_header(path: Path, limits: ImageLimits) -> str:
    size = path.stat().st_size
    if size == 0:
        raise UnreadableImage("The file is empty.")
    if size > limits.max_bytes:
        raise UnreadableImage(
            f"The file is {size / 2**20:.1f} MiB; at most {limits.max_bytes / 2**20:.0f} MiB are allowed."
        )
    with path.open("rb") as file:
        head = file.read(64)
    kind = sniff_image(head)
    if kind is None:
        raise UnreadableImage("The file is not a picture; png, jpg, webp, bmp and tiff can be read.")
    if kind == "webp":
        # Opening a WebP allocates its whole canvas, so its size is read by hand before.
        _check_size(*_webp_size(head), limits)
    return kind


def _webp_size(head: bytes) -> tuple[int, int]:
    """Read (width, height) from a WebP header (RFC 9649, sections 2.5 to 2.7)."""
    chunk = head[12:16]
    if chunk == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if chunk == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise UnreadableImage("The webp picture is damaged or incomplete.")


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if max(width, height) > limits.max_side:
        raise UnreadableImage(
            f"The picture is {width} × {height} pixels; at most {limits.max_side} on a side are allowed."
        )
    if min(width, height) < limits.min_side:
        raise UnreadableImage(
            f"The picture is {width} × {height} pixels; at least {limits.min_side} on a side are needed."
        )


def _check_visible(rgba: NDArray[np.uint8], limits: ImageLimits) -> None:
    visible = rgba[..., 3] >= VISIBLE_ALPHA
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if rows.size == 0:
        raise UnreadableImage("The picture is fully transparent: there is nothing to see on it.")
    if min(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 < limits.min_visible:
        raise UnreadableImage(
            f"The visible part of the picture is smaller than {limits.min_visible} pixels; it is too little."
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) or image
    except _DECODE_ERRORS:
        # Damaged EXIF says nothing about the direction; the pixels themselves are fine.
        return image


def _to_rgba(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(np.asarray(image))
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA")
    pixels = np.asarray(image)
    if pixels.shape[2] == 4:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    rgba = np.full((*pixels.shape[:2], 4), 255, dtype=np.uint8)
    rgba[..., :3] = pixels
    return rgba


def _from_deep_grey(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bring one deep channel to 8 bit: 16-bit integers by range, floats as 0–1."""
    value = np.nan_to_num(grey.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if np.issubdtype(grey.dtype, np.floating):
        value = value * 255.0
    elif grey.dtype.itemsize == 2 or value.max() > 255:
        value = value / 257.0
    rgba = np.full((*value.shape, 4), 255, dtype=np.uint8)
    rgba[..., :3] = np.clip(value + 0.5, 0, 255).astype(np.uint8)[..., None]
    return rgba
