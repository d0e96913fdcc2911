"""The door that an upload passes: plain values in, plain values out, few imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from maquette.geometry.images import ImageLimits, inspect_image


def inspect_image_file(path: str, limits: Mapping[str, int]) -> dict[str, Any]:
    """Inspect the picture at ``path`` for a parent process.

    ``limits`` may hold any field of :class:`ImageLimits`; others are ignored. Returns the
    fields of :class:`maquette.geometry.images.ImageFacts`. Raises
    :class:`maquette.geometry.errors.UnreadableImage`.
    """
    known = {field.name for field in fields(ImageLimits)}
    chosen = ImageLimits(**{name: int(value) for name, value in limits.items() if name in known})
    return asdict(inspect_image(Path(path), chosen))
