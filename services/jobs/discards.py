"""Give up what is left at remote providers when a job has ended without an attempt to tell.

An attempt that runs is told by its runner. A task that waited for its next attempt has none, and a node
that died at that moment heard nothing: the note in the ledger stays until some node has.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from maquette.api.capability.v1 import capability_pb2, capability_pb2_grpc
from maquette.runtime.errors import Unavailable
from maquette.runtime.structs import to_struct
from maquette.runtime.telemetry import get_logger
from services.jobs.attempts import Attempts
from services.jobs.ledger.tasks import LeftOver, TaskTable
from services.jobs.registry import NodeRegistry

_SECONDS = 30.0


class Discards:
    """Tells nodes what no attempt will go on with."""

    def __init__(
        self,
        tasks: TaskTable,
        attempts: Attempts,
        registry: NodeRegistry,
        channel: Callable[[str], grpc.aio.Channel],
    ) -> None:
        self._tasks = tasks
        self._attempts = attempts
        self._registry = registry
        self._channel = channel

    async def sweep(self) -> None:
        """Tell of every task that is left, where a node has its engine."""
        left = await self._tasks.left_over()
        running = {attempt.lease.task_id for attempt in self._attempts} if left else set()
        for task in left:
            node = self._node_with(task.engine_id)
            if node is not None and task.id not in running and await self._tell(node, task):
                await self._tasks.forget_checkpoint(task.id)

    def _node_with(self, engine_id: str) -> str | None:
        views = self._registry.views()
        return next((view.id for view in views if engine_id in view.engines), None)

    async def _tell(self, node: str, task: LeftOver) -> bool:
        request = capability_pb2.DiscardRequest(
            task_id=task.id, engine_id=task.engine_id, checkpoint=to_struct(task.checkpoint)
        )
        try:
            stub = capability_pb2_grpc.CapabilityServiceStub(self._channel(node))
            await stub.Discard(request, timeout=_SECONDS)
        except (grpc.aio.AioRpcError, Unavailable) as error:
            get_logger().info("a remote task is given up later", task=task.id, why=repr(error))
            return False
        return True
