"""One channel over all replicas of a service: each call goes to the next one that is connected.

gRPC's own balancing spreads calls over the addresses of one host name. Replicas that are told apart by
name, each with its own certificate, are channels of their own, and taking turns between those is left to us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import grpc

from maquette.runtime.errors import Unavailable

_READY = grpc.ChannelConnectivity.READY


def balanced(channels: Sequence[grpc.aio.Channel]) -> grpc.aio.Channel:
    """Return one channel over ``channels``; closing it closes them. A single one is returned itself."""
    return channels[0] if len(channels) == 1 else cast("grpc.aio.Channel", _Turns(channels))


class _Turns:
    """What stubs need of a channel, taking turns between channels that are connected."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._channels = tuple(channels)
        self._next = 0

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return READY while one is connected, else the first one's state."""
        states = [channel.get_state(try_to_connect) for channel in self._channels]
        return _READY if _READY in states else states[0]

    async def channel_ready(self) -> None:
        """Wait until one is connected."""
        waiting = {asyncio.create_task(channel.channel_ready()) for channel in self._channels}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def close(self, grace: float | None = None) -> None:
        """Close all."""
        for channel in self._channels:
            await channel.close(grace)

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """Return a method that, told to wait, waits for whoever comes first."""
        calls = [channel.unary_unary(method, *serializers, **options) for channel in self._channels]

        async def call(request: Any, *, timeout: float | None = None, **more: Any) -> Any:
            clock = asyncio.get_running_loop().time
            until = None if timeout is None else clock() + timeout
            if more.get("wait_for_ready") and self._connected() is None:
                try:
                    async with asyncio.timeout_at(until):
                        await self.channel_ready()
                except TimeoutError as error:
                    raise Unavailable("every replica of the service is away") from error
                timeout = None if until is None else max(0.0, until - clock())
            return await calls[self._turn()](request, timeout=timeout, **more)

        return call

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """Return a method whose stream stays with the replica it began at."""
        return self._stream(lambda c: c.unary_stream(method, *serializers, **options))

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """Return a method whose stream stays with the replica it began at."""
        return self._stream(lambda c: c.stream_unary(method, *serializers, **options))

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """Return a method whose streams stay with the replica they began at."""
        return self._stream(lambda c: c.stream_stream(method, *serializers, **options))

    def _stream(self, make: Callable[[grpc.aio.Channel], Any]) -> Any:
        calls = [make(channel) for channel in self._channels]
        return lambda *request, **options: calls[self._turn()](*request, **options)

    def _connected(self) -> int | None:
        """Return whose turn it is among the connected, None while none is. Every other one is dialled."""
        count = len(self._channels)
        states = [channel.get_state(try_to_connect=True) for channel in self._channels]
        turns = ((self._next + step) % count for step in range(count))
        return next((index for index in turns if states[index] is _READY), None)

    def _turn(self) -> int:
        index = self._connected()
        if index is None:
            index = self._next
        self._next = (index + 1) % len(self._channels)
        return index
