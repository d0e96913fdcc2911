"""The small protocol behind which every engine stands.

An engine runs inside a sandboxed worker process. It sees files and plain values, never the
network: the capability node brings the inputs into ``workdir`` and carries the outputs away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol


class EngineKind(Enum):
    """What runs behind an engine id."""

    EMBEDDED = "embedded"
    NEURAL = "neural"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine can do and what it needs."""

    id: str
    kind: EngineKind
    features: tuple[str, ...]
    input_formats: tuple[str, ...]
    output_formats: tuple[str, ...]
    memory_mib: int
    """Peak resident memory of one run, MiB; a worker that grows past it is killed."""
    description: str
    vram_mib: int = 0
    rank: int = 0
    """Order of choice under the default policy: the highest that is available wins."""
    unavailable: str = ""
    """Why it cannot run here and what to install; empty when it can."""
    missing_formats: Mapping[str, str] = field(default_factory=dict)
    """Formats it would know if something were installed, and what."""
    pending_formats: Mapping[str, str] = field(default_factory=dict)
    """Those of its formats that are made ready when they are first asked for, and how."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file the run reads."""

    role: str
    path: Path
    media_type: str
    filename: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What the task that made the file wrote about it; empty for files that clients sent."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file the run made. ``meta`` holds plain JSON values measured on the file."""

    role: str
    path: Path
    media_type: str
    ordinal: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One run."""

    feature: str
    parameters: Mapping[str, Any]
    """Fields of the feature's parameters message by proto name, defaults filled in."""
    inputs: tuple[InputFile, ...]
    workdir: Path
    """Empty folder for the outputs and for scratch files."""
    seed: int = 0

    def input(self, role: str) -> InputFile:
        """Return the one input of a role. Raises KeyError when there is none."""
        for file in self.inputs:
            if file.role == role:
                return file
        raise KeyError(role)


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What a run made: files, facts measured on them, and warnings for the client."""

    outputs: tuple[OutputFile, ...]
    info: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Report(Protocol):
    """Tells progress; raises :class:`maquette.runtime.errors.Cancelled` when the task was cancelled."""

    def __call__(
        self,
        stage: str,
        fraction: float,
        message: str = "",
        *,
        eta: float | None = None,
        upstream_status: str = "",
    ) -> None:
        """Report ``stage`` (a machine word) at ``fraction`` (0–1); ``eta`` in seconds."""


class Engine(Protocol):
    """One way to serve one or more features."""

    def describe(self) -> EngineDescription:
        """Describe the engine without loading it."""

    def load(self) -> None:
        """Bring into memory what every run needs (imports, JIT, weights)."""

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Do one run. Raises a :class:`maquette.runtime.errors.MaquetteError` for bad input."""

    def unload(self) -> None:
        """Give back what `load` took."""
