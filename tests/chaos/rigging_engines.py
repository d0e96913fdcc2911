"""A slow engine of rigging, so that a test surely meets it at work."""

from __future__ import annotations

from maquette.runtime.engine import Engine
from tests.chaos.engines import Sleeper

SLOW_MODEL = "chaos_slow_rig"
SECONDS = 4.0


def engines() -> tuple[Engine, ...]:
    """Return the engine."""
    return (Sleeper(SLOW_MODEL, ("auto_rig",), SECONDS),)
