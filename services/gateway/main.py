"""Composition root of the gateway: builds, wires and serves; nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from maquette.api.dialects.aigc.v1 import (
    files_pb2_grpc,
    generation_pb2_grpc,
    rigging_pb2_grpc,
    system_pb2_grpc,
)
from maquette.api.dialects.animate.v1 import animate_pb2_grpc
from maquette.api.dialects.core.v1 import animations_pb2_grpc, core_pb2_grpc
from maquette.runtime.memory import tune_for_streams
from maquette.runtime.rpc.byte_client import ByteClient
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.sandbox import SandboxPool
from maquette.runtime.secrets import load_secret
from maquette.runtime.service import ServiceContext, run_service
from services.gateway.auth import Authenticator, OpenAuthenticator
from services.gateway.backends import Backends, open_backends
from services.gateway.capabilities import NodeDirectory
from services.gateway.dialects.aigc.rigging import AutoRiggingServicer, RigSubmitter
from services.gateway.dialects.aigc.servicer import (
    FileServicer,
    MeshGenerationServicer,
    Parts,
    SystemServicer,
)
from services.gateway.dialects.aigc.submit import BodyLimits, ImageSubmitter
from services.gateway.dialects.animate.servicer import StatusServicer
from services.gateway.dialects.animate.submit import AnimateRoutes
from services.gateway.dialects.core.animations import AnimationServicer, AnimationSubmitter
from services.gateway.dialects.core.events import EventServicer
from services.gateway.dialects.core.model_files import ModelFiles
from services.gateway.edge.app import edge_app
from services.gateway.edge.parts import EdgeParts
from services.gateway.edge.server import serve_edge
from services.gateway.edge.sockets import Sockets
from services.gateway.envoy.config import edge_target
from services.gateway.feed import Feed
from services.gateway.grpc_door import PublicDoor
from services.gateway.ingest import ImageInspector, Ingestor, sweep_spool
from services.gateway.inspection import SandboxInspector, inspector_spec
from services.gateway.job_maker import JobMaker
from services.gateway.mirror import Mirror
from services.gateway.motions import MotionDirectory
from services.gateway.routes import DIALECTS, public_routes
from services.gateway.uploads import Uploads


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve until the block is left, then drain: sockets first, then calls."""
    settings = context.settings
    limits = settings.gateway
    await asyncio.to_thread(sweep_spool, settings.tmp_dir)
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(open_backends(settings))
        pool = await stack.enter_async_context(
            SandboxPool.open(
                inspector_spec(settings.capability),
                workers=limits.inspect_processes,
                workspace=settings.tmp_dir,
            )
        )
        feed = Feed(backends, Mirror(kept_jobs=limits.kept_jobs, kept_events=limits.kept_events))
        await stack.enter_async_context(_running(feed.run(), context))
        authenticator: Authenticator = OpenAuthenticator()
        inspector: ImageInspector = SandboxInspector(pool, limits)
        storage = ByteClient(settings, settings.bytes_address(), privileged=True)
        ingestor = Ingestor(storage, inspector, settings.tmp_dir, limits, context.ids)
        parts = _dialect_parts(context, backends, feed, ingestor)
        await stack.enter_async_context(_running(parts.nodes.follow(), context))
        await stack.enter_async_context(_grpc(context, parts, authenticator))
        edge = EdgeParts(
            backends, storage, feed, ingestor, authenticator, context.clock, settings.base_url, limits
        )
        sockets = Sockets(edge)
        animate = AnimateRoutes(edge, parts.nodes, parts.jobs, settings.pipeline)
        app = edge_app(edge, sockets, animate, load_secret(settings, "internal"))
        await stack.enter_async_context(serve_edge(app, edge_target(settings), settings))
        stack.push_async_callback(sockets.close_all)
        stack.callback(feed.leave)
        yield


def _dialect_parts(context: ServiceContext, backends: Backends, feed: Feed, ingestor: Ingestor) -> Parts:
    limits = context.settings.gateway
    nodes = NodeDirectory(backends, context.clock)
    largest = max(route.option.max_body_bytes for route in public_routes() if route.client_streaming)
    body = BodyLimits(rest=limits.max_body_kib * 1024, whole=largest, pace=limits)
    uploads, jobs = Uploads(backends, context.clock), JobMaker(backends)
    return Parts(
        backends=backends,
        feed=feed,
        nodes=nodes,
        submitter=ImageSubmitter(backends, feed, nodes, uploads, ingestor, jobs, body),
        rigs=RigSubmitter(backends, feed, nodes, uploads, jobs),
        uploads=uploads,
        jobs=jobs,
        clock=context.clock,
        base_url=context.settings.base_url,
        limits=limits,
        started_at=context.clock.monotonic(),
    )


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], context: ServiceContext) -> AsyncIterator[None]:
    """Follow others in the background; the service ends if that ever fails."""
    task = asyncio.create_task(work)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            context.log.error("following failed", exc_info=task.exception())
            context.stopping.set()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _grpc(context: ServiceContext, parts: Parts, authenticator: Authenticator) -> AsyncIterator[None]:
    settings = context.settings
    server = create_server(
        settings,
        extra=[PublicDoor(authenticator)],
        own_errors=(f"/{DIALECTS}",),
        max_concurrent_streams=16_384,
    )
    system_pb2_grpc.add_SystemServiceServicer_to_server(SystemServicer(parts), server)
    files_pb2_grpc.add_FileServiceServicer_to_server(FileServicer(parts), server)
    generation_pb2_grpc.add_MeshGenerationServiceServicer_to_server(MeshGenerationServicer(parts), server)
    rigging_pb2_grpc.add_AutoRiggingServiceServicer_to_server(
        AutoRiggingServicer(parts.rigs, parts.nodes), server
    )
    status = StatusServicer(parts.backends, parts.feed, parts.base_url)
    animate_pb2_grpc.add_StatusServiceServicer_to_server(status, server)
    events = EventServicer(parts.feed, settings.gateway.ping_seconds)
    core_pb2_grpc.add_EventServiceServicer_to_server(events, server)
    motions = MotionDirectory(parts.nodes, lambda address: open_channel(settings, address), parts.clock)
    files = ModelFiles(parts.backends, parts.feed, parts.uploads)
    animations = AnimationSubmitter(parts.feed, parts.nodes, motions, files, parts.jobs)
    animations_pb2_grpc.add_AnimationServiceServicer_to_server(
        AnimationServicer(animations, motions, parts.base_url), server
    )
    names = sorted({route.service for route in public_routes() if not route.at_edge})
    running = await serve(server, settings.address("gateway"), names, settings)
    try:
        yield
    finally:
        await running.drain()
        await motions.close()


def main() -> None:
    """Run the gateway."""
    tune_for_streams()
    run_service("gateway", build)


if __name__ == "__main__":
    main()
