"""The storage service: composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta

from maquette.api.capability.v1 import capability_pb2_grpc
from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.capability.announce import announced
from maquette.runtime.memory import tune_for_streams
from maquette.runtime.rpc.balanced import balanced
from maquette.runtime.rpc.byte_server import ByteServer, ClientStream, Method, ServerStream
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.secrets import load_secret
from maquette.runtime.service import ServiceContext, run_service
from maquette.runtime.settings import Settings
from services.storage.access import Doors
from services.storage.backends.base import Backend
from services.storage.backends.local import LocalBackend
from services.storage.blobs import Blobs, Uploads
from services.storage.database import Database
from services.storage.limits import Room
from services.storage.publications import Bucket, Publications
from services.storage.publisher import SERVICE as PUBLISHER
from services.storage.publisher import PublisherNode, PublisherServicer
from services.storage.references import JobsReferences
from services.storage.rows import Rows
from services.storage.servicer import Parts, StorageServicer
from services.storage.signing import UrlSigner
from services.storage.sweep import Remover, Sweeper, SweepResult, sweep_periodically

SERVICE = storage_pb2.DESCRIPTOR.services_by_name["StorageService"].full_name


def open_backend(settings: Settings, executor: Executor) -> tuple[Backend, Bucket | None]:
    """Open the back end that the settings name, and what of it people may be sent to."""
    storage = settings.storage
    if storage.backend == "local":
        return LocalBackend(storage.local_dir or settings.data_dir / "blobs", executor), None
    # Loaded when used: boto3 costs 40 MB and half a second.
    from services.storage.backends.s3 import S3Backend, S3Config
    from services.storage.backends.s3_public import S3Bucket

    config = S3Config(
        bucket=storage.s3_bucket,
        prefix=storage.s3_prefix,
        endpoint=storage.s3_endpoint,
        region=storage.s3_region,
        access_key_id=storage.s3_access_key_id,
        secret_access_key=storage.s3_secret_access_key.get_secret_value(),
        part_bytes=storage.s3_part_mib << 20,
        connections=storage.io_threads,
    )
    backend = S3Backend(config, settings.tmp_dir / "storage", executor)
    return backend, S3Bucket(backend, config, storage.s3_public_endpoint, executor)


def url_keys(settings: Settings) -> list[bytes]:
    """Return the key that signs links, and the one before it (`urls.previous`) while it is kept."""
    previous = settings.secrets_dir / "urls.previous"
    return [load_secret(settings, "urls"), *([previous.read_bytes()] if previous.is_file() else [])]


def byte_streams(servicer: StorageServicer) -> dict[str, Method]:
    """Return the methods whose bytes also go raw."""
    return {
        f"/{SERVICE}/CreateUpload": ClientStream(storage_pb2.CreateUploadRequest, servicer.CreateUpload),
        f"/{SERVICE}/ReadBlob": ServerStream(storage_pb2.ReadBlobRequest, servicer.open_blob),
    }


@contextlib.asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Build storage and serve until the context is left.

    Reads are served at once; what needs the database waits for it for a while.
    """
    settings, clock, storage = context.settings, context.clock, context.settings.storage
    async with contextlib.AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(storage.io_threads, "blob-io"))
        backend, bucket = open_backend(settings, executor)
        stack.push_async_callback(backend.close)
        database = Database(
            lambda: settings.dsn("storage"),
            clock,
            wait=storage.database_wait_seconds,
            size=storage.pool_size,
        )
        stack.push_async_callback(database.close)
        channel = balanced(
            [open_channel(settings, target, privileged=True) for target in settings.jobs_addresses()]
        )
        stack.push_async_callback(channel.close)

        rows = Rows(database)
        room = Room(storage.max_blob_bytes, storage.min_free_bytes, storage.quota_bytes)
        blobs = Blobs(backend, rows, room, clock)
        lifetime = timedelta(seconds=storage.upload_lifetime_seconds)
        grace = timedelta(seconds=storage.grace_seconds)
        remover = Remover(backend, rows, JobsReferences(channel), clock, grace)
        signer = UrlSigner(url_keys(settings))
        url_lifetime = timedelta(seconds=storage.url_lifetime_seconds)
        publications = Publications(database, backend, signer, bucket, clock, url_lifetime)
        parts = Parts(
            blobs=blobs,
            uploads=Uploads(blobs, rows, room, clock, context.ids, lifetime),
            remover=remover,
            signer=signer,
            doors=Doors(load_secret(settings, "privileged"), load_secret(settings, "grants")),
            clock=clock,
            url_lifetime=url_lifetime,
            stream_idle=storage.stream_idle_seconds,
        )
        server = create_server(settings)
        servicer = StorageServicer(parts)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(servicer, server)
        byte_server = ByteServer(settings, byte_streams(servicer), executor)
        await byte_server.start(settings.bytes_address())
        stack.push_async_callback(byte_server.drain)
        node = PublisherNode(context.ids.uuid(), settings.address("storage"))
        publisher = PublisherServicer(node, publications, load_secret(settings, "grants"), clock)
        capability_pb2_grpc.add_CapabilityServiceServicer_to_server(publisher, server)
        running = await serve(server, settings.address("storage"), [SERVICE, PUBLISHER], settings)
        stack.push_async_callback(running.drain)
        await stack.enter_async_context(announced(node, settings))
        stack.callback(node.drain)

        sweeper = Sweeper(backend, rows, remover, clock)
        sweeping = asyncio.create_task(_sweep(context, backend, database, sweeper, publications))
        stack.push_async_callback(_cancel, sweeping)
        sweeping.add_done_callback(lambda _: context.stopping.set())
        yield


async def _sweep(
    context: ServiceContext,
    backend: Backend,
    database: Database,
    sweeper: Sweeper,
    publications: Publications,
) -> None:
    async def run_once() -> SweepResult:
        swept = await sweeper.run_once()
        await publications.sweep()
        return swept

    stale = await backend.clean()
    if stale:
        context.log.info("removed temporary files of a dead process", files=stale)
    await database.ready(context.stopping)
    await sweep_periodically(run_once, context.settings.storage.sweep_seconds, context.stopping)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run the service."""
    tune_for_streams()
    run_service("storage", build)


if __name__ == "__main__":
    main()
