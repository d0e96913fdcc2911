"""Pictures drawn for tests."""

from __future__ import annotations

import io
import random

from PIL import Image


def png(seed: int, side: int = 32) -> bytes:
    """Return a PNG whose bytes differ for every seed."""
    noise = random.Random(seed).randbytes(side * side * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(file, "PNG")
    return file.getvalue()
