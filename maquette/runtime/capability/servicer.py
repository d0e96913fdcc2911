"""`CapabilityService` over a node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.capability.v1.capability_pb2_grpc import CapabilityServiceServicer
from maquette.runtime.capability.node import Node
from maquette.runtime.settings import CapabilitySettings

_SHORTEST_HEARTBEAT = 0.05
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CapabilityService"].full_name


class CapabilityServicer(CapabilityServiceServicer):
    """Thin adapter: requests in, events out."""

    def __init__(self, node: Node, settings: CapabilitySettings) -> None:
        self._node = node
        self._settings = settings

    async def Describe(  # noqa: N802
        self, request: pb.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DescribeResponse:
        """List the engines of this node."""
        state = self._node.state()
        return pb.DescribeResponse(capability=state.capability, engines=state.engines, slots=state.slots)

    async def Run(  # noqa: N802
        self, request: pb.RunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.RunResponse]:
        """Run one attempt of one task; a caller that goes away cancels it."""
        attempt = self._node.start(request)
        heartbeat = self._heartbeat(request)
        try:
            while (response := await attempt.events.next(heartbeat)) is not None:
                yield response
            if attempt.failure is not None:
                raise attempt.failure
        finally:
            attempt.cancelled.set()

    async def Discard(  # noqa: N802
        self, request: pb.DiscardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DiscardResponse:
        """Give up what a task's attempts hold elsewhere."""
        await self._node.discard(request)
        return pb.DiscardResponse()

    def _heartbeat(self, request: pb.RunRequest) -> float:
        longest = self._settings.heartbeat_seconds
        asked: float = request.heartbeat.ToTimedelta().total_seconds()
        return max(_SHORTEST_HEARTBEAT, min(longest, asked)) if asked > 0 else longest
