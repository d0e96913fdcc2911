"""A real node with real worker processes, between a storage and a `jobs` that hold all in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.capability.v1.capability_pb2_grpc import CapabilityServiceStub
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.capability.node import Node
from maquette.runtime.capability.provision import Provision
from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.errors import Aborted, NotFound
from maquette.runtime.remote.engine import RemoteEngine
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.service import ServiceContext
from maquette.runtime.settings import CapabilitySettings, Settings
from tests.support.folders import open_folder

ENGINES = "tests.support.engines:engines"


class MemoryStorage(storage_pb2_grpc.StorageServiceServicer):
    """Blobs in a dictionary; remembers grants and, on demand, reads other bytes than asked for."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.grants: set[str] = set()
        self.forge = False

    def add(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    async def ReadBlob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.grants.add(dict(context.invocation_metadata()).get("x-maquette-grant", ""))
        if request.digest not in self.blobs:
            raise NotFound("no such blob")
        data = self.blobs[request.digest]
        yield storage_pb2.ReadBlobResponse(chunk=b"forged" if self.forge else data)

    async def WriteBlob(self, requests: Any, context: Any) -> Any:
        self.grants.add(dict(context.invocation_metadata()).get("x-maquette-grant", ""))
        data = b""
        async for request in requests:
            data += request.chunk
            if request.HasField("commit"):
                return storage_pb2.WriteBlobResponse(digest=self.add(data), size=len(data))
        raise Aborted("the stream ended without a commit")


class MemoryJobs(jobs_pb2_grpc.NodeServiceServicer):
    """Remembers what nodes announce and sends the commands a test puts in."""

    def __init__(self) -> None:
        self.states: list[jobs_pb2.Node] = []
        self.commands: asyncio.Queue[jobs_pb2.AnnounceResponse] = asyncio.Queue()

    async def Announce(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async def listen() -> None:
            async for request in requests:
                self.states.append(request.node)

        listening = asyncio.create_task(listen())
        try:
            while True:
                yield await self.commands.get()
        finally:
            listening.cancel()


@dataclass
class Mesh:
    """What a test works with."""

    settings: Settings
    node: Node
    storage: MemoryStorage
    jobs: MemoryJobs
    stub: CapabilityServiceStub
    channel: grpc.aio.Channel
    numbers: list[int] = field(default_factory=lambda: [0])

    def request(
        self,
        engine: str,
        feature: str,
        *inputs: bytes,
        deadline_in: float = 90.0,
        heartbeat: float | None = None,
        **parameters: Any,
    ) -> pb.RunRequest:
        """Build a request whose inputs are in storage."""
        self.numbers[0] += 1
        packed = any_pb2.Any()
        struct = struct_pb2.Struct()
        struct.update(parameters)
        packed.Pack(struct)
        deadline = Timestamp()
        deadline.FromNanoseconds(int((self.node._clock.now().timestamp() + deadline_in) * 1e9))
        request = pb.RunRequest(
            task_id=f"task-{self.numbers[0]}",
            job_id="job",
            attempt=1,
            feature=feature,
            engine_id=engine,
            parameters=packed,
            requested_model="wished_for",
            grant="the-grant",
            deadline=deadline,
            seed=7,
            inputs=[
                pb.TaskInput(role="image", digest=self.storage.add(data), size=len(data), filename="../a.PNG")
                for data in inputs
            ],
        )
        if heartbeat:
            request.heartbeat.CopyFrom(Duration(nanos=int(heartbeat * 1e9)))
        return request

    def leftovers(self) -> list[str]:
        """Return files of calls that are still in the node's workspace."""
        found = []
        for seat in self.node.pool.seats:
            assert seat.worker is not None
            room = seat.worker.room
            if room.path.exists():
                found += [str(path) for folder in (room.inputs, room.outputs) for path in folder.iterdir()]
        return found


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition to hold."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):  # noqa: ASYNC110 — some conditions have no event
            await asyncio.sleep(0.01)
    return value


@asynccontextmanager
async def mesh_in(
    folder: Path,
    *,
    service: str = "meshgen",
    engines: str = ENGINES,
    provision: Provision | None = None,
    remote: Sequence[RemoteEngine] = (),
    **capability: Any,
) -> AsyncIterator[Mesh]:
    """Start a node of a service, with test engines unless told otherwise."""
    chosen: dict[str, Any] = {
        "slots": 2,
        "threads_per_slot": 1,
        # Whoever can stop is waited for, however slow the machine is.
        "kill_after_seconds": 30.0,
        "heartbeat_seconds": 5,
        "announce_seconds": 0.2,
        **capability,
    }
    settings = Settings(data_dir=folder, drain_seconds=0.5, capability=CapabilitySettings(**chosen))
    storage, jobs = MemoryStorage(), MemoryJobs()
    storage_server, jobs_server = create_server(settings), create_server(settings)
    storage_pb2_grpc.add_StorageServiceServicer_to_server(storage, storage_server)
    jobs_pb2_grpc.add_NodeServiceServicer_to_server(jobs, jobs_server)
    await serve(storage_server, settings.address("storage"), [], settings)
    await serve(jobs_server, settings.address("jobs"), [], settings)
    try:
        async with (
            serve_capability(
                ServiceContext(service, settings), engines, provision=provision, remote=remote
            ) as node,
            open_channel(settings, settings.address(service)) as channel,
        ):
            await until(
                lambda: node.table.rows and all(s.worker and s.worker.ready.done() for s in node.pool.seats)
            )
            yield Mesh(settings, node, storage, jobs, CapabilityServiceStub(channel), channel)
    finally:
        await jobs_server.stop(0)
        await storage_server.stop(0)
        assert not list((folder / "tmp" / "work").iterdir())


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    """A node with two slots."""
    with open_folder("capability") as folder:
        async with mesh_in(folder) as running:
            yield running


@pytest.fixture
async def hasty() -> AsyncIterator[Mesh]:
    """The same with little patience for what does not stop."""
    with open_folder("capability") as folder:
        async with mesh_in(folder, kill_after_seconds=0.5) as running:
            yield running


def gone(pid: int) -> bool:
    """Tell whether a process is gone, reaped and all."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
