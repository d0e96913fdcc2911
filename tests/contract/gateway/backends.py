"""In-memory `jobs` and `storage` that keep their contracts, for tests that need only the gateway.

They run on a thread with a loop of its own; tests drive a job with `begin`, `progress`, `succeed`. Each
of these returns once the gateways that follow the feed have heard of it, so that a read sees it.
"""

from __future__ import annotations

import asyncio
import threading

import grpc
from google.protobuf import struct_pb2

from maquette.api.dialects.core.v1 import core_pb2, core_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.rpc.byte_server import ByteServer, ClientStream, ServerStream
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.settings import Settings
from tests.contract.gateway.memory_ledger import TERMINAL, MemoryLedger
from tests.contract.gateway.memory_storage import MemoryStorage
from tests.contract.gateway.moments import now


class Backends:
    """Both services on a thread of their own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.ledger = MemoryLedger()
        self.storage = MemoryStorage()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._running: dict[str, object] = {}

    def start(self) -> None:
        self._thread.start()
        self.run(self._start())

    def stop(self) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(90)

    def do(self, function, *args, **kwargs):
        async def call():
            return function(*args, **kwargs)

        return self.run(call())

    async def _start(self) -> None:
        self._channel = open_channel(self._settings, self._settings.address("gateway"))
        self._events = core_pb2_grpc.EventServiceStub(self._channel)
        await self.start_jobs()
        server = create_server(self._settings)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(self.storage, server)
        self._running["storage"] = await serve(server, self._settings.address("storage"), [], self._settings)
        await self.start_bytes()

    async def start_bytes(self) -> None:
        service = "/maquette.api.storage.v1.StorageService"
        streams = {
            f"{service}/CreateUpload": ClientStream(
                storage_pb2.CreateUploadRequest, self.storage.CreateUpload
            ),
            f"{service}/ReadBlob": ServerStream(storage_pb2.ReadBlobRequest, self.storage.open_blob),
        }
        self._bytes = ByteServer(self._settings, streams)
        await self._bytes.start(self._settings.bytes_address())

    async def stop_bytes(self) -> None:
        await self._bytes.drain()

    async def start_jobs(self) -> None:
        server = create_server(self._settings)
        for add in (
            jobs_pb2_grpc.add_JobServiceServicer_to_server,
            jobs_pb2_grpc.add_ArtifactServiceServicer_to_server,
            jobs_pb2_grpc.add_FeedServiceServicer_to_server,
            jobs_pb2_grpc.add_NodeServiceServicer_to_server,
        ):
            add(self.ledger, server)
        self._running["jobs"] = await serve(server, self._settings.address("jobs"), [], self._settings)

    async def stop_jobs(self) -> None:
        await self._running.pop("jobs").server.stop(0)
        self.ledger.feeds.clear()

    async def _stop(self) -> None:
        await self._channel.close()
        await self._bytes.drain()
        for running in self._running.values():
            await running.server.stop(0)

    # What a dispatcher would do.

    def change(self, job_id: str, kind: int, **fields) -> None:
        """Change a job, and wait until the gateways know."""
        job = self.do(self.ledger.change, job_id, kind, **fields)
        self.run(self._heard(job))

    async def _heard(self, job: jobs_pb2.Job) -> None:
        """Wait until the gateway has heard of this state of a job; not at all if none follows the feed.

        A gateway answers reads from what it heard last, which may be older than what a test just did.
        """
        ask = core_pb2.StreamEventsRequest(job_id=job.public_id)
        after = (("last-event-id", str(job.seq - 1)),)
        async with asyncio.timeout(60):
            while self.ledger.feeds:
                stream = self._events.StreamEvents(ask, metadata=after, wait_for_ready=True)
                try:
                    # What only tells that the stream lives is no event.
                    async for body in stream:
                        if body.data.startswith(b"id: "):
                            return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
                finally:
                    stream.cancel()

    def begin(self, job_id: str) -> None:
        self.change(
            job_id, jobs_pb2.EVENT_TYPE_STARTED, state=jobs_pb2.STATE_RUNNING, start_time=now(), attempt=1
        )

    def progress(self, job_id: str, fraction: float, stage: str, eta: float = 2.5) -> None:
        progress = jobs_pb2.JobProgress(fraction=fraction, stage=stage, message=f"{stage} …")
        progress.eta.FromNanoseconds(int(eta * 1e9))
        self.change(job_id, jobs_pb2.EVENT_TYPE_PROGRESS, progress=progress)

    def step(self, job_id: str, name: str, **fields) -> None:
        """Change one task of a job of several."""

        def change() -> None:
            for task in self.ledger.jobs[job_id].tasks:
                if task.name == name:
                    task.MergeFrom(jobs_pb2.JobTask(**fields))

        self.do(change)
        self.change(job_id, jobs_pb2.EVENT_TYPE_PROGRESS)

    def fail(self, job_id: str, reason: str, message: str) -> None:
        self.change(
            job_id,
            jobs_pb2.EVENT_TYPE_FAILED,
            state=jobs_pb2.STATE_FAILED,
            end_time=now(),
            error=jobs_pb2.JobError(reason=reason, message=message),
        )

    def succeed(
        self,
        job_id: str,
        mesh: bytes = b"glTF mesh",
        thumbnail: bytes = b"\x89PNG preview",
        info: dict | None = None,
    ) -> None:
        artifacts = []
        for role, data, extension, media_type, folder in (
            ("mesh", mesh, "glb", "model/gltf-binary", "meshes"),
            ("thumbnail", thumbnail, "png", "image/png", "thumbnails"),
        ):
            name = f"{role}_{job_id}.{extension}"
            artifacts.append(
                jobs_pb2.Artifact(
                    role=role,
                    filename=name,
                    path=f"/outputs/{folder}/{name}",
                    digest=self.do(self.storage.put, data),
                    size=len(data),
                    media_type=media_type,
                    job_id=job_id,
                )
            )
        facts = struct_pb2.Struct()
        facts.update(info or {"vertex_count": 8211, "face_count": 16418})
        result = jobs_pb2.JobResult(model_used="shape_from_silhouette", info=facts, artifacts=artifacts)
        self.change(
            job_id,
            jobs_pb2.EVENT_TYPE_SUCCEEDED,
            state=jobs_pb2.STATE_SUCCEEDED,
            end_time=now(),
            result=result,
            progress=jobs_pb2.JobProgress(fraction=1.0, stage="done"),
        )


__all__ = ["TERMINAL", "Backends", "grpc"]
