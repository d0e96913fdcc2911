"""Pictures of every kind decode to the same pixels; what is no picture is refused in plain words."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.geometry.errors import UnreadableImage
from maquette.geometry.images import ImageLimits, decode_image, inspect_image
from maquette.geometry.inspect import inspect_image_file


def _picture(width: int = 60, height: int = 40) -> np.ndarray:
    """A red upper left corner on a smooth ground, so that turning it shows."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([80 + x, 90 + y, np.full_like(x, 120)], axis=2).astype(np.uint8)
    pixels[:12, :12] = (220, 20, 30)
    return pixels


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp", "tiff"])
def test_each_format_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "upload.bin"
    Image.fromarray(_picture()).save(path, {"jpg": "JPEG"}.get(kind, kind.upper()))
    facts = inspect_image(path)
    assert (facts.format, facts.width, facts.height, facts.has_alpha) == (kind, 60, 40, False)
    assert facts.visible_fraction == 1.0
    assert np.abs(decode_image(path)[..., :3].astype(int) - _picture()).mean() < 6


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(_picture()).save(path, exif=exif, quality=95)
    rgba = decode_image(path)
    assert rgba.shape == (60, 40, 4)
    assert rgba[4, -4, 0] > 180 and rgba[4, 4, 0] < 160


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.fromarray(_picture()).convert("CMYK").save(path, quality=95)
    assert np.abs(decode_image(path)[..., :3].astype(int) - _picture()).mean() < 8


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    ramp = np.tile(np.linspace(0, 65535, 64), (32, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(path)
    rgba = decode_image(path)
    assert rgba[0, 0, 0] == 0 and rgba[0, -1, 0] == 255 and abs(int(rgba[0, 32, 0]) - 129) <= 1


def test_sixteen_bit_colour_keeps_its_range(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(_png(32, 24, depth=16, rows=b"\0" + b"\xff\xff\x80\x00\x00\x00" * 32))
    assert tuple(decode_image(path)[5, 5]) == (255, 128, 0, 255)


def test_palette_with_transparency_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "icon.png"
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.paste(0, (0, 0, 32, 8))
    image.save(path, transparency=0)
    facts, rgba = inspect_image(path), decode_image(path)
    assert facts.has_alpha and facts.visible_fraction == 0.75
    assert tuple(rgba[20, 5]) == (10, 200, 30, 255) and rgba[2, 2, 3] == 0


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"moving.{kind}"
    frames = [Image.new("RGB", (32, 32), color) for color in ((200, 0, 0), (0, 0, 200))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    assert tuple(decode_image(path)[9, 9, :3]) == (200, 0, 0)


def _png(width: int, height: int, *, depth: int = 8, rows: bytes = b"") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = zlib.compress(rows * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _webp_header(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _truncated() -> bytes:
    import io

    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"this is a letter, not a picture", "not a picture"),
        (b"GIF89a" + bytes(40), "not a picture"),
        (_truncated(), "damaged or incomplete"),
        (_png(60000, 60000), "at most 4096"),
        (_png(4097, 16), "at most 4096"),
        (_webp_header(16000, 16000), "16000 × 16000"),
        (_png(1, 1, rows=b"\0abc"), "at least 16"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged or incomplete"),
        (b"BM" + bytes(100), "damaged or incomplete"),
        (b"II*\0" + b"\xff" * 100, "damaged or incomplete"),
    ],
)
def test_what_is_no_usable_picture_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=says):
        inspect_image(path)


def test_a_fully_transparent_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(path)
    with pytest.raises(UnreadableImage, match="fully transparent"):
        inspect_image(path)


def test_a_single_visible_pixel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.putpixel((30, 30), (255, 0, 0, 255))
    image.save(path)
    with pytest.raises(UnreadableImage, match="smaller than 8 pixels"):
        inspect_image(path)


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(_png(32, 32, rows=b"\0" + b"abc" * 32))
    with pytest.raises(UnreadableImage, match="at most 0 MiB"):
        inspect_image(path, ImageLimits(max_bytes=50))


def test_the_door_for_uploads_speaks_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(_picture()).save(path)
    assert inspect_image_file(str(path), {"max_side": 4096, "unknown": 1}) == {
        "format": "png",
        "media_type": "image/png",
        "width": 60,
        "height": 40,
        "has_alpha": False,
        "visible_fraction": 1.0,
    }
    with pytest.raises(UnreadableImage):
        inspect_image_file(str(path), {"max_side": 50})


def test_inspecting_an_upload_imports_no_heavy_library() -> None:
    code = (
        "import sys, maquette.geometry.inspect; "
        "print([m for m in ('cv2', 'scipy', 'trimesh', 'embreex', 'grpc') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
