"""The engines of rigging. Importing this loads none of them."""

from __future__ import annotations

from pathlib import Path

from maquette.runtime.engine import Engine
from services.rigging.engines.limb_graph import LimbGraph

_blender: list[Path] = []


def use_blender(folder: str) -> None:
    """Say where the Blender worker lies; engines made from now on read and write FBX with it."""
    _blender[:] = [Path(folder)]


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded."""
    return (LimbGraph(_blender[0] if _blender else None),)
