"""Storage on a real PostgreSQL and a real folder, served in this process; clock and `jobs` are held."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncpg
import grpc
import pytest

from maquette.api.storage.v1 import storage_pb2_grpc
from maquette.runtime.blobs import BlobClient
from maquette.runtime.clock import RandomIds, SystemClock
from maquette.runtime.errors import Unavailable
from maquette.runtime.rpc.byte_server import ByteServer
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings
from services.storage.access import Doors
from services.storage.backends.local import LocalBackend
from services.storage.blobs import Blobs, Uploads
from services.storage.database import Database
from services.storage.limits import Room
from services.storage.main import SERVICE, byte_streams
from services.storage.rows import Rows
from services.storage.servicer import Parts, StorageServicer
from services.storage.signing import UrlSigner
from services.storage.sweep import Remover, Sweeper
from tests.support.folders import open_folder
from tests.support.postgres import Database as TestDatabase


class HeldClock(SystemClock):
    """Wall-clock time that tests move; monotonic time is the machine's."""

    def __init__(self) -> None:
        self._moment = super().now()

    def now(self):
        return self._moment

    def advance(self, **span: float) -> None:
        self._moment += timedelta(**span)


@dataclass
class HeldReferences:
    """What `jobs` would answer."""

    digests: set[str] = field(default_factory=set)
    away: bool = False
    asked: list[list[str]] = field(default_factory=list)

    async def referenced(self, digests: Sequence[str]) -> frozenset[str]:
        if self.away:
            raise Unavailable("jobs is away")
        self.asked.append(list(digests))
        return frozenset(self.digests.intersection(digests))


@dataclass
class Storage:
    """A running storage and what tests hold of it."""

    settings: Settings
    clock: HeldClock
    references: HeldReferences
    backend: LocalBackend
    database: Database
    rows: Rows
    remover: Remover
    sweeper: Sweeper
    root: Path
    stack: AsyncExitStack

    def channel(self, **options: object) -> grpc.aio.Channel:
        channel = open_channel(self.settings, self.settings.address("storage"), **options)
        self.stack.push_async_callback(channel.close)
        return channel

    @property
    def stub(self) -> storage_pb2_grpc.StorageServiceStub:
        return storage_pb2_grpc.StorageServiceStub(self.channel(privileged=True))

    @property
    def client(self) -> BlobClient:
        return BlobClient(self.channel(privileged=True))

    def granted(self, token: str) -> BlobClient:
        return BlobClient(self.channel(), grant=token)

    def files(self) -> list[Path]:
        """Every file below the back end's folder, temporary ones included."""
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def spools(self) -> list[Path]:
        return list((self.root / "incoming").iterdir())

    async def sql(self, query: str, *values: object) -> object:
        return await self.rows._fetchval(query, *values)

    async def put(self, data: bytes, **options: object) -> str:
        written = await self.client.write(pieces(data), **options)
        assert written == (hashlib.sha256(data).hexdigest(), len(data))
        return written.digest


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collect(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with open_folder("storage") as folder:
        yield folder


@pytest.fixture
def storage_options() -> dict[str, object]:
    """Override to change StorageSettings."""
    return {}


async def empty_database(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('assets.blob')"):
            tables = "assets.blob, assets.upload, assets.grant_write, assets.publication"
            await connection.execute(f"TRUNCATE {tables}")
    finally:
        await connection.close()


@pytest.fixture
async def storage(
    postgres: TestDatabase, data_dir: Path, storage_options: dict[str, object]
) -> AsyncIterator[Storage]:
    settings = Settings(
        data_dir=data_dir,
        database=postgres.settings,
        storage={"database_wait_seconds": 1, "min_free_bytes": 0, **storage_options},
        drain_seconds=1,
    )
    options = settings.storage
    await empty_database(postgres.storage_dsn)
    clock, references = HeldClock(), HeldReferences()
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(8))
        backend = LocalBackend(data_dir / "blobs", executor)
        database = Database(
            lambda: settings.dsn("storage"), clock, wait=options.database_wait_seconds, size=8
        )
        stack.push_async_callback(database.close)
        rows = Rows(database)
        room = Room(options.max_blob_bytes, options.min_free_bytes, options.quota_bytes)
        blobs = Blobs(backend, rows, room, clock)
        remover = Remover(backend, rows, references, clock, timedelta(seconds=options.grace_seconds))
        lifetime = timedelta(seconds=options.upload_lifetime_seconds)
        parts = Parts(
            blobs=blobs,
            uploads=Uploads(blobs, rows, room, clock, RandomIds(), lifetime),
            remover=remover,
            signer=UrlSigner([load_secret(settings, "urls")]),
            doors=Doors(load_secret(settings, "privileged"), load_secret(settings, "grants")),
            clock=clock,
            url_lifetime=timedelta(seconds=options.url_lifetime_seconds),
            stream_idle=options.stream_idle_seconds,
        )
        server = create_server(settings)
        servicer = StorageServicer(parts)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(servicer, server)
        byte_server = ByteServer(settings, byte_streams(servicer), executor)
        await byte_server.start(settings.bytes_address())
        stack.push_async_callback(byte_server.drain)
        running = await serve(server, settings.address("storage"), [SERVICE], settings)
        stack.push_async_callback(running.drain)
        yield Storage(
            settings,
            clock,
            references,
            backend,
            database,
            rows,
            remover,
            Sweeper(backend, rows, remover, clock),
            data_dir / "blobs",
            stack,
        )
