"""D's gRPC servicers: proto in, a call inside, JSON out."""

# ruff: noqa: N802 — methods carry the names of their RPCs
from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from google.api import httpbody_pb2
from google.protobuf.message import Message

from maquette.api.capability.v1 import capability_pb2
from maquette.api.dialects.aigc.v1 import (
    files_pb2,
    files_pb2_grpc,
    generation_pb2,
    generation_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.clock import Clock
from maquette.runtime.errors import DeadlineExceeded, NotFound, Unavailable
from maquette.runtime.settings import GatewaySettings
from maquette.runtime.telemetry import get_logger
from services.gateway import auth
from services.gateway.backends import Backends, call
from services.gateway.capabilities import NodeDirectory
from services.gateway.dialects.aigc import formats, mapping, words
from services.gateway.dialects.aigc.answers import answer, written
from services.gateway.dialects.aigc.history import filters_view, history_query
from services.gateway.dialects.aigc.rigging import RigSubmitter
from services.gateway.dialects.aigc.submit import ImageSubmitter
from services.gateway.feed import Feed
from services.gateway.idempotency import idempotency_key
from services.gateway.job_maker import JobMaker
from services.gateway.json_writer import write_json
from services.gateway.mirror import Entry
from services.gateway.uploads import Uploads

_RELEASE_SECONDS = 5.0
_ENGINE_WORDS = {
    capability_pb2.ENGINE_STATE_LOADED: "loaded",
    capability_pb2.ENGINE_STATE_AVAILABLE: "available",
    capability_pb2.ENGINE_STATE_UNAVAILABLE: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the servicers work with."""

    backends: Backends
    feed: Feed
    nodes: NodeDirectory
    submitter: ImageSubmitter
    rigs: RigSubmitter
    uploads: Uploads
    jobs: JobMaker
    clock: Clock
    base_url: str
    limits: GatewaySettings
    started_at: float
    """Monotonic seconds."""


async def find_job(feed: Feed, job_id: str) -> Entry:
    """Return a job of this dialect and of the caller's account. Raises NotFound."""
    entry = await feed.find(auth.account(), job_id)
    if entry.job.dialect != words.NAME:
        raise NotFound(f"There is no job {job_id}.")
    return entry


class SystemServicer(system_pb2_grpc.SystemServiceServicer):
    """Status, history, results, scheduler."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def GetInfo(self, request: system_pb2.GetInfoRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Serve `GET /`."""
        return answer(
            system_pb2.Info(
                title=words.TITLE,
                version=words.VERSION,
                description=words.DESCRIPTION,
                docs_url="/docs",
                redoc_url="/redoc",
                openapi_url="/openapi.json",
                health_url="/health",
            )
        )

    async def GetHealth(self, request: system_pb2.GetHealthRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Serve D1."""
        parts = self._parts
        return answer(
            system_pb2.Health(
                status="healthy" if parts.feed.in_step else "degraded",
                timestamp=mapping.timestamp(parts.clock.now().timestamp()),
                uptime=round(parts.clock.monotonic() - parts.started_at, 3),
                version=words.VERSION,
            )
        )

    async def GetJob(self, request: system_pb2.GetJobRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Serve D5: written once for each state a job is in, sent to everybody who asks."""
        entry = await find_job(self._parts.feed, request.job_id)
        data = entry.written.get("aigc.job")
        if data is None:
            data = write_json(mapping.job_view(entry.job, self._parts.base_url))
            entry.written["aigc.job"] = data
        return written(data)

    async def ListJobHistory(
        self, request: system_pb2.ListJobHistoryRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D7."""
        query = history_query(request, auth.account())
        jobs = self._parts.backends.jobs
        page: jobs_pb2.ListJobsResponse = await call(jobs.jobs.ListJobs, query, jobs.channel, safe=True)
        pagination = system_pb2.Pagination(
            limit=query.page_size,
            offset=query.offset,
            total=page.total,
            has_more=query.offset + len(page.jobs) < page.total,
        )
        return answer(
            system_pb2.JobHistory(
                jobs=[mapping.summary_view(job) for job in page.jobs],
                pagination=pagination,
                filters=filters_view(request),
                timestamp=self._parts.clock.now().timestamp(),
            )
        )

    async def GetJobInfo(self, request: system_pb2.GetJobInfoRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Serve D9."""
        entry = await find_job(self._parts.feed, request.job_id)
        return answer(mapping.info_view(entry.job))

    async def DeleteJobResult(
        self, request: system_pb2.DeleteJobResultRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D10: the ledger forgets the files, storage frees what nothing else refers to."""
        entry = await find_job(self._parts.feed, request.job_id)
        backends = self._parts.backends
        key = jobs_pb2.JobKey(account_id=auth.account(), id=entry.job.id)
        forget = jobs_pb2.DeleteResultRequest(key=key)
        forgotten: jobs_pb2.DeleteResultResponse = await call(
            backends.jobs.artifacts.DeleteResult, forget, backends.jobs.channel
        )
        await self._parts.feed.renew(entry.job)
        view = system_pb2.DeletedResult(job_id=request.job_id, message="No result file to delete")
        if forgotten.artifacts:
            freed_bytes = await self._release(forgotten.artifacts)
            mesh = next((a for a in forgotten.artifacts if a.role == "mesh"), forgotten.artifacts[0])
            view.message = "Result file deleted successfully"
            view.deleted = True
            view.freed_space_mb = mapping.mib(freed_bytes)
            view.deleted_file = mapping.public_name(mesh)
        return answer(view)

    async def _release(self, forgotten: Iterable[jobs_pb2.Artifact]) -> int:
        """Free what nothing refers to any more; return the bytes that went."""
        backends = self._parts.backends
        release = storage_pb2.ReleaseBlobsRequest(digests=sorted({artifact.digest for artifact in forgotten}))
        try:
            freed: storage_pb2.ReleaseBlobsResponse = await call(
                backends.storage.ReleaseBlobs, release, backends.storage_channel, within=_RELEASE_SECONDS
            )
        except (Unavailable, DeadlineExceeded) as error:
            # The result is gone all the same: storage's own sweep takes its bytes.
            get_logger().warning("bytes of a deleted result stay until the sweep", why=error.message)
            return 0
        return freed.freed_bytes

    async def CancelJob(self, request: system_pb2.CancelJobRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Cancel a job that has not ended."""
        entry = await find_job(self._parts.feed, request.job_id)
        jobs = self._parts.backends.jobs
        key = jobs_pb2.JobKey(account_id=auth.account(), id=entry.job.id)
        response = await call(jobs.jobs.CancelJob, jobs_pb2.CancelJobRequest(key=key), jobs.channel)
        job = self._parts.feed.note(response.job).job
        cancelled = job.state == jobs_pb2.STATE_CANCELLED
        status = words.STATUS[job.state]
        return answer(
            system_pb2.CancelledJob(
                job_id=job.public_id,
                status=status,
                message=words.CANCELLED_TEXT if cancelled else f"Job is {status}; nothing to cancel",
                cancelled=cancelled,
            )
        )

    async def GetSchedulerStatus(
        self, request: system_pb2.GetSchedulerStatusRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D11."""
        known = await self._parts.nodes.capabilities()
        jobs = self._parts.backends.jobs
        ask = jobs_pb2.GetQueueStatsRequest(account_id=auth.account())
        stats: jobs_pb2.GetQueueStatsResponse = await call(
            jobs.jobs.GetQueueStats, ask, jobs.channel, safe=True
        )
        scheduler = system_pb2.Scheduler(
            running=bool(known.engines),
            queue_status=system_pb2.QueueStatus(
                queued_jobs=stats.queued, processing_jobs=stats.running, completed_jobs=stats.succeeded
            ),
            gpu_status=formats.gpus(known),
        )
        for engine in known.engines:
            status = scheduler.models[engine.id]
            if status.status != "loaded":
                status.status = _ENGINE_WORDS.get(engine.state, "available")
                status.vram_usage = engine.vram_mib if status.status == "loaded" else 0
                if engine.reason:
                    status.reason = engine.reason
        return answer(
            system_pb2.SchedulerStatus(
                scheduler=scheduler,
                adapters_registered=len({engine.id for engine in known.engines}),
                active_jobs=stats.running,
                queued_jobs=stats.queued,
                completed_jobs=stats.succeeded,
            )
        )

    async def GetSupportedFormats(
        self, request: system_pb2.GetSupportedFormatsRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D12."""
        known = await self._parts.nodes.capabilities()
        outputs = formats.mesh_outputs(known)
        return answer(
            system_pb2.SupportedFormats(
                input_formats=formats.inputs(known),
                output_formats=system_pb2.OutputFormats(
                    mesh=outputs, texture=formats.textures(known), download=["file", "base64"]
                ),
                content_types=system_pb2.ContentTypes(
                    mesh={name: words.MESH_TYPES[name] for name in outputs},
                    image={name: words.IMAGE_TYPES[name] for name in formats.image_inputs(known)},
                ),
            )
        )


class FileServicer(files_pb2_grpc.FileServiceServicer):
    """What is known of uploads. The uploads themselves come in at the edge."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def GetFileMetadata(
        self, request: files_pb2.GetFileMetadataRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D21."""
        backends = self._parts.backends
        ask = storage_pb2.GetUploadRequest(account_id=auth.account(), id=request.file_id)
        try:
            found = await call(backends.storage.GetUpload, ask, backends.storage_channel, safe=True)
        except NotFound as error:
            raise NotFound(f"There is no file {request.file_id}, or it has expired.") from error
        return answer(mapping.metadata_view(found.upload))

    async def GetUploadFormats(
        self, request: files_pb2.GetUploadFormatsRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D22."""
        limits = self._parts.limits
        return answer(
            files_pb2.UploadFormats(
                image=files_pb2.UploadFormat(
                    formats=words.UPLOAD_IMAGE_EXTENSIONS,
                    max_size_mb=limits.max_image_mib,
                    description="Supported image formats for upload",
                ),
                mesh=files_pb2.UploadFormat(
                    formats=words.UPLOAD_MESH_EXTENSIONS,
                    max_size_mb=limits.max_mesh_mib,
                    description="Supported mesh formats for upload",
                ),
                retention=files_pb2.UploadRetention(
                    default_hours=words.RETENTION_HOURS,
                    description=f"Files are automatically deleted after {words.RETENTION_HOURS} hours",
                ),
            )
        )


class MeshGenerationServicer(generation_pb2_grpc.MeshGenerationServiceServicer):
    """Jobs that make meshes of pictures."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ImageToRawMesh(
        self, request_iterator: AsyncIterator[httpbody_pb2.HttpBody], context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D26."""
        message = generation_pb2.ImageToRawMeshBody()
        return await self._submit(request_iterator, message, words.IMAGE_TO_RAW_MESH, context)

    async def ImageToTexturedMesh(
        self, request_iterator: AsyncIterator[httpbody_pb2.HttpBody], context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D27."""
        message = generation_pb2.ImageToTexturedMeshBody()
        return await self._submit(request_iterator, message, words.IMAGE_TO_TEXTURED_MESH, context)

    async def GetGenerationFormats(
        self, request: generation_pb2.GetGenerationFormatsRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Serve D30."""
        known = await self._parts.nodes.capabilities()
        limits = self._parts.limits
        return answer(
            generation_pb2.GenerationFormats(
                input_formats=formats.inputs(known),
                output_formats=generation_pb2.GenerationOutputFormats(
                    mesh=formats.mesh_outputs(known), texture=formats.textures(known)
                ),
                upload_limits=generation_pb2.UploadLimits(
                    image_max_size_mb=limits.max_image_mib,
                    mesh_max_size_mb=limits.max_mesh_mib,
                    image_max_resolution=[limits.max_image_side, limits.max_image_side],
                ),
            )
        )

    async def _submit(
        self,
        body: AsyncIterator[httpbody_pb2.HttpBody],
        message: Message,
        feature: words.Feature,
        context: Any,
    ) -> httpbody_pb2.HttpBody:
        key = idempotency_key(context.invocation_metadata())
        job = await self._parts.submitter.submit(body, message, feature, auth.account(), key)
        return answer(
            generation_pb2.QueuedJob(
                job_id=job.public_id, status=words.STATUS[job.state], message=feature.queued_message
            )
        )
