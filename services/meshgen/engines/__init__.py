"""The engines of meshgen. Importing this loads none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maquette.runtime.capability.engines import engine_at
from maquette.runtime.engine import Engine

if TYPE_CHECKING:
    from maquette.runtime.remote.engine import RemoteEngine
    from maquette.runtime.settings import Settings

_HERE = "services.meshgen.engines"


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded; one that cannot be imported tells why."""
    return (engine_at("shape_from_silhouette", f"{_HERE}.shape_from_silhouette:ShapeFromSilhouette"),)


def remote_engines(settings: Settings) -> tuple[RemoteEngine, ...]:
    """Return the engines at providers; they run in the node itself, not in its workers."""
    from maquette.runtime.remote.meshy import Meshy
    from services.meshgen.engines.meshy import MeshyImageTo3d, MeshyRetexture
    from services.meshgen.engines.segmind import SegmindImageTo3d

    meshy = Meshy(settings.meshy)
    return (
        MeshyImageTo3d(meshy, settings.meshy),
        MeshyRetexture(meshy, settings.meshy),
        SegmindImageTo3d(settings.segmind),
    )
