"""The motion library, as the animation nodes tell it: asked once for each run of a node, then remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from maquette.api.animation.v1 import motions_pb2, motions_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import Clock
from maquette.runtime.errors import DeadlineExceeded, MaquetteError, NotFound, Unavailable
from maquette.runtime.rpc.status import from_rpc_error
from services.gateway.capabilities import NodeDirectory

CAPABILITY = "animation"
_LIST_SECONDS = 5.0
_DRAW_SECONDS = 25.0
_STALE_SECONDS = 60.0
_KEPT_BYTES = 32 << 20
_GRACE_SECONDS = 30.0
"""For what is still asked of a node that is gone."""

Dial = Callable[[str], grpc.aio.Channel]


@dataclass(frozen=True, slots=True)
class Library:
    """All motions there are."""

    motions: Mapping[int, motions_pb2.Motion]
    """By id, rising."""
    names: frozenset[str]
    """Names that a job takes besides ids."""
    revision: str

    def motion(self, number: int | None) -> motions_pb2.Motion:
        """Return a motion. Raises NotFound, which tells how to find ids."""
        found = self.motions.get(number) if number is not None else None
        if found is None:
            raise NotFound(self.unknown(number))
        return found

    def unknown(self, number: int | None) -> str:
        """Say that there is no such id, and how to find one."""
        what = "no such motion; ids are numbers" if number is None else f"no motion {number}"
        first, last = min(self.motions, default=0), max(self.motions, default=0)
        return (
            f"There is {what}. The library has {len(self.motions)} ids from {first} to {last}, with gaps. "
            "List them with GET /v1/animations, or search by word: GET /v1/animations?search=walk."
        )


class MotionDirectory:
    """Asks animation nodes for their library and its previews."""

    def __init__(self, nodes: NodeDirectory, dial: Dial, clock: Clock) -> None:
        self._nodes = nodes
        self._dial = dial
        self._clock = clock
        self._library: Library | None = None
        self._told_by = ""
        """Id of the node that told it."""
        self._seen_at = float("-inf")
        """When that node was last known to be there."""
        self._asking = asyncio.Lock()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._previews: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._kept = 0

    async def library(self) -> Library:
        """Return the library.

        While no animation node is there it is remembered for a minute. Raises Unavailable after that.
        """
        nodes = await self._live()
        known = self._fresh(nodes)
        if known is not None:
            return known
        async with self._asking:
            known = self._fresh(nodes)
            if known is not None:
                return known
            for node in nodes:
                try:
                    return self._learn(node, await self._ask(node))
                except MaquetteError as error:
                    reason = error.message
                    continue
        if self._library is not None and self._clock.monotonic() - self._seen_at < _STALE_SECONDS:
            return self._library
        raise Unavailable(_away(reason if nodes else ""))

    async def library_if_known(self) -> Library | None:
        """Return the library; None where nobody can be asked."""
        try:
            return await self.library()
        except Unavailable:
            return None

    async def preview(self, number: int) -> bytes:
        """Return a motion's preview, an animated WebP. Raises NotFound, Unavailable, NODE_BUSY."""
        library = await self.library()
        library.motion(number)
        key = (library.revision, number)
        kept = self._previews.get(key)
        if kept is not None:
            self._previews.move_to_end(key)
            return kept
        reason = ""
        for node in await self._live():
            request = motions_pb2.GetPreviewRequest(id=number)
            try:
                answer = await self._call(node, "GetPreview", request, _DRAW_SECONDS)
            except DeadlineExceeded as error:
                # The node goes on drawing, and keeps the picture for whoever asks next.
                raise Unavailable("The preview is still being drawn; try again in a moment.") from error
            except Unavailable as error:
                reason = error.message
                continue
            self._keep(key, answer.webp)
            return bytes(answer.webp)
        raise Unavailable(_away(reason))

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def _live(self) -> list[jobs_pb2.Node]:
        """Return the animation nodes, the one that told the library first, the idlest next."""
        known = await self._nodes.capabilities()
        found = [node for node in known.nodes if node.capability == CAPABILITY and not node.draining]
        for gone in self._channels.keys() - {node.address for node in found}:
            await self._channels.pop(gone).close(_GRACE_SECONDS)
        return sorted(found, key=lambda node: (node.id != self._told_by, node.busy))

    def _fresh(self, nodes: list[jobs_pb2.Node]) -> Library | None:
        if self._library is not None and any(node.id == self._told_by for node in nodes):
            self._seen_at = self._clock.monotonic()
            return self._library
        return None

    async def _ask(self, node: jobs_pb2.Node) -> motions_pb2.ListMotionsResponse:
        answer: motions_pb2.ListMotionsResponse = await self._call(
            node, "ListMotions", motions_pb2.ListMotionsRequest(), _LIST_SECONDS
        )
        return answer

    def _learn(self, node: jobs_pb2.Node, told: motions_pb2.ListMotionsResponse) -> Library:
        motions = {motion.id: motion for motion in told.motions}
        self._library = Library(dict(sorted(motions.items())), frozenset(told.names), told.revision)
        self._told_by, self._seen_at = node.id, self._clock.monotonic()
        return self._library

    def _keep(self, key: tuple[str, int], data: bytes) -> None:
        if key not in self._previews:
            self._kept += len(data)
        self._previews[key] = data
        while self._kept > _KEPT_BYTES:
            self._kept -= len(self._previews.popitem(last=False)[1])

    async def _call(self, node: jobs_pb2.Node, method: str, request: Any, seconds: float) -> Any:
        channel = self._channels.get(node.address)
        if channel is None:
            channel = self._channels[node.address] = self._dial(node.address)
        stub: Any = motions_pb2_grpc.MotionLibraryServiceStub(channel)
        try:
            return await getattr(stub, method)(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


def _away(reason: str) -> str:
    if reason:
        return f"No animation node can answer now: {reason}. Try again in a moment."
    return "No animation node is there to tell of its motions. Try again in a moment."
