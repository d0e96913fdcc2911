"""The remote engines of a node: their slots, and what their runs noted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability.remote_attempt import RemoteAttempt, discard, newer
from maquette.runtime.remote.engine import RemoteEngine
from maquette.runtime.sandbox.pool import SandboxPool
from maquette.runtime.structs import from_struct

_REMEMBERED = 1024


class Remotes:
    """Gives slots to runs at providers.

    What a run notes goes to the ledger over its stream. Should that break before the ledger has it
    (`jobs` was killed at that moment), the node still knows: the next attempt finds it here.
    """

    def __init__(self, engines: Sequence[RemoteEngine], slots: int) -> None:
        self.engines = tuple(engines)
        self.slots = slots
        self._by_id = {engine.describe().id: engine for engine in engines}
        self._running: set[str] = set()
        self._noted: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return len(self._running)

    def attempt(self, pool: SandboxPool, *, request: pb.RunRequest, **common: Any) -> RemoteAttempt | None:
        """Return an attempt that has a slot; None when there is none.

        Nor is there one while an earlier attempt of the task still waits for a last answer: that may
        name what this one shall go on with.
        """
        task = request.task_id
        if len(self._running) >= self.slots or task in self._running:
            return None
        self._running.add(task)
        return RemoteAttempt(
            request=request,
            provider=self._by_id[request.engine_id],
            pool=pool,
            earlier=newer(from_struct(request.checkpoint), self._noted.get(task, {})),
            noted=lambda state: self._note(task, state),
            free=lambda: self._running.discard(task),
            **common,
        )

    def _note(self, task: str, state: Mapping[str, Any]) -> None:
        self._noted[task] = state
        self._noted.move_to_end(task)
        while len(self._noted) > _REMEMBERED:
            self._noted.popitem(last=False)

    async def discard(self, request: pb.DiscardRequest) -> None:
        """Give up what attempts that ended noted."""
        engine = self._by_id.get(request.engine_id)
        if engine is not None:
            checkpoint = newer(from_struct(request.checkpoint), self._noted.pop(request.task_id, {}))
            await discard(engine, request.engine_id, checkpoint)
