"""A `jobs` replica in this process, and capability nodes whose runs the tests write."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import struct_pb2

from maquette.api.capability.v1 import capability_pb2, capability_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.clock import RandomIds
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.service import ServiceContext
from maquette.runtime.settings import DatabaseSettings, JobsSettings, Settings
from services.jobs.main import Ledger, running

Run = capability_pb2.RunRequest
Said = capability_pb2.RunResponse
Behaviour = Callable[[Run, grpc.aio.ServicerContext], AsyncIterator[Said]]
DIGEST = "ab" * 32


def accepted() -> Said:
    return Said(accepted=Said.Accepted(engine_id="test"))


def progress(fraction: float, stage: str = "working", seq: int = 0) -> Said:
    return Said(
        progress=Said.Progress(seq=seq, stage=stage, fraction=fraction, message=f"{stage} {fraction}")
    )


def result(request: Run, *outputs: capability_pb2.TaskOutput, **info: object) -> Said:
    facts = struct_pb2.Struct()
    facts.update(info)
    return Said(
        result=Said.Result(
            outputs=outputs or [output("mesh", "model.glb"), output("thumbnail", "thumb.png")],
            model_used=request.engine_id,
            requested_model=request.requested_model,
            info=facts,
        )
    )


def output(role: str, filename: str, digest: str = DIGEST, ordinal: int = 0) -> capability_pb2.TaskOutput:
    return capability_pb2.TaskOutput(
        role=role, digest=digest, size=10, media_type="x/y", filename=filename, ordinal=ordinal
    )


async def quick(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
    yield accepted()
    yield progress(0.5)
    yield result(request)


def takes(seconds: float) -> Behaviour:
    async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        await asyncio.sleep(seconds)
        yield progress(0.5)
        yield result(request)

    return run


async def forever(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
    yield accepted()
    while True:
        yield Said(heartbeat=Said.Heartbeat())
        await asyncio.sleep(0.05)


def engine(name: str, *features: str, **more: object) -> capability_pb2.Engine:
    values = {"state": capability_pb2.ENGINE_STATE_AVAILABLE, **more}
    return capability_pb2.Engine(id=name, features=features, **values)


@dataclass
class Node(capability_pb2_grpc.CapabilityServiceServicer):
    """A capability node; ``behaviour`` is what its runs do."""

    settings: Settings
    behaviour: Behaviour = quick
    slots: int = 4
    engines: tuple[capability_pb2.Engine, ...] = (engine("test", "work"),)
    capability: str = "test"
    id: str = field(default_factory=lambda: RandomIds().uuid())
    seen: list[Run] = field(default_factory=list)
    started_at: list[float] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    silent: bool = False
    draining: bool = False
    devices: tuple[jobs_pb2.Device, ...] = ()
    remote_slots: int = 0
    discarded: list[capability_pb2.DiscardRequest] = field(default_factory=list)
    commands: list[jobs_pb2.AnnounceResponse] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"unix:{self.settings.run_dir / self.id[:8]}.sock"

    async def Run(self, request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        self.started_at.append(time.monotonic())
        self.seen.append(request)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            async for said in self.behaviour(request, context):
                yield said
        finally:
            self.busy -= 1

    async def Discard(
        self, request: capability_pb2.DiscardRequest, context: grpc.aio.ServicerContext
    ) -> capability_pb2.DiscardResponse:
        self.discarded.append(request)
        return capability_pb2.DiscardResponse()

    def state(self) -> jobs_pb2.AnnounceRequest:
        return jobs_pb2.AnnounceRequest(
            node=jobs_pb2.Node(
                id=self.id,
                capability=self.capability,
                address=self.address,
                slots=self.slots,
                busy=self.busy,
                engines=self.engines,
                devices=self.devices,
                draining=self.draining,
                remote_slots=self.remote_slots,
            )
        )

    async def announce(self, channel: grpc.aio.Channel) -> None:
        async def states() -> AsyncIterator[jobs_pb2.AnnounceRequest]:
            while True:
                if not self.silent:
                    yield self.state()
                await asyncio.sleep(0.1)

        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for command in jobs_pb2_grpc.NodeServiceStub(channel).Announce(states()):
                    self.commands.append(command)
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def served(node: Node, settings: Settings, jobs_address: str) -> AsyncIterator[None]:
    """Serve a node and announce it; leaving is as sudden as SIGKILL."""
    server = create_server(settings)
    capability_pb2_grpc.add_CapabilityServiceServicer_to_server(node, server)
    await serve(server, node.address, [], settings)
    channel = open_channel(settings, jobs_address)
    announcing = asyncio.create_task(node.announce(channel))
    try:
        yield
    finally:
        announcing.cancel()
        await asyncio.wait({announcing})
        await channel.close()
        await server.stop(None)


@dataclass
class House:
    """One replica with clients to it."""

    settings: Settings
    ledger: Ledger
    channel: grpc.aio.Channel
    stack: contextlib.AsyncExitStack

    @property
    def jobs(self) -> jobs_pb2_grpc.JobServiceAsyncStub:
        return jobs_pb2_grpc.JobServiceStub(self.channel)

    @property
    def artifacts(self) -> jobs_pb2_grpc.ArtifactServiceAsyncStub:
        return jobs_pb2_grpc.ArtifactServiceStub(self.channel)

    @property
    def feed(self) -> jobs_pb2_grpc.FeedServiceAsyncStub:
        return jobs_pb2_grpc.FeedServiceStub(self.channel)

    async def node(self, behaviour: Behaviour = quick, **more: object) -> Node:
        """Start a node and wait until it is known."""
        node, _stop = await self.mortal_node(behaviour, **more)
        return node

    async def mortal_node(
        self, behaviour: Behaviour = quick, **more: object
    ) -> tuple[Node, Callable[[], Awaitable[None]]]:
        """The same, with a way to end it as SIGKILL does."""
        node = Node(self.settings, behaviour, **more)  # type: ignore[arg-type]
        life = contextlib.AsyncExitStack()
        await life.enter_async_context(served(node, self.settings, self.ledger.address))
        self.stack.push_async_callback(life.aclose)
        await eventually(lambda: self.ledger.registry.address(node.id) is not None)
        return node, life.aclose

    async def submit(self, *tasks: jobs_pb2.TaskSpec, **more: object) -> jobs_pb2.Job:
        """Create a job."""
        return (await self.create(*tasks, **more)).job

    async def create(self, *tasks: jobs_pb2.TaskSpec, **more: object) -> jobs_pb2.CreateJobResponse:
        return await self.jobs.CreateJob(request(*tasks, **more))

    async def ended(self, job: jobs_pb2.Job, timeout: float = 60.0) -> jobs_pb2.Job:
        """Wait until a job has ended."""
        request = jobs_pb2.WaitJobRequest(key=key(job))
        request.timeout.FromSeconds(int(timeout))
        answer = (await self.jobs.WaitJob(request)).job
        assert answer.state >= jobs_pb2.STATE_SUCCEEDED, f"still open: {answer}"
        return answer

    async def get(self, job: jobs_pb2.Job) -> jobs_pb2.Job:
        return (await self.jobs.GetJob(jobs_pb2.GetJobRequest(key=key(job)))).job

    async def sql(self, statement: str, *args: object) -> list:
        return await self.ledger.database.fetch(statement, *args)


def task(name: str = "task", feature: str = "work", **more: object) -> jobs_pb2.TaskSpec:
    return jobs_pb2.TaskSpec(name=name, feature=feature, **more)


def request(*tasks: jobs_pb2.TaskSpec, **more: object) -> jobs_pb2.CreateJobRequest:
    values = {"account_id": "public", "dialect": "test", "feature": "work", **more}
    return jobs_pb2.CreateJobRequest(tasks=tasks or [task()], **values)


def key(job: jobs_pb2.Job) -> jobs_pb2.JobKey:
    return jobs_pb2.JobKey(account_id=job.account_id, id=job.id)


def reason(error: grpc.aio.AioRpcError) -> str:
    from maquette.runtime.rpc.channel import from_rpc_error

    return from_rpc_error(error).reason


async def eventually(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Poll until a condition (plain or async) holds."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        assert time.monotonic() < until, "did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def open_house(
    folder: Path, dsn: str, *, name: str = "jobs", whole_drain: float = 0.0, **jobs: object
) -> AsyncIterator[House]:
    """Run a replica.

    Leases and silent nodes last long: a machine that is slow for a moment loses none. Tests about their
    end make them short.
    """
    values = {
        "lease_seconds": 120.0,
        "announce_seconds": 10.0,
        "poll_seconds": 0.2,
        "replica_seconds": 0.3,
        "drain_seconds": 0.0,
        **jobs,
    }
    settings = Settings(
        data_dir=folder,
        drain_seconds=whole_drain,
        database=DatabaseSettings(jobs_dsn=dsn),
        jobs=JobsSettings(listen_address=f"unix:{folder / 'run' / name}.sock", **values),  # type: ignore[arg-type]
    )
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as nodes, contextlib.AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(running(ServiceContext("jobs", settings)))
        channel = open_channel(settings, ledger.address)
        stack.push_async_callback(channel.close)
        yield House(settings, ledger, channel, nodes)
