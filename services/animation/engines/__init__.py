"""The engines of animation. Importing this loads none of them."""

from __future__ import annotations

from maquette.runtime.engine import Engine
from services.animation.engines.motion_library import MotionLibrary


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded."""
    return (MotionLibrary(),)
