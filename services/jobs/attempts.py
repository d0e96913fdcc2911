"""The attempts this replica drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from services.jobs import metrics
from services.jobs.model import Lease
from services.jobs.placement import Placement


class Stop(Enum):
    """Why we end a Run stream ourselves."""

    LOST = "its lease was lost"
    CLOSED = "its job has ended"
    DRAINING = "this replica stops"


@dataclass(slots=True)
class Attempt:
    """One Run stream."""

    lease: Lease
    placement: Placement
    give_back: Callable[[], None]
    valid_until: float
    """When the lease may be over, by our own monotonic clock; the database's clock is what counts."""
    alive: bool = False
    """Gave a sign of life since its lease was extended last."""
    told: bool = False
    """STARTED was published."""
    progressed: bool = False
    """Made progress since it was stored last."""
    ending: bool = False
    """Its end is being committed: the answer to that tells whether the lease held."""
    stopped: Stop | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    """What this attempt, or one before it, told last for the next."""
    cancel: Callable[[], object] = field(default=lambda: None)
    """Ends the RPC."""

    def stop(self, why: Stop) -> None:
        """End the stream; the first reason stays."""
        if self.stopped is None:
            self.stopped = why
            self.cancel()


class Attempts:
    """All running attempts, by lease token: an old attempt of a task may run beside its new one."""

    def __init__(self) -> None:
        self._by_token: dict[str, Attempt] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._by_token.values()))

    def add(self, attempt: Attempt) -> None:
        """Note a new attempt."""
        self._by_token[attempt.lease.token] = attempt
        metrics.RUNNING.set(len(self._by_token))

    def remove(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended."""
        self._by_token.pop(attempt.lease.token, None)
        metrics.RUNNING.set(len(self._by_token))

    def get(self, token: str) -> Attempt | None:
        """Return an attempt by its lease token."""
        return self._by_token.get(token)

    def tokens(self) -> list[str]:
        """Return the lease tokens of all."""
        return list(self._by_token)

    def of_job(self, job_id: str) -> list[Attempt]:
        """Return the attempts of a job's tasks."""
        return [attempt for attempt in self._by_token.values() if attempt.lease.job_id == job_id]
