"""A slow engine of animation, so that a test surely meets it at work."""

from __future__ import annotations

from maquette.runtime.engine import Engine
from tests.chaos.engines import Sleeper

SLOW_MODEL = "chaos_slow_moves"
SECONDS = 4.0


def engines() -> tuple[Engine, ...]:
    """Return the engine."""
    return (Sleeper(SLOW_MODEL, ("animate",), SECONDS),)
