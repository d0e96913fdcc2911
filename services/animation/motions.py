"""`MotionLibraryService`: what the node's workers told of the library, and previews they draw of it."""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from contextlib import AsyncExitStack
from typing import Any

import grpc

from maquette.api.animation.v1 import motions_pb2 as pb
from maquette.api.animation.v1.motions_pb2_grpc import (
    MotionLibraryServiceServicer,
    add_MotionLibraryServiceServicer_to_server,
)
from maquette.runtime.capability.node import Node
from maquette.runtime.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from maquette.runtime.sandbox.pool import SandboxPool
from maquette.runtime.sandbox.spec import Step, WorkerSpec
from maquette.runtime.settings import Settings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["MotionLibraryService"].full_name
_LIBRARY = "services.animation.engines.motion_library"
LIST = Step(f"{_LIBRARY}.catalogue:list_motions")
"""Run by every worker of the node when it starts."""
_DRAWING = f"{_LIBRARY}.previews"
_PREVIEW = f"{_DRAWING}:preview"
_DRAW_SECONDS = 60.0
_DRAW_MIB = 1024
_KEPT_BYTES = 96 << 20
"""All previews of the library together are smaller."""
_MOST_WAITING = 32
_MATCHES = {"exact": pb.MATCH_EXACT, "close": pb.MATCH_CLOSE, "approximate": pb.MATCH_APPROXIMATE}


class MotionLibrary(MotionLibraryServiceServicer):
    """The library as one node tells it.

    Previews are drawn in a worker of their own, which is started when the first is asked for: they take no
    slot from tasks, and tasks keep nobody waiting for a picture.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._node: Node | None = None
        self._list: pb.ListMotionsResponse | None = None
        self._previews: OrderedDict[int, bytes] = OrderedDict()
        self._drawing: dict[int, asyncio.Task[bytes]] = {}
        self._size = 0
        self._pool: SandboxPool | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    def join(self, server: grpc.aio.Server, node: Node) -> str:
        """Answer on a node's server; return the service's name."""
        self._node = node
        add_MotionLibraryServiceServicer_to_server(self, server)
        return SERVICE_NAME

    async def close(self) -> None:
        """End what is being drawn, and the worker."""
        for task in self._drawing.values():
            task.cancel()
        await asyncio.gather(*self._drawing.values(), return_exceptions=True)
        await self._stack.aclose()

    async def ListMotions(  # noqa: N802
        self, request: pb.ListMotionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListMotionsResponse:
        """Tell the whole library."""
        return self._known()

    async def GetPreview(  # noqa: N802
        self, request: pb.GetPreviewRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetPreviewResponse:
        """Draw a motion, or send what was drawn before; those who ask at once wait for one drawing."""
        number = request.id
        kept = self._previews.get(number)
        if kept is not None:
            self._previews.move_to_end(number)
            return pb.GetPreviewResponse(webp=kept)
        if all(motion.id != number for motion in self._known().motions):
            raise NotFound(f"There is no motion {number} in the library.")
        task = self._drawing.get(number)
        if task is None:
            if len(self._drawing) >= _MOST_WAITING:
                raise ResourceExhausted(
                    "too many previews are being drawn; try again soon", reason="NODE_BUSY"
                )
            task = self._drawing[number] = asyncio.create_task(self._draw(number))
            task.add_done_callback(lambda _: self._drawing.pop(number, None))
        # Whoever goes away leaves the drawing to the next one who asks.
        return pb.GetPreviewResponse(webp=await asyncio.shield(task))

    def _known(self) -> pb.ListMotionsResponse:
        if self._list is None:
            told = self._node.told.get(LIST.target) if self._node is not None else None
            if told is None:
                raise Unavailable("the workers of the node are still starting")
            if not told["motions"]:
                raise Unavailable("the node lacks packages that motions are made with")
            self._list = _to_proto(told)
        return self._list

    async def _draw(self, number: int) -> bytes:
        pool = await self._drawers()
        encoded = await pool.call(_PREVIEW, {"number": number}, timeout=_DRAW_SECONDS, memory_mib=_DRAW_MIB)
        data = base64.b64decode(encoded)
        self._previews[number] = data
        self._size += len(data)
        while self._size > _KEPT_BYTES:
            self._size -= len(self._previews.popitem(last=False)[1])
        return data

    async def _drawers(self) -> SandboxPool:
        async with self._opening:
            if self._pool is None:
                capability = self._settings.capability
                spec = WorkerSpec(
                    "previews",
                    modules=(_DRAWING,),
                    require_confinement=capability.require_confinement,
                    uid_base=capability.uid_base,
                    recycle_after=200,
                )
                opened = SandboxPool.open(spec, workers=1, workspace=self._settings.tmp_dir)
                self._pool = await self._stack.enter_async_context(opened)
            return self._pool


def _to_proto(told: dict[str, Any]) -> pb.ListMotionsResponse:
    try:
        motions = [pb.Motion(**{**row, "match": _MATCHES[row["match"]]}) for row in told["motions"]]
        return pb.ListMotionsResponse(motions=motions, names=told["names"], revision=told["revision"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"the worker told no library: {error}") from error
