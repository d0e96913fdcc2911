"""An in-memory `jobs` that keeps its contract."""

from __future__ import annotations

import asyncio
import uuid

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.errors import (
    AlreadyExists,
    MaquetteError,
    NotFound,
    error_for,
)
from maquette.runtime.rpc.status import to_status
from tests.contract.gateway.moments import now

TERMINAL = (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED)


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
