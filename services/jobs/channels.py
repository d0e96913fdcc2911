"""Channels to the capability nodes, one for each run of a node process."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from maquette.runtime.errors import Unavailable
from services.jobs.registry import NodeRegistry


class NodeChannels:
    """Opened when first used; closed when their node is known no more."""

    def __init__(self, registry: NodeRegistry, dial: Callable[[str], grpc.aio.Channel]) -> None:
        self._registry = registry
        self._dial = dial
        self._channels: dict[str, grpc.aio.Channel] = {}

    def to(self, node_id: str) -> grpc.aio.Channel:
        """Return the channel to a node. Raises Unavailable when the node is gone."""
        channel = self._channels.get(node_id)
        if channel is None:
            address = self._registry.address(node_id)
            if address is None:
                raise Unavailable("the node went away", reason="NODE_LOST")
            channel = self._channels[node_id] = self._dial(address)
        return channel

    async def sweep(self) -> None:
        """Close the channels of nodes that are gone."""
        for node_id in [node for node in self._channels if self._registry.address(node) is None]:
            await self._channels.pop(node_id).close()

    async def close(self) -> None:
        """Close all."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
