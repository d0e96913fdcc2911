"""Composition root of `jobs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.errors import Unavailable
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.secrets import load_secret
from maquette.runtime.service import ServiceContext, run_service
from services.jobs.attempts import Attempts
from services.jobs.channels import NodeChannels
from services.jobs.convert import created
from services.jobs.discards import Discards
from services.jobs.dispatcher import Dispatcher
from services.jobs.endings import Endings
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.job_servicer import CREATE_JOBS, JobParts, JobServicer
from services.jobs.ledger.database import Database
from services.jobs.ledger.jobs import JobTable, Submitted
from services.jobs.ledger.retention import RetentionTable
from services.jobs.ledger.tasks import TaskTable
from services.jobs.listener import Listener
from services.jobs.model import JobEvent, NewJob
from services.jobs.registry import NodeRegistry
from services.jobs.relay import Relay
from services.jobs.retention import Retention
from services.jobs.runner import Parts, Runner
from services.jobs.servicers import ArtifactServicer, FeedServicer, NodeServicer
from services.jobs.states import Event
from services.jobs.submit import Submitter
from services.jobs.upkeep import LeaseKeeper, Upkeep, every

SERVICES = tuple(service.full_name for service in jobs_pb2.DESCRIPTOR.services_by_name.values())


class Ledger:
    """Everything of one replica, wired."""

    def __init__(self, context: ServiceContext) -> None:
        settings = context.settings.jobs
        self.context = context
        self.settings = settings
        self.id = context.ids.uuid()
        self.address = settings.listen_address or context.settings.address("jobs")
        self.refused = 0
        self.database = Database(
            context.settings.dsn("jobs"),
            context.clock,
            size=settings.pool_size,
            patience=settings.patience_seconds,
        )
        self.jobs = JobTable(self.database, self.id, settings.queue_limit)
        self.tasks = TaskTable(
            self.database, self.id, lease=settings.lease_seconds, node_losses=settings.node_loss_budget
        )
        self.hub = Hub(
            context.clock,
            ring=settings.kept_events,
            feed_ring=settings.kept_feed_events,
            keep_seconds=settings.kept_seconds,
        )
        self.book = ProgressBook()
        self.attempts = Attempts()
        self.registry = NodeRegistry(
            context.clock,
            silence=settings.announce_seconds * settings.silent_announces,
            on_change=lambda features: self.dispatcher.wake(features=features),
        )
        self.nodes = NodeServicer(self.registry)
        self.endings = Endings(self.jobs, self.hub, self.attempts, self.book)
        self.dispatcher = Dispatcher(
            self.jobs,
            self.tasks,
            self.hub,
            self.book,
            self.registry,
            self.attempts,
            context.clock,
            settings,
        )
        self.submitter = Submitter(self.jobs, context.clock, batch=settings.create_batch, stored=self._stored)
        self.relay = Relay(self.hub, self._open)
        self.channels = NodeChannels(self.registry, self._open)
        self.discards = Discards(self.tasks, self.attempts, self.registry, self.channels.to)
        self.dispatcher.runner = Runner(self._runner_parts())
        self.upkeep = Upkeep(
            self.jobs, self.tasks, self.hub, self.attempts, self.registry, self.endings, settings
        )
        self.retention = Retention(
            RetentionTable(self.database),
            self.hub,
            self.endings,
            keys=settings.key_lifetime_seconds,
            jobs=settings.job_lifetime_seconds,
        )
        self.leases = LeaseKeeper(self.tasks, self.attempts, self.book, context.clock, settings.lease_seconds)
        self.listener = Listener(
            self.database,
            self.id,
            on_enqueued=self.dispatcher.wake,
            on_closed=lambda job_ids: self.endings.tell(job_ids, local=False),
            on_gap=self._catch_up,
        )

    def _open(self, address: str) -> grpc.aio.Channel:
        return open_channel(self.context.settings, address)

    def _runner_parts(self) -> Parts:
        return Parts(
            jobs=self.jobs,
            tasks=self.tasks,
            hub=self.hub,
            book=self.book,
            endings=self.endings,
            registry=self.registry,
            clock=self.context.clock,
            settings=self.settings,
            grant_secret=load_secret(self.context.settings, "grants"),
            channel=self.channels.to,
            wake=self.dispatcher.wake,
            refused=self._count_refused,
        )

    def _stored(self, new: NewJob, stored: Submitted) -> None:
        """Look for a node at once, and tell that a job was made while the database looks."""
        if stored.created and stored.deadline:
            self.dispatcher.wake(features={task.feature for task in new.tasks if not task.after})
            self.hub.publish(Event.QUEUED, created(new, stored.created, stored.deadline), epoch=1)

    def _count_refused(self) -> None:
        self.refused += 1

    def servicers(self, server: grpc.aio.Server) -> None:
        """Add the gRPC faces to a server."""
        parts = JobParts(
            jobs=self.jobs,
            hub=self.hub,
            endings=self.endings,
            submitter=self.submitter,
            registry=self.registry,
            clock=self.context.clock,
            ids=self.context.ids,
            settings=self.settings,
            refused=lambda: self.refused,
        )
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(parts), server)
        jobs_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactServicer(self.jobs, self.hub), server)
        jobs_pb2_grpc.add_FeedServiceServicer_to_server(FeedServicer(self.hub), server)
        jobs_pb2_grpc.add_NodeServiceServicer_to_server(self.nodes, server)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return everything that runs for as long as the service does, but the dispatcher."""
        settings, upkeep = self.settings, self.upkeep
        return [
            self.submitter.run(),
            self.listener.run(),
            every(settings.lease_seconds / 3, "extend leases", self.leases.extend),
            every(settings.poll_seconds, "close overdue jobs", upkeep.close_overdue),
            every(settings.poll_seconds, "close exhausted tasks", upkeep.close_exhausted),
            every(settings.sweep_seconds, "forget what is old", self.retention.sweep),
            every(1.0, "note progress", upkeep.note_progress),
            every(5.0, "measure", upkeep.measure),
            every(5.0, "close channels", self.channels.sweep),
            every(settings.replica_seconds, "heartbeat", self.beat),
            every(settings.replica_seconds, "give up what is left at providers", self.discards.sweep),
        ]

    async def beat(self) -> None:
        """Show that this replica lives, and follow the others."""
        replicas = await self.tasks.heartbeat(self.address, 3 * self.settings.replica_seconds)
        self.registry.alone = not replicas
        await self.relay.follow(replicas)

    async def _catch_up(self) -> None:
        """After a gap in what was heard: look which jobs have ended or come, and go on."""
        held = [job.id for job in self.hub.open_jobs()]
        if held:
            await self.endings.tell(await self.jobs.closed(held), local=False)
        now = self.context.clock.now()
        for job in await self.jobs.open():
            self.hub.relay(JobEvent(job.seq, Event.SNAPSHOT, now, job))


@asynccontextmanager
async def running(context: ServiceContext) -> AsyncIterator[Ledger]:
    """Open the ledger, serve, and give back what runs when the service stops."""
    ledger = Ledger(context)
    async with AsyncExitStack() as stack:
        await ledger.database.open()
        stack.push_async_callback(ledger.database.close)
        server = create_server(context.settings, own_spans=(CREATE_JOBS,))
        ledger.servicers(server)
        ledger.hub.load(await ledger.jobs.open())
        serving = await serve(server, ledger.address, SERVICES, context.settings)
        # The address is ours now: whoever had it before is gone.
        expired = await ledger.tasks.take_over(ledger.address)
        if expired:
            context.log.info("took over running tasks", tasks=expired)
        await ledger.beat()
        for loop in ledger.loops():
            stack.push_async_callback(_end, _begin(loop, context))
        claiming = _begin(ledger.dispatcher.run(), context)
        try:
            yield ledger
        finally:
            await _end(claiming)
            await ledger.dispatcher.drain()
            # Streams that never end by themselves would hold up the drain.
            ledger.hub.stop()
            ledger.nodes.stop()
            await serving.drain()
            await ledger.relay.close()
            await _quietly(ledger.tasks.retire)
            await ledger.channels.close()


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Run one replica."""
    async with running(context):
        yield


def _begin(loop: Coroutine[Any, Any, None], context: ServiceContext) -> asyncio.Task[None]:
    """Run a loop. One that breaks ends the service: a ledger that serves but does not claim is worse."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            context.log.error("a loop broke; stopping", exc_info=error)
            context.stopping.set()

    task = asyncio.create_task(loop)
    task.add_done_callback(ended)
    return task


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _quietly(step: Callable[[], Awaitable[None]]) -> None:
    try:
        await step()
    except Unavailable:
        return  # the row is swept later


def main() -> None:
    """Run the service."""
    run_service("jobs", build)


if __name__ == "__main__":
    main()
