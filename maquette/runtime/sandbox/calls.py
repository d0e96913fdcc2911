"""One call into a worker: what is known while it runs, and what came of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from maquette.runtime.errors import CATALOGUE, MaquetteError, error_for
from maquette.runtime.sandbox.errors import OutOfMemory, RemoteFailure, TimedOut, WorkerCrashed, describe_exit

OnEvent = Callable[[dict[str, Any]], None]
_MAX_TEXT = 4000


@dataclass(slots=True)
class Outcome:
    """What a call returned."""

    value: Any
    peak_mib: float
    """Most resident memory seen, MiB."""


@dataclass(slots=True)
class Call:
    """The call in hand."""

    id: int
    on_event: OnEvent | None
    answer: asyncio.Future[dict[str, Any]]
    verdict: MaquetteError | None = None
    """Why we ended it, when we did."""
    kill_at: float = float("inf")
    peak_mib: float = 0.0
    events: int = 0

    def outcome(self) -> Outcome:
        """Return what the finished call returned, or raise what became of it."""
        answer = self.answer.result()
        if self.verdict is not None:
            raise self.verdict
        if answer["op"] == "result":
            return Outcome(answer.get("value"), max(self.peak_mib, _number(answer.get("peak_mib"))))
        if answer["op"] == "ended":
            status = int(answer["status"])
            if -status == signal.SIGXCPU:
                raise TimedOut("the run used more CPU time than it may")
            raise WorkerCrashed(
                f"worker process {describe_exit(status)}", metadata={"exit": describe_exit(status)}
            )
        raise _told(answer)


def _told(answer: Mapping[str, Any]) -> MaquetteError:
    """Return the error a worker told, as far as it can be believed."""
    message = str(answer.get("message", ""))[:_MAX_TEXT]
    reason = str(answer.get("reason", ""))
    if reason == OutOfMemory.default_reason:
        return OutOfMemory(message)
    if reason in CATALOGUE:
        metadata = answer.get("metadata")
        pairs = metadata.items() if isinstance(metadata, dict) else ()
        return error_for(reason, message, {str(key): str(value)[:_MAX_TEXT] for key, value in pairs})
    trace = str(answer.get("traceback", ""))[-_MAX_TEXT:]
    return RemoteFailure(str(answer.get("kind", "Exception"))[:100], message, trace)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
