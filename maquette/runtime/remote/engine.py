"""What a remote engine is, and the desk it works at.

What an engine can rely on:

- :meth:`Desk.note` is heard by the next attempt of the task, whatever becomes of this one;
- a run that is cancelled gets `CancelledError` where it waits; whether what it made at the provider is
  given up then, is not its business: the node calls :meth:`RemoteEngine.discard` where no attempt follows;
- files it was given and files it made lie in a folder of ours that no worker can write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from maquette.runtime.engine import EngineDescription, InputFile, Report


@dataclass(frozen=True, slots=True)
class RemoteRequest:
    """One run."""

    feature: str
    parameters: Mapping[str, Any]
    """Fields of the feature's parameters message by proto name, defaults filled in."""
    inputs: tuple[InputFile, ...]
    seed: int = 0

    def input(self, role: str) -> InputFile:
        """Return the one input of a role. Raises KeyError when there is none."""
        for file in self.inputs:
            if file.role == role:
                return file
        raise KeyError(role)


@dataclass(frozen=True, slots=True)
class LocalStep:
    """A function to be called in a sandboxed worker, its working folder empty.

    ``files`` become arguments as paths. The function gets ``report`` too.
    """

    target: str
    """`module:function`."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    memory_mib: int = 2048


@dataclass(frozen=True, slots=True)
class Made:
    """What a local step returned; ``files`` it named under "files" are ours now."""

    value: Mapping[str, Any]
    files: Mapping[str, Path]


class Desk(Protocol):
    """What a run may use."""

    report: Report
    """Tells progress."""
    folder: Path
    """Empty folder of ours, gone with the run."""
    checkpoint: Mapping[str, Any]
    """What an earlier attempt, or this one, noted last; empty at first."""

    def note(self, state: Mapping[str, Any]) -> None:
        """Tell the next attempt of the task something: JSON, small, no secret. Replaces what was noted."""

    async def local(self, step: LocalStep) -> Made:
        """Do a step in a worker. Raises what :meth:`SandboxPool.call` does."""


class RemoteEngine(Protocol):
    """One way to serve one or more features at a provider."""

    def describe(self) -> EngineDescription:
        """Describe the engine; its kind is PROVIDER."""

    async def run(self, request: RemoteRequest, desk: Desk) -> LocalStep:
        """Do one run up to the downloaded files.

        Returns the step that makes the result of them, which returns what
        :func:`maquette.runtime.capability.engines.run` does. Raises a
        :class:`maquette.runtime.errors.MaquetteError` for what cannot be done.
        """

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Give up what a run noted, as far as the provider lets us."""

    async def close(self) -> None:
        """Close connections; nothing runs any more."""
