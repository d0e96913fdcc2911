"""In-memory `jobs` and `storage` that keep their contracts, for tests that need only the gateway.

They run on a thread with a loop of its own; tests drive a job with `begin`, `progress`, `succeed`. Each
of these returns once the gateways that follow the feed have heard of it, so that a read sees it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
import uuid
from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf import struct_pb2, timestamp_pb2

from maquette.api.capability.v1 import capability_pb2
from maquette.api.dialects.core.v1 import core_pb2, core_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    MaquetteError,
    NotFound,
    PermissionDenied,
    Unavailable,
    error_for,
)
from maquette.runtime.rpc.byte_server import ByteServer, ClientStream, Incoming, ServerStream
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.rpc.status import to_status
from maquette.runtime.settings import Settings

TERMINAL = (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED)


def now() -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(datetime.now(UTC))
    return stamp


class Reading(io.BytesIO):
    """A blob that is being read; ``among`` those as long as it is open. It may break in the middle."""

    def __init__(self, data: bytes, among: set[Reading], most: int | None) -> None:
        super().__init__(data)
        self._among = among
        self._most = most
        among.add(self)

    def read(self, size: int | None = -1) -> bytes:
        if self._most is not None and self.tell() >= self._most:
            raise Internal("the disk failed")
        return super().read(size)

    def close(self) -> None:
        self._among.discard(self)
        super().close()


class MemoryStorage(storage_pb2_grpc.StorageServiceServicer):
    """Blobs and uploads in dicts."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, storage_pb2.Upload] = {}
        self.full = False
        self.away = False
        """Blobs are not released, as if storage did not answer."""
        self.held: set[str] = set()
        self.receiving = 0
        self.begun = 0
        """Uploads that began to arrive, however they ended."""
        self.keep_bytes = True
        self.reading: set[Reading] = set()
        self.breaks_after: int | None = None
        """Bytes after which the reading of any blob fails."""

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    async def CreateUpload(self, requests, context):
        self.receiving += 1
        self.begun += 1
        try:
            return await self._receive(requests)
        finally:
            self.receiving -= 1

    async def _receive(self, requests):
        header, commit, sha, size, kept = None, None, hashlib.sha256(), 0, []
        async for request in requests:
            part = request.WhichOneof("part")
            if part == "header":
                header = request.header
            elif part == "chunk":
                chunk = await asyncio.to_thread(_received, request.chunk)
                sha.update(chunk)
                size += len(chunk)
                if self.keep_bytes:
                    kept.append(chunk)
                if self.full:
                    raise error_for("STORAGE_FULL", "the disk has less than its floor of free space")
            else:
                commit = request.commit
                break
        if commit is None or header is None:
            raise InvalidArgument("the stream ended without commit")
        digest = sha.hexdigest()
        self.blobs[digest] = b"".join(kept)
        upload_id = uuid.uuid4().hex
        expire = timestamp_pb2.Timestamp()
        expire.FromDatetime(datetime.now(UTC) + timedelta(hours=24))
        folder = "images" if header.kind == storage_pb2.UPLOAD_KIND_IMAGE else "meshes"
        upload = storage_pb2.Upload(
            id=upload_id,
            account_id=header.account_id,
            kind=header.kind,
            filename=header.filename.rpartition("/")[2],
            media_type=commit.media_type,
            digest=digest,
            size=size,
            create_time=now(),
            expire_time=expire,
            path=f"/uploads/{folder}/{upload_id}.{commit.format}",
        )
        self.uploads[upload_id] = upload
        return storage_pb2.CreateUploadResponse(upload=upload)

    async def GetUpload(self, request, context):
        for upload in self.uploads.values():
            if request.id == upload.id or (request.path and request.path == upload.path):
                return storage_pb2.GetUploadResponse(upload=upload)
        raise NotFound("no such upload")

    async def DeleteUpload(self, request, context):
        upload = self.uploads.pop(request.id, None)
        if upload is None or upload.account_id != request.account_id:
            raise NotFound("no such upload")
        if all(other.digest != upload.digest for other in self.uploads.values()):
            del self.blobs[upload.digest]
        return storage_pb2.DeleteUploadResponse()

    async def open_blob(self, request, context):
        if request.digest not in self.blobs:
            raise NotFound("no such blob")
        end = request.offset + request.length if request.length else None
        data = self.blobs[request.digest][request.offset : end]
        return Reading(data, self.reading, self.breaks_after)

    async def HoldBlob(self, request, context):
        if request.digest not in self.blobs:
            raise NotFound("no such blob")
        self.held.add(request.digest)
        return storage_pb2.HoldBlobResponse()

    async def ReleaseBlobs(self, request, context):
        if self.away:
            raise Unavailable("storage is away")
        gone = [d for d in request.digests if d in self.blobs and d not in self.held]
        freed = sum(len(self.blobs.pop(d)) for d in gone)
        return storage_pb2.ReleaseBlobsResponse(freed_bytes=freed, removed=gone)

    async def VerifyBlobUrl(self, request, context):
        digest = request.token.removeprefix("good-")
        if digest not in self.blobs:
            raise PermissionDenied("the link is forged or has expired", reason="BAD_SIGNATURE")
        return storage_pb2.VerifyBlobUrlResponse(
            digest=digest, size=len(self.blobs[digest]), media_type="model/gltf-binary"
        )


def _received(chunk: Incoming) -> bytes:
    """Receive a chunk (blocking)."""
    return bytes(chunk.read_into(memoryview(bytearray(len(chunk)))))


def _tasks(specs) -> list[jobs_pb2.JobTask]:
    """Return what is told of the tasks of a job of several."""
    if len(specs) < 2:
        return []
    return [
        jobs_pb2.JobTask(
            name=spec.name,
            feature=spec.feature,
            phase=spec.phase,
            item=spec.item,
            state=jobs_pb2.STATE_QUEUED,
        )
        for spec in specs
    ]


class MemoryLedger(
    jobs_pb2_grpc.JobServiceServicer,
    jobs_pb2_grpc.ArtifactServiceServicer,
    jobs_pb2_grpc.FeedServiceServicer,
    jobs_pb2_grpc.NodeServiceServicer,
):
    """Jobs in a dict, events to every feed."""

    def __init__(self) -> None:
        self.jobs: dict[str, jobs_pb2.Job] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.requests: dict[str, jobs_pb2.CreateJobRequest] = {}
        self.feeds: set[asyncio.Queue[jobs_pb2.WatchFeedResponse]] = set()
        self.queue_full = False
        self.resolved = lambda artifact: None
        """Called before a path's artifact is told."""
        self.reads = 0
        engine = capability_pb2.Engine(
            id="shape_from_silhouette",
            kind=capability_pb2.ENGINE_KIND_EMBEDDED,
            features=["image_to_raw_mesh", "image_to_textured_mesh"],
            input_formats=["png", "jpg", "webp", "bmp", "tiff"],
            output_formats=["glb", "obj", "ply", "stl"],
            state=capability_pb2.ENGINE_STATE_LOADED,
            rank=1,
        )
        self.nodes = [
            jobs_pb2.Node(id="node", capability="meshgen", slots=2, engines=[engine], start_time=now())
        ]

    def change(self, job_id: str, kind: int, **fields) -> jobs_pb2.Job:
        job = jobs_pb2.Job()
        job.CopyFrom(self.jobs[job_id])
        for name, value in fields.items():
            if hasattr(value, "DESCRIPTOR"):
                getattr(job, name).CopyFrom(value)
            else:
                setattr(job, name, value)
        job.seq += 1
        self.jobs[job_id] = job
        event = jobs_pb2.JobEvent(seq=job.seq, type=kind, time=now(), job=job)
        for feed in self.feeds:
            feed.put_nowait(jobs_pb2.WatchFeedResponse(event=event))
        return job

    async def CreateJob(self, request, context):
        if self.queue_full:
            raise error_for("QUEUE_FULL", "1000 jobs are waiting already")
        if request.idempotency_key in self.keys:
            job_id, digest = self.keys[request.idempotency_key]
            if digest != request.request_digest:
                raise AlreadyExists("the key was used for another request")
            return jobs_pb2.CreateJobResponse(job=self.jobs[job_id], created=False)
        job_id = str(uuid.uuid4())
        self.requests[job_id] = request
        self.jobs[job_id] = jobs_pb2.Job(
            id=job_id,
            account_id=request.account_id,
            dialect=request.dialect,
            public_id=request.public_id or job_id,
            feature=request.feature,
            priority=request.priority,
            state=jobs_pb2.STATE_QUEUED,
            create_time=now(),
            request=request.request,
            requested_model=request.tasks[0].model_preference,
            tasks=_tasks(request.tasks),
        )
        if request.idempotency_key:
            self.keys[request.idempotency_key] = (job_id, request.request_digest)
        job = self.change(job_id, jobs_pb2.EVENT_TYPE_QUEUED)
        return jobs_pb2.CreateJobResponse(job=job, created=True)

    async def CreateJobs(self, request, context):
        outcomes = []
        for entry in request.entries:
            try:
                outcome = {"response": await self.CreateJob(entry.job, context)}
            except MaquetteError as error:
                outcome = {"error": to_status(error)}
            outcomes.append(jobs_pb2.CreateJobsResponse.Outcome(**outcome))
        return jobs_pb2.CreateJobsResponse(outcomes=outcomes)

    def _find(self, key) -> jobs_pb2.Job:
        wanted = key.id or key.public.id
        for job in self.jobs.values():
            if wanted in (job.id, job.public_id) and job.account_id == key.account_id:
                return job
        raise NotFound("no such job")

    async def GetJob(self, request, context):
        self.reads += 1
        return jobs_pb2.GetJobResponse(job=self._find(request.key))

    async def ListJobs(self, request, context):
        found = [
            job
            for job in reversed(self.jobs.values())
            if (not request.states or job.state in request.states)
            and (not request.feature or job.feature == request.feature)
            and (
                not request.HasField("created_after")
                or job.create_time.ToNanoseconds() >= request.created_after.ToNanoseconds()
            )
            and (
                not request.HasField("created_before")
                or job.create_time.ToNanoseconds() <= request.created_before.ToNanoseconds()
            )
        ]
        page = found[request.offset : request.offset + request.page_size]
        return jobs_pb2.ListJobsResponse(jobs=page, total=len(found))

    async def CancelJob(self, request, context):
        job = self._find(request.key)
        if job.state not in TERMINAL:
            job = self.change(
                job.id,
                jobs_pb2.EVENT_TYPE_CANCELLED,
                state=jobs_pb2.STATE_CANCELLED,
                end_time=now(),
                error=jobs_pb2.JobError(reason="CANCELLED", message="cancelled"),
            )
        return jobs_pb2.CancelJobResponse(job=job)

    async def GetQueueStats(self, request, context):
        def count(state: int) -> int:
            return sum(job.state == state for job in self.jobs.values())

        return jobs_pb2.GetQueueStatsResponse(
            queued=count(jobs_pb2.STATE_QUEUED),
            running=count(jobs_pb2.STATE_RUNNING),
            succeeded=count(jobs_pb2.STATE_SUCCEEDED),
        )

    async def DeleteResult(self, request, context):
        job = self._find(request.key)
        artifacts = list(job.result.artifacts)
        if artifacts:
            result = jobs_pb2.JobResult()
            result.CopyFrom(job.result)
            del result.artifacts[:]
            self.change(job.id, jobs_pb2.EVENT_TYPE_DELETED, result=result, result_deleted=True)
        return jobs_pb2.DeleteResultResponse(artifacts=artifacts)

    async def ResolvePath(self, request, context):
        for job in self.jobs.values():
            for artifact in job.result.artifacts:
                if artifact.path == request.path:
                    self.resolved(artifact)
                    return jobs_pb2.ResolvePathResponse(artifact=artifact)
        raise NotFound("no such path")

    async def WatchFeed(self, request, context):
        queue: asyncio.Queue[jobs_pb2.WatchFeedResponse] = asyncio.Queue()
        self.feeds.add(queue)
        try:
            for job in list(self.jobs.values()):
                if job.state not in TERMINAL:
                    event = jobs_pb2.JobEvent(seq=job.seq, type=jobs_pb2.EVENT_TYPE_SNAPSHOT, job=job)
                    yield jobs_pb2.WatchFeedResponse(event=event)
            yield jobs_pb2.WatchFeedResponse(synced=jobs_pb2.WatchFeedResponse.Synced())
            while True:
                yield await queue.get()
        finally:
            self.feeds.discard(queue)

    async def ListNodes(self, request, context):
        return jobs_pb2.ListNodesResponse(nodes=self.nodes)


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
