"""Calls take turns between replicas, and none goes to one that is away while another is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.errors import Unavailable
from maquette.runtime.rpc.balanced import balanced
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import Running, create_server, serve
from maquette.runtime.settings import Settings

NAMES = ("one", "two", "three")


class Named(storage_pb2_grpc.StorageServiceServicer):
    def __init__(self, name: str) -> None:
        self.name = name

    async def GetUpload(self, request, context):
        return storage_pb2.GetUploadResponse(upload=storage_pb2.Upload(id=self.name))

    async def ReadBlob(self, request, context):
        yield storage_pb2.ReadBlobResponse(chunk=self.name.encode())


class Replicas:
    """Three servers and one channel over them."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder, drain_seconds=0)
        self.running: dict[str, Running] = {}
        self.channels = {name: open_channel(self.settings, self.settings.socket(name)) for name in NAMES}
        self.channel = balanced(list(self.channels.values()))
        self.stub = storage_pb2_grpc.StorageServiceStub(self.channel)

    async def start(self, name: str) -> None:
        server = create_server(self.settings)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(Named(name), server)
        self.running[name] = await serve(server, self.settings.socket(name), [], self.settings)

    async def stop(self, name: str) -> None:
        await self.running.pop(name).server.stop(None)
        channel = self.channels[name]
        while channel.get_state() is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)

    async def ask(self, timeout: float = 60.0) -> str:
        request = storage_pb2.GetUploadRequest(account_id="public", id="x")
        answer = await self.stub.GetUpload(request, timeout=timeout, wait_for_ready=True)
        return answer.upload.id

    async def until_heard(self, *names: str) -> None:
        """Ask until exactly these answer, in turns."""
        async with asyncio.timeout(60):
            while {await self.ask() for _ in range(2 * len(NAMES))} != set(names):
                # Asking dials those that are away.
                continue


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    found = Replicas(tmp_path)
    yield found
    await found.channel.close()
    for name in list(found.running):
        await found.stop(name)


async def test_calls_take_turns(replicas):
    for name in NAMES:
        await replicas.start(name)
    await replicas.until_heard(*NAMES)
    heard = [await replicas.ask() for _ in range(9)]
    assert {name: heard.count(name) for name in NAMES} == dict.fromkeys(NAMES, 3)
    chunks = [
        message.chunk.decode()
        for _ in range(3)
        async for message in replicas.stub.ReadBlob(storage_pb2.ReadBlobRequest(digest="a" * 64))
    ]
    assert sorted(chunks) == sorted(NAMES)


async def test_no_call_goes_to_a_replica_that_is_away(replicas):
    for name in NAMES:
        await replicas.start(name)
    await replicas.until_heard(*NAMES)
    await replicas.stop("two")
    await replicas.until_heard("one", "three")
    await replicas.stop("one")
    await replicas.until_heard("three")
    await replicas.start("two")
    await replicas.until_heard("two", "three")


async def test_a_call_waits_for_whoever_comes_first(replicas):
    asking = asyncio.create_task(replicas.ask())
    await asyncio.sleep(0)
    await replicas.start("three")
    assert await asking == "three"


async def test_a_call_for_which_nobody_comes_is_refused_in_its_time(replicas):
    with pytest.raises(Unavailable):
        await replicas.ask(timeout=0.2)
    assert replicas.channel.get_state() is not grpc.ChannelConnectivity.READY


async def test_a_single_replica_is_a_plain_channel(tmp_path):
    channel = open_channel(Settings(data_dir=tmp_path), "unix:/nowhere.sock")
    assert balanced([channel]) is channel
    await channel.close()
