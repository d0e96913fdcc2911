"""The gRPC faces of ArtifactService, FeedService and NodeService."""

# ruff: noqa: N802 — the methods are named as in the proto

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import grpc

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from maquette.runtime.telemetry import get_logger
from services.jobs.convert import artifact_proto, event_proto
from services.jobs.hub import Hub
from services.jobs.ledger.jobs import JobTable
from services.jobs.model import EPOCH_BITS, Job, JobEvent
from services.jobs.registry import LiveNode, NodeRegistry
from services.jobs.states import Event

# A message of the feed is closed at this size: one more job stays far below what a channel takes.
_FEED_BYTES = 1 << 20
_Context = grpc.aio.ServicerContext[Any, Any]


class ArtifactServicer(jobs_pb2_grpc.ArtifactServiceServicer):
    """Files that jobs made, and the paths issued for them."""

    def __init__(self, jobs: JobTable, hub: Hub) -> None:
        self._jobs = jobs
        self._hub = hub

    async def ResolvePath(
        self, request: jobs_pb2.ResolvePathRequest, context: _Context
    ) -> jobs_pb2.ResolvePathResponse:
        """Find the artifact an issued path stands for."""
        artifact = await self._jobs.resolve(request.account_id, request.path)
        if artifact is None:
            raise NotFound("no such file")
        return jobs_pb2.ResolvePathResponse(artifact=artifact_proto(artifact))

    async def DeleteResult(
        self, request: jobs_pb2.DeleteResultRequest, context: _Context
    ) -> jobs_pb2.DeleteResultResponse:
        """Forget the artifacts of a job that has ended."""
        job = await self._find(request.key)
        if not job.terminal:
            raise FailedPrecondition("the job has not ended")
        gone = await self._jobs.delete_result(job.account_id, job.id)
        if gone:
            for now in await self._jobs.read([job.id]):
                self._hub.load([job])
                self._hub.publish(Event.DELETED, now, epoch=now.seq >> EPOCH_BITS)
        return jobs_pb2.DeleteResultResponse(artifacts=[artifact_proto(artifact) for artifact in gone])

    async def FindReferencedBlobs(
        self, request: jobs_pb2.FindReferencedBlobsRequest, context: _Context
    ) -> jobs_pb2.FindReferencedBlobsResponse:
        """Tell which digests anything still refers to."""
        return jobs_pb2.FindReferencedBlobsResponse(
            referenced=await self._jobs.referenced(list(request.digests))
        )

    async def _find(self, key: jobs_pb2.JobKey) -> Job:
        if key.WhichOneof("key") == "id":
            job = await self._jobs.get(key.account_id, key.id)
        elif key.WhichOneof("key") == "public":
            job = await self._jobs.find(key.account_id, key.public.id, key.public.dialect)
        else:
            raise InvalidArgument("the job's id is required")
        if job is None:
            raise NotFound("no such job")
        return job


class FeedServicer(jobs_pb2_grpc.FeedServiceServicer):
    """One multiplexed stream of everything that happens."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def WatchFeed(
        self, request: jobs_pb2.WatchFeedRequest, context: _Context
    ) -> AsyncIterator[jobs_pb2.WatchFeedResponse]:
        """Stream snapshots of the open jobs, `synced`, and then every event."""
        async for events in self._hub.feed(own=request.own):
            if events is None:
                yield jobs_pb2.WatchFeedResponse(synced=jobs_pb2.WatchFeedResponse.Synced())
                continue
            for response in feed_responses(events):
                yield response


def feed_responses(events: Iterable[JobEvent]) -> Iterator[jobs_pb2.WatchFeedResponse]:
    """Yield events in as few messages as their sizes allow."""
    some: list[jobs_pb2.JobEvent] = []
    size = 0
    for message in map(event_proto, events):
        some.append(message)
        size += message.ByteSize()
        if size >= _FEED_BYTES:
            yield _feed_response(some)
            some, size = [], 0
    if some:
        yield _feed_response(some)


def _feed_response(events: list[jobs_pb2.JobEvent]) -> jobs_pb2.WatchFeedResponse:
    if len(events) == 1:
        return jobs_pb2.WatchFeedResponse(event=events[0])
    return jobs_pb2.WatchFeedResponse(events=jobs_pb2.WatchFeedResponse.Events(events=events))


class NodeServicer(jobs_pb2_grpc.NodeServiceServicer):
    """Capability nodes make themselves known here."""

    def __init__(self, registry: NodeRegistry) -> None:
        self._registry = registry
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every stream: this replica stops, and its nodes announce themselves elsewhere or later."""
        self._stopping.set()

    async def Announce(
        self, requests: AsyncIterator[jobs_pb2.AnnounceRequest], context: _Context
    ) -> AsyncIterator[jobs_pb2.AnnounceResponse]:
        """Take in a node's states until its stream ends, and send it commands."""
        first = await anext(aiter(requests), None)
        if first is None:
            return
        live = self._take(first.node)
        live.streams += 1
        get_logger().info("node came", node=live.node.id, capability=live.node.capability)
        reading = asyncio.create_task(self._read(requests, live))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while True:
                command = asyncio.create_task(live.commands.get())
                try:
                    await asyncio.wait({command, reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    # A stream that goes must not take a command with it that is meant for the next.
                    if not command.done():
                        command.cancel()
                if reading.done() or stopping.done():
                    return
                yield command.result()
        finally:
            reading.cancel()
            stopping.cancel()
            self._registry.withdraw(live)
            get_logger().info("node went", node=live.node.id, capability=live.node.capability)

    async def ListNodes(
        self, request: jobs_pb2.ListNodesRequest, context: _Context
    ) -> jobs_pb2.ListNodesResponse:
        """List the nodes announced to this replica."""
        return jobs_pb2.ListNodesResponse(nodes=self._registry.nodes())

    async def _read(self, requests: AsyncIterator[jobs_pb2.AnnounceRequest], live: LiveNode) -> None:
        async for request in requests:
            if request.node.id != live.node.id:
                raise InvalidArgument("a stream speaks for one node")
            self._registry.announce(request.node)

    def _take(self, node: jobs_pb2.Node) -> LiveNode:
        if not node.id or not node.address or not node.slots:
            raise InvalidArgument("a node needs an id, an address and at least one slot")
        return self._registry.announce(node)
