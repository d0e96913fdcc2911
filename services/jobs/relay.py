"""Hear from the other replicas what happens there.

Each replica reads every other's own feed into its hub, so that a watcher is served by whichever
replica it asked. When a replica goes, its feed is not read again; that its jobs end is told by notifications.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import grpc

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.telemetry import get_logger
from services.jobs.convert import event_from_proto, feed_events
from services.jobs.hub import Hub


class Relay:
    """One stream from each other replica."""

    def __init__(self, hub: Hub, channel: Callable[[str], grpc.aio.Channel]) -> None:
        self._hub = hub
        self._channel = channel
        self._streams: dict[str, asyncio.Task[None]] = {}

    async def follow(self, replicas: Mapping[str, str]) -> None:
        """Read the feeds of exactly these replicas (id → address)."""
        for replica in set(self._streams) - set(replicas):
            self._streams.pop(replica).cancel()
        for replica, address in replicas.items():
            task = self._streams.get(replica)
            if task is None or task.done():
                self._streams[replica] = asyncio.create_task(self._read(address))

    async def close(self) -> None:
        """End all streams."""
        await self.follow({})

    async def _read(self, address: str) -> None:
        try:
            async with self._channel(address) as channel:
                stub = jobs_pb2_grpc.FeedServiceStub(channel)
                async for item in stub.WatchFeed(jobs_pb2.WatchFeedRequest(own=True)):
                    for event in feed_events(item):
                        self._hub.relay(event_from_proto(event))
        except grpc.aio.AioRpcError as error:
            get_logger().info("feed of a replica ended", address=address, why=error.details())
