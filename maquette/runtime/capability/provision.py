"""What a run may need that the node can still bring: the run waits for it without taking a slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability.attempt import LocalAttempt
from maquette.runtime.sandbox.pool import Lease, SandboxPool

MOST_WAITING = 32
"""Runs of a node that wait at a time; others are sent back to the queue."""


class Provision(Protocol):
    """Brings something to this machine once, when the first run needs it."""

    stage: str
    """What a run is told that it is in meanwhile, a machine word."""

    def needed(self, request: pb.RunRequest, parameters: Mapping[str, Any]) -> bool:
        """Tell whether this run needs it and the workers do not have it yet."""

    async def bring(self, tell: Callable[[str], None]) -> None:
        """Return when the workers have it; ``tell`` people how it goes.

        Raises a :class:`maquette.runtime.errors.MaquetteError` when it cannot be had. Being cancelled
        does not stop what others wait for too.
        """


@dataclass(slots=True, kw_only=True)
class WaitingAttempt(LocalAttempt):
    """An attempt that waits for a provision, and then for a slot."""

    pool: SandboxPool
    provision: Provision

    async def _slot(self, deadline: float) -> Lease:
        await self._unless_stopped(self.provision.bring(self._tell), deadline)
        self.lease = await self._unless_stopped(self.pool.acquire(), deadline)
        return self.lease

    def _tell(self, message: str) -> None:
        self.events.hear(
            {"op": "progress", "stage": self.provision.stage, "fraction": 0.0, "message": message}
        )
