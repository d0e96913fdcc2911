"""Storage as a node: it runs the tasks that publish files, in its own process and with its own keys.

A step of a job like any other: claimed under a lease, tried again when this process dies, committed once.
"""

# ruff: noqa: N802 — the methods are named as in the proto

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.capability.v1 import capability_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.clock import Clock
from maquette.runtime.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from maquette.runtime.grants import verify
from maquette.runtime.rpc.bounds import validate
from maquette.runtime.structs import from_struct, to_struct
from services.storage.publications import Publications

if TYPE_CHECKING:  # generic in their stubs only
    import grpc

    _Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["CapabilityService"].full_name
FEATURE = "publish"
ENGINE = "publisher"
ROLE = "published"
_SLOTS = 16
_HEARTBEAT = 5.0


@dataclass(slots=True)
class PublisherNode:
    """What is announced to `jobs`."""

    id: str
    address: str
    busy: int = 0
    draining: bool = False
    _listeners: weakref.WeakSet[asyncio.Event] = field(default_factory=weakref.WeakSet)

    def state(self) -> jobs_pb2.Node:
        """Return the state now."""
        return jobs_pb2.Node(
            id=self.id,
            capability="storage",
            address=self.address,
            slots=_SLOTS,
            busy=self.busy,
            engines=[self.engine()],
            draining=self.draining,
        )

    @staticmethod
    def engine() -> pb.Engine:
        """Return the one engine."""
        return pb.Engine(
            id=ENGINE,
            kind=pb.ENGINE_KIND_EMBEDDED,
            features=[FEATURE],
            state=pb.ENGINE_STATE_LOADED,
            description="Gives files a key and links of their own.",
        )

    def listen(self) -> asyncio.Event:
        """Return an event that is set at every change."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        return changed

    def forget(self, changed: asyncio.Event) -> None:
        """Set it no more."""
        self._listeners.discard(changed)

    def drain(self) -> None:
        """Take no new task."""
        self.draining = True
        self._changed()

    def unload(self, engine_id: str) -> None:
        """Do nothing: nothing is loaded."""

    def enter(self) -> None:
        """Take a slot. Raises ResourceExhausted (NODE_BUSY) when none is free or the node stops."""
        if self.draining or self.busy >= _SLOTS:
            raise ResourceExhausted("no slot is free", reason="NODE_BUSY")
        self.busy += 1
        self._changed()

    def leave(self) -> None:
        """Give a slot back."""
        self.busy -= 1
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener.set()


class PublisherServicer(capability_pb2_grpc.CapabilityServiceServicer):
    """Runs the tasks."""

    def __init__(self, node: PublisherNode, publications: Publications, grants: bytes, clock: Clock) -> None:
        """``grants`` is the secret that task grants are signed with."""
        self._node = node
        self._publications = publications
        self._grants = grants
        self._clock = clock

    async def Describe(self, request: pb.DescribeRequest, context: _Context) -> pb.DescribeResponse:
        """Tell the one engine."""
        return pb.DescribeResponse(capability="storage", engines=[self._node.engine()], slots=_SLOTS)

    async def Discard(self, request: pb.DiscardRequest, context: _Context) -> pb.DiscardResponse:
        """Do nothing: a task holds nothing elsewhere."""
        return pb.DiscardResponse()

    async def Run(self, request: pb.RunRequest, context: _Context) -> AsyncIterator[pb.RunResponse]:
        """Publish the task's inputs, which its grant must open."""
        wanted = storage_pb2.Publish()
        if request.feature != FEATURE or not request.parameters.Unpack(wanted):
            raise InvalidArgument(f"this node does {FEATURE!r} only")
        validate(wanted)
        grant = verify(self._grants, request.grant, self._clock.now())
        if grant.task_id != request.task_id or {file.digest for file in request.inputs} - grant.inputs:
            raise PermissionDenied("the grant opens other files", reason="GRANT_REFUSED")
        self._node.enter()
        work = asyncio.ensure_future(self._publish(request, wanted.filename))
        try:
            yield pb.RunResponse(accepted=pb.RunResponse.Accepted(engine_id=ENGINE, worker="storage"))
            text = f"Uploading {wanted.filename}"
            yield pb.RunResponse(progress=pb.RunResponse.Progress(seq=1, stage="uploading", message=text))
            beat = request.heartbeat.ToTimedelta().total_seconds() or _HEARTBEAT
            while not (await asyncio.wait((work,), timeout=beat))[0]:
                yield pb.RunResponse(heartbeat=pb.RunResponse.Heartbeat())
            yield pb.RunResponse(result=work.result())
        finally:
            work.cancel()
            self._node.leave()

    async def _publish(self, request: pb.RunRequest, filename: str) -> pb.RunResponse.Result:
        result = pb.RunResponse.Result(model_used=ENGINE, requested_model=request.requested_model)
        for ordinal, file in enumerate(request.inputs):
            name = filename if ordinal == 0 else _like(filename, file.filename)
            found = await self._publications.publish(
                request.task_id, ordinal, file.digest, name, file.media_type
            )
            result.outputs.append(
                pb.TaskOutput(
                    role=ROLE,
                    digest=file.digest,
                    size=file.size,
                    media_type=file.media_type,
                    filename=name,
                    ordinal=ordinal,
                    # What its maker wrote about it stays with it: a remote engine goes on from there.
                    meta=to_struct({**from_struct(file.meta), "published": found.meta()}),
                )
            )
        return result


def _like(filename: str, other: str) -> str:
    """Return a name with the extension of another one: the second form of the same thing."""
    return str(PurePosixPath(filename).with_suffix(PurePosixPath(other).suffix))
