"""The storage process itself: its memory, and what it makes of kills and restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.blobs import BlobClient, Written
from maquette.runtime.errors import Unavailable
from maquette.runtime.rpc.byte_client import ByteClient
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.postgres import LocalPostgres
from tests.support.folders import open_folder

from .conftest import collect, pieces
from .test_blobs import until

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
READ_BLOB = "/maquette.api.storage.v1.StorageService/ReadBlob"


@dataclass
class Mesh:
    """A PostgreSQL and a storage process of their own."""

    settings: Settings
    postgres: LocalPostgres
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self) -> subprocess.Popen:
        environment = {
            "PATH": os.environ["PATH"],
            "MAQUETTE_DATA_DIR": str(self.settings.data_dir),
            "MAQUETTE_STORAGE__DATABASE_WAIT_SECONDS": "4",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "services.storage.main"],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    @property
    def incoming(self) -> Path:
        return self.settings.data_dir / "blobs" / "incoming"

    def spools(self) -> list[Path]:
        return list(self.incoming.iterdir()) if self.incoming.exists() else []


@pytest.fixture(scope="module")
def folder() -> Iterator[Mesh]:
    with open_folder("storage") as data_dir:
        settings = Settings(data_dir=data_dir)
        server = LocalPostgres(settings, options={"fsync": "off"})
        server.start()
        try:
            server.wait_ready()
            yield Mesh(settings, server)
        finally:
            server.stop()


@pytest.fixture
def mesh(folder: Mesh) -> Iterator[Mesh]:
    yield folder
    for process in folder.processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    folder.processes.clear()


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[BlobClient]:
    mesh.start()
    async with AsyncExitStack() as stack:
        channel = open_channel(mesh.settings, mesh.settings.address("storage"), privileged=True)
        stack.push_async_callback(channel.close)
        async with asyncio.timeout(60):
            await channel.channel_ready()
        yield BlobClient(channel)


async def endless(chunk: bytes = bytes(MIB)) -> AsyncIterator[bytes]:
    while True:
        yield chunk


async def written_again(client: BlobClient, data: bytes) -> Written:
    """Write as soon as that is possible again."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await client.write(pieces(data))
        except Unavailable:
            assert time.monotonic() < deadline, "writes never came back"


async def test_200_mb_pass_through_flat_memory(mesh: Mesh, client: BlobClient) -> None:
    await client.write(pieces(b"warm"))
    process = psutil.Process(mesh.processes[-1].pid)
    before = peak = process.memory_info().rss

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.01)

    async def some() -> AsyncIterator[bytes]:
        chunk = os.urandom(MIB)
        for number in range(200):
            yield number.to_bytes(8, "big") + chunk[8:]

    watching = asyncio.create_task(watch())
    written = await client.write(some())
    assert written.size == 200 * MIB
    received = 0
    async for chunk in client.read(written.digest):
        received += len(chunk)
    assert received == written.size
    raw = ByteClient(mesh.settings, mesh.settings.bytes_address(), privileged=True)
    async with raw.call(READ_BLOB, timeout=60) as call:
        await call.send(pb.ReadBlobRequest(digest=written.digest))
        while chunks := await call.receive_bytes():
            received -= sum(map(len, chunks))
    assert received == 0
    watching.cancel()
    assert peak - before <= 48 * MIB, f"grew by {(peak - before) / MIB:.0f} MiB"


async def test_a_kill_in_the_middle_of_a_read_is_no_end_of_it(mesh: Mesh, client: BlobClient) -> None:
    written = await client.write(pieces(bytes(40 * MIB), MIB))
    raw = ByteClient(mesh.settings, mesh.settings.bytes_address(), privileged=True)
    async with raw.call(READ_BLOB, timeout=60) as call:
        await call.send(pb.ReadBlobRequest(digest=written.digest))
        # What is not taken cannot all have been sent.
        assert await call.receive_bytes()
        mesh.processes[-1].kill()
        mesh.processes[-1].wait()
        with pytest.raises(Unavailable):
            while await call.receive_bytes():
                continue


async def test_a_kill_leaves_no_temporary_file_after_the_next_start(mesh: Mesh, client: BlobClient) -> None:
    writing = asyncio.create_task(client.write(endless()))
    await until(lambda: bool(mesh.spools()))
    mesh.processes[-1].kill()
    mesh.processes[-1].wait()
    with pytest.raises(Unavailable):
        await writing
    assert mesh.spools()
    mesh.start()
    await until(lambda: not mesh.spools())


async def test_reads_go_on_without_the_database_and_writes_come_back_with_it(
    mesh: Mesh, client: BlobClient
) -> None:
    written = await client.write(pieces(b"before"))
    mesh.postgres.kill()
    try:
        assert await collect(client.read(written.digest)) == b"before"
        with pytest.raises(Unavailable):
            await client.write(pieces(b"meanwhile"))
        await until(lambda: not mesh.spools())
        assert await collect(client.read(written.digest)) == b"before"
    finally:
        mesh.postgres.start()
        mesh.postgres.wait_ready()
    await written_again(client, b"after")


async def test_storage_started_before_its_database_serves_once_that_is_there(mesh: Mesh) -> None:
    mesh.postgres.stop()
    try:
        mesh.start()
        async with open_channel(mesh.settings, mesh.settings.address("storage"), privileged=True) as channel:
            async with asyncio.timeout(60):
                await channel.channel_ready()
            client = BlobClient(channel)
            with pytest.raises(Unavailable):
                await client.write(pieces(b"too early"))
            mesh.postgres.start()
            mesh.postgres.wait_ready()
            written = await written_again(client, b"in time")
            assert await collect(client.read(written.digest)) == b"in time"
    finally:
        if not mesh.postgres.is_ready():
            mesh.postgres.start()
            mesh.postgres.wait_ready()


async def test_a_stream_under_way_ends_well_when_storage_drains(mesh: Mesh, client: BlobClient) -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        await go_on.wait()
        yield b"the end"

    writing = asyncio.create_task(client.write(slow()))
    await until(lambda: bool(mesh.spools()))
    process = mesh.processes[-1]
    process.send_signal(signal.SIGTERM)
    with pytest.raises(Unavailable):
        while True:  # until the drain has begun
            await client.write(pieces(b"new calls are refused"))
    go_on.set()
    assert (await writing).size == 2 * MIB + 7
    assert await asyncio.to_thread(process.wait, 60) == 0
