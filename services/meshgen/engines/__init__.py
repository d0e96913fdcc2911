"""The engines of meshgen. Importing this loads none of them."""

from __future__ import annotations

from maquette.runtime.engine import Engine
from services.meshgen.engines.silhouette_inflation import SilhouetteInflation


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded."""
    return (SilhouetteInflation(),)
