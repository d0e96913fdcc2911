"""The engines of a worker process: described, loaded, run. Imported in the child only."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maquette.runtime.engine import Engine, EngineDescription, EngineRequest, InputFile, Report

# Debian's package for a library that wheels expect on the system.
_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libOpenGL.so.0": "libopengl0",
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXext.so.6": "libxext6",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libgomp.so.1": "libgomp1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
}

_engines: dict[str, Engine] = {}
_loaded: set[str] = set()
_unavailable: dict[str, str] = {}


def describe(factories: Sequence[str]) -> list[dict[str, Any]]:
    """Call each factory (`module:function`) and return the descriptions of its engines.

    Raises ValueError when two engines share an id.
    """
    found = []
    for factory in factories:
        module, _, name = factory.partition(":")
        for engine in getattr(importlib.import_module(module), name)():
            description = engine.describe()
            if description.id in _engines:
                raise ValueError(f"two engines are called {description.id!r}")
            _engines[description.id] = engine
            if description.unavailable:
                _unavailable[description.id] = description.unavailable
            found.append(_plain(description))
    return found


def _plain(description: EngineDescription) -> dict[str, Any]:
    return {
        "id": description.id,
        "kind": description.kind.value,
        "features": list(description.features),
        "input_formats": list(description.input_formats),
        "output_formats": list(description.output_formats),
        "memory_mib": description.memory_mib,
        "vram_mib": description.vram_mib,
        "rank": description.rank,
        "description": description.description,
        "unavailable": description.unavailable,
    }


def load() -> dict[str, str]:
    """Load every engine that can run here. Returns each id with why it cannot, empty if it can."""
    told = {}
    for name, engine in _engines.items():
        if name not in _unavailable:
            try:
                engine.load()
                _loaded.add(name)
            except (ImportError, OSError) as error:
                _unavailable[name] = missing_library(error)
        told[name] = _unavailable.get(name, "")
    return told


def missing_library(error: Exception) -> str:
    """Say what an import needs, with the line that installs it where we know the package."""
    text = str(error)
    for library, package in _PACKAGES.items():
        if library in text:
            return f"needs {library}: apt-get install {package}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"needs the Python package {error.name!r}: {text}"
    return text or type(error).__name__


def unload(engine_id: str) -> bool:
    """Give back what an engine took. Returns whether it was loaded."""
    if engine_id not in _loaded:
        return False
    _engines[engine_id].unload()
    _loaded.discard(engine_id)
    return True


def run(
    engine_id: str,
    feature: str,
    parameters: Mapping[str, Any],
    inputs: Sequence[Mapping[str, str]],
    seed: int,
    report: Report,
) -> dict[str, Any]:
    """Run an engine in the working folder, which is the call's. Returns its result as plain values."""
    engine = _engines[engine_id]
    if engine_id not in _loaded:
        engine.load()
        _loaded.add(engine_id)
    workdir = Path.cwd()
    files = tuple(
        InputFile(file["role"], Path(file["path"]), file["media_type"], file["filename"]) for file in inputs
    )
    result = engine.run(EngineRequest(feature, parameters, files, workdir, seed), report)
    return {
        "outputs": [
            {
                "role": output.role,
                "path": os.path.relpath(output.path, workdir),
                "media_type": output.media_type,
                "ordinal": output.ordinal,
                "meta": dict(output.meta),
            }
            for output in result.outputs
        ],
        "info": dict(result.info),
        "warnings": list(result.warnings),
    }
