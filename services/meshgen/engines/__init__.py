"""The engines of meshgen. Importing this loads none of them."""

from __future__ import annotations

from maquette.runtime.engine import Engine
from services.meshgen.engines.shape_from_silhouette import ShapeFromSilhouette


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded."""
    return (ShapeFromSilhouette(),)
