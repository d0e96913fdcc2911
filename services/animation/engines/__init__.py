"""The engines of animation. Importing this loads none of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maquette.runtime.engine import Engine
from services.animation.engines.motion_library import MotionLibrary

if TYPE_CHECKING:
    from maquette.geometry.codecs.fbx import FbxWorker
    from maquette.runtime.remote.engine import RemoteEngine
    from maquette.runtime.settings import Settings

_blender: list[FbxWorker] = []


def use_blender(folder: str, install: bool = False) -> None:
    """Say where the Blender worker lies, and whether it is installed when FBX is wanted first.

    Engines made from now on read and write FBX with it.
    """
    from maquette.geometry.codecs.fbx import FbxWorker

    _blender[:] = [FbxWorker(Path(folder), install)]


def engines() -> tuple[Engine, ...]:
    """Return every engine of this service, unloaded."""
    return (MotionLibrary(_blender[0] if _blender else None),)


def remote_engines(settings: Settings) -> tuple[RemoteEngine, ...]:
    """Return the engines at providers; they run in the node itself, not in its workers."""
    from maquette.runtime.remote.meshy import Meshy
    from services.animation.engines.meshy import MeshyAnimation

    return (MeshyAnimation(Meshy(settings.meshy), settings.meshy),)
