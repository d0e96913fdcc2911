"""Making a node known to every replica of `jobs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import grpc

from maquette.api.jobs.v1 import jobs_pb2 as pb
from maquette.api.jobs.v1.jobs_pb2_grpc import NodeServiceStub
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.settings import Settings
from maquette.runtime.telemetry import get_logger

_BACK_OFF = (0.05, 0.1, 0.2, 0.5, 1.0)
_log = get_logger()


class Node(Protocol):
    """What is announced."""

    def state(self) -> pb.Node:
        """Return the state now."""

    def listen(self) -> asyncio.Event:
        """Return an event that is set at every change, until it is forgotten."""

    def forget(self, changed: asyncio.Event) -> None:
        """Set it no more."""

    def drain(self) -> None:
        """Take no new task."""

    def unload(self, engine_id: str) -> None:
        """Give back the memory of an engine."""


@asynccontextmanager
async def announced(node: Node, settings: Settings) -> AsyncIterator[None]:
    """Keep every replica of `jobs` told of the node's state while the block runs."""
    tasks = [
        asyncio.create_task(_announce(node, settings, target), name=f"announce {target}")
        for target in settings.jobs_addresses()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _announce(node: Node, settings: Settings, target: str) -> None:
    """Announce to one replica, for ever."""
    failures = 0
    async with open_channel(settings, target) as channel:
        while True:
            try:
                async for response in NodeServiceStub(channel).Announce(_states(node, settings)):
                    failures = 0
                    _obey(node, response)
            except grpc.aio.AioRpcError as error:
                if failures == 0:
                    _log.info("jobs is away", target=target, code=error.code().name)
            await asyncio.sleep(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)])
            failures += 1


async def _states(node: Node, settings: Settings) -> AsyncIterator[pb.AnnounceRequest]:
    """Yield the node's state at once, at every change, and at least every second or so."""
    changed = node.listen()
    try:
        while True:
            changed.clear()
            yield pb.AnnounceRequest(node=node.state())
            try:
                async with asyncio.timeout(settings.capability.announce_seconds):
                    await changed.wait()
            except TimeoutError:
                continue
    finally:
        node.forget(changed)


def _obey(node: Node, response: pb.AnnounceResponse) -> None:
    if response.HasField("drain"):
        _log.info("told to drain")
        node.drain()
    elif response.HasField("unload"):
        node.unload(response.unload.engine_id)
