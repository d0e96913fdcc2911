"""The engines of a worker process: described, loaded, run. Imported in the child only."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maquette.runtime.engine import (
    Engine,
    EngineDescription,
    EngineKind,
    EngineRequest,
    EngineResult,
    InputFile,
    Report,
)
from maquette.runtime.errors import Unavailable

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

    An engine that cannot be made or described is told as unavailable, and so is a whole factory, under its
    own name: the others serve. Raises ValueError when two engines share an id.
    """
    found = []
    for engine in [engine for factory in factories for engine in _made_by(factory)]:
        try:
            description = engine.describe()
        except Exception as error:  # noqa: BLE001 — whatever it is, it is that engine's alone
            engine = BrokenEngine(type(engine).__module__.rpartition(".")[2], error)
            description = engine.describe()
        if description.id in _engines:
            raise ValueError(f"two engines are called {description.id!r}")
        _engines[description.id] = engine
        if description.unavailable:
            _unavailable[description.id] = description.unavailable
        found.append(_plain(description))
    return found


def _made_by(factory: str) -> Sequence[Engine]:
    try:
        return tuple(_named(factory)())
    except Exception as error:  # noqa: BLE001 — as above
        return (BrokenEngine(factory, error),)


def _named(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def engine_at(engine_id: str, target: str, *arguments: Any) -> Engine:
    """Import and make an engine (`module:Class`), or one in its place that tells why it cannot be."""
    try:
        engine: Engine = _named(target)(*arguments)
    except Exception as error:  # noqa: BLE001 — as above
        return BrokenEngine(engine_id, error)
    return engine


class BrokenEngine:
    """Stands for an engine that could not be made: it is known, and known not to work."""

    def __init__(self, engine_id: str, error: Exception) -> None:
        """Take the place of ``engine_id``; the operator finds the whole ``error`` in the log."""
        traceback.print_exception(error)
        self._description = EngineDescription(
            id=engine_id,
            kind=EngineKind.EMBEDDED,
            features=(),
            input_formats=(),
            output_formats=(),
            memory_mib=0,
            description="",
            unavailable=why_not(error),
        )

    def describe(self) -> EngineDescription:
        """Return nothing but the reason."""
        return self._description

    def load(self) -> None:
        """Raise Unavailable."""
        raise Unavailable(self._description.unavailable)

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Raise Unavailable."""
        raise Unavailable(self._description.unavailable)

    def unload(self) -> None:
        """Do nothing: nothing is there."""


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
        "missing_formats": dict(description.missing_formats),
        "pending_formats": dict(description.pending_formats),
    }


def load() -> dict[str, str]:
    """Load every engine that can run here. Returns each id with why it cannot, empty if it can."""
    told = {}
    for name, engine in _engines.items():
        if name not in _unavailable:
            try:
                engine.load()
                _loaded.add(name)
            except Exception as error:  # noqa: BLE001 — whatever it is, it is that engine's alone
                _unavailable[name] = why_not(error)
        told[name] = _unavailable.get(name, "")
    return told


def why_not(error: Exception) -> str:
    """Say why an engine cannot run."""
    if isinstance(error, ImportError | OSError):
        return missing_library(error)
    return f"{type(error).__name__}: {error}"


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
    inputs: Sequence[Mapping[str, Any]],
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
        InputFile(file["role"], Path(file["path"]), file["media_type"], file["filename"], file["meta"])
        for file in inputs
    )
    return plain_result(engine.run(EngineRequest(feature, parameters, files, workdir, seed), report), workdir)


def plain_result(result: EngineResult, workdir: Path) -> dict[str, Any]:
    """Return a result as plain values, its files named as they lie in the working folder."""
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
