"""The engines of meshgen. Importing this loads none of them."""

from __future__ import annotations

from maquette.runtime.capability.engines import engine_at
from maquette.runtime.engine import Engine

_HERE = "services.meshgen.engines"


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded; one that cannot be imported tells why."""
    return (engine_at("shape_from_silhouette", f"{_HERE}.shape_from_silhouette:ShapeFromSilhouette"),)
