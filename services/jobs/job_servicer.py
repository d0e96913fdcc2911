"""The gRPC face of JobService."""

# ruff: noqa: N802 — the methods are named as in the proto

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
import orjson

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.clock import Clock, IdSource
from maquette.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    MaquetteError,
    NotFound,
    ResourceExhausted,
)
from maquette.runtime.rpc.status import to_status
from maquette.runtime.settings import JobsSettings
from maquette.runtime.telemetry import current_traceparent, get_logger, server_span
from services.jobs import convert
from services.jobs.endings import Endings
from services.jobs.hub import Hub, terminal_of
from services.jobs.ledger.jobs import Filter, JobTable
from services.jobs.model import FIRST_SEQ, Job, JobEvent, NewJob
from services.jobs.placement import choose_engine
from services.jobs.registry import NodeRegistry
from services.jobs.states import State
from services.jobs.submit import Submitter

CREATE_JOBS = "/maquette.api.jobs.v1.JobService/CreateJobs"
"""It opens a span for each of its jobs, in that job's own trace."""
_CREATE_JOB = "/maquette.api.jobs.v1.JobService/CreateJob"
_Context = grpc.aio.ServicerContext[Any, Any]
_Outcome = jobs_pb2.CreateJobsResponse.Outcome
_LONGEST_WAIT = 600.0
_PAGE = 100


@dataclass(frozen=True, slots=True)
class JobParts:
    """What the servicers work with."""

    jobs: JobTable
    hub: Hub
    endings: Endings
    submitter: Submitter
    registry: NodeRegistry
    clock: Clock
    ids: IdSource
    settings: JobsSettings
    refused: Callable[[], int]


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """What clients' jobs are made with and looked at through."""

    def __init__(self, parts: JobParts) -> None:
        self._parts = parts
        self._jobs = parts.jobs
        self._hub = parts.hub

    async def CreateJob(
        self, request: jobs_pb2.CreateJobRequest, context: _Context
    ) -> jobs_pb2.CreateJobResponse:
        """Store a job durably, once for each idempotency key."""
        return await self._create(request)

    async def CreateJobs(
        self, request: jobs_pb2.CreateJobsRequest, context: _Context
    ) -> jobs_pb2.CreateJobsResponse:
        """Store several jobs; those that are refused leave the others alone."""
        outcomes = await asyncio.gather(*map(self._outcome, request.entries))
        return jobs_pb2.CreateJobsResponse(outcomes=outcomes)

    async def _outcome(self, entry: jobs_pb2.CreateJobsRequest.Entry) -> _Outcome:
        try:
            with server_span(_CREATE_JOB, entry.traceparent):
                return _Outcome(response=await self._create(entry.job))
        except MaquetteError as error:
            return _Outcome(error=to_status(error))
        except Exception as error:  # noqa: BLE001 — the neighbours' answers must not go with it
            get_logger().error("a job of several failed", exc_info=error)
            return _Outcome(error=to_status(Internal("internal error")))

    async def _create(self, request: jobs_pb2.CreateJobRequest) -> jobs_pb2.CreateJobResponse:
        parts = self._parts
        new = convert.new_job(
            request,
            parts.ids,
            longest=parts.settings.time_limit_seconds,
            traceparent=current_traceparent(),
        )
        await self._check_models(new)
        stored = await parts.submitter.submit(new)
        if stored.outcome == "created" and stored.created and stored.deadline:
            job = convert.created(new, stored.created, stored.deadline).at(seq=FIRST_SEQ)
            return jobs_pb2.CreateJobResponse(job=convert.job_proto(job), created=True)
        if stored.outcome == "exists":
            found = await self._jobs.get(new.account_id, stored.job_id)
            if found is None:
                raise NotFound("the job made with this key was deleted just now")
            return jobs_pb2.CreateJobResponse(job=convert.job_proto(self._fresh(found)), created=False)
        if stored.outcome == "mismatch":
            raise AlreadyExists("the idempotency key was used with another request")
        if stored.outcome == "full":
            limit = parts.settings.queue_limit
            raise ResourceExhausted(f"{limit} jobs are waiting already", metadata={"limit": str(limit)})
        raise AlreadyExists("the public id is in use", metadata={"public_id": new.public_id})

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: _Context) -> jobs_pb2.GetJobResponse:
        """Find a job."""
        return jobs_pb2.GetJobResponse(job=convert.job_proto(await self._find(request.key)))

    async def ListJobs(
        self, request: jobs_pb2.ListJobsRequest, context: _Context
    ) -> jobs_pb2.ListJobsResponse:
        """List an account's jobs, newest first."""
        size = request.page_size or _PAGE
        wanted = Filter(
            request.account_id,
            request.dialect,
            tuple(convert.STATE_BACK[state] for state in request.states if state in convert.STATE_BACK),
            request.feature,
            convert.moment(request.created_after) if request.HasField("created_after") else None,
            convert.moment(request.created_before) if request.HasField("created_before") else None,
        )
        after = _read_token(request.page_token) if request.page_token else None
        jobs, total = await self._jobs.page(wanted, after=after, limit=size + 1, offset=request.offset)
        page = jobs[:size]
        return jobs_pb2.ListJobsResponse(
            jobs=[convert.job_proto(self._fresh(job)) for job in page],
            next_page_token=_write_token(page[-1]) if len(jobs) > size else "",
            total=total,
        )

    async def WatchJob(
        self, request: jobs_pb2.WatchJobRequest, context: _Context
    ) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        """Stream a job's events until it has ended."""
        job = await self._find(request.key)
        async for event in self._events(job, request.from_seq):
            yield jobs_pb2.WatchJobResponse(event=convert.event_proto(event))

    async def WaitJob(self, request: jobs_pb2.WaitJobRequest, context: _Context) -> jobs_pb2.WaitJobResponse:
        """Return when the job has ended or the time is over."""
        job = await self._find(request.key)
        longest = convert.seconds(request.timeout) if request.HasField("timeout") else _LONGEST_WAIT
        try:
            async with asyncio.timeout(max(0.0, min(longest, _LONGEST_WAIT))):
                async for event in self._events(job, job.seq):
                    job = event.job
        except TimeoutError:
            job = self._fresh(job)
        return jobs_pb2.WaitJobResponse(job=convert.job_proto(job))

    async def CancelJob(
        self, request: jobs_pb2.CancelJobRequest, context: _Context
    ) -> jobs_pb2.CancelJobResponse:
        """Cancel every open task of a job."""
        job = await self._find(request.key)
        return jobs_pb2.CancelJobResponse(job=convert.job_proto(await self._cancel(job)))

    async def DeleteJob(
        self, request: jobs_pb2.DeleteJobRequest, context: _Context
    ) -> jobs_pb2.DeleteJobResponse:
        """Cancel a job if it is open, and forget it with its result."""
        job = await self._cancel(await self._find(request.key))
        epoch = await self._jobs.delete(job.account_id, job.id)
        if epoch is not None:
            self._hub.load([job])
            self._parts.endings.deleted(job.id, epoch=epoch + 1)
        return jobs_pb2.DeleteJobResponse()

    async def GetQueueStats(
        self, request: jobs_pb2.GetQueueStatsRequest, context: _Context
    ) -> jobs_pb2.GetQueueStatsResponse:
        """Count jobs by state."""
        counts = await self._jobs.stats(request.account_id)
        return jobs_pb2.GetQueueStatsResponse(
            queued=counts.get(State.QUEUED, 0),
            running=counts.get(State.RUNNING, 0),
            succeeded=counts.get(State.SUCCEEDED, 0),
            failed=counts.get(State.FAILED, 0),
            cancelled=counts.get(State.CANCELLED, 0),
            refused_commits=self._parts.refused(),
        )

    async def _find(self, key: jobs_pb2.JobKey) -> Job:
        job: Job | None
        if key.WhichOneof("key") == "id":
            job = self._hub.get(key.id)
            if job is not None and not job.terminal and job.account_id == key.account_id:
                return job
            job = await self._jobs.get(key.account_id, key.id)
        elif key.WhichOneof("key") == "public":
            job = await self._jobs.find(key.account_id, key.public.id, key.public.dialect)
        else:
            raise InvalidArgument("the job's id is required")
        if job is None:
            raise NotFound("no such job")
        return self._fresh(job)

    def _fresh(self, job: Job) -> Job:
        """Return what the hub knows of a job where that is newer than its row."""
        held = self._hub.get(job.id)
        if held is None or held.seq < job.seq or (job.terminal and not held.terminal):
            return job
        return held

    async def _cancel(self, job: Job) -> Job:
        if job.terminal:
            return job
        await self._jobs.close(job.account_id, job.id, State.CANCELLED, "CANCELLED", "Job was cancelled")
        ended = await self._parts.endings.tell([job.id])
        if not ended:
            raise NotFound("no such job")
        return self._fresh(ended[0])

    async def _events(self, job: Job, from_seq: int) -> AsyncIterator[JobEvent]:
        """Yield events from the hub, and the last one from the ledger where the hub has no more."""
        cursor = from_seq if from_seq <= job.last_seq else 0
        if not job.terminal:
            self._hub.load([job])
            if cursor == 0 and self._hub.get(job.id) is not None:
                job = self._hub.get(job.id) or job
            async for event in self._hub.watch(job.id, cursor):
                cursor = event.seq
                yield event
                if event.job.terminal:
                    return
            current = await self._jobs.get(job.account_id, job.id)
            if current is None or not current.terminal:
                return
            job = current
        if job.seq > cursor:
            yield terminal_of(job, self._parts.clock.now())

    async def _check_models(self, new: NewJob) -> None:
        """Refuse a job that may not fall back to another model than one that is on no node."""
        for task in new.tasks:
            if task.fallback or not task.model_preference:
                continue
            views = self._parts.registry.views()
            if choose_engine(views, task.feature, task.model_preference, fallback=False) is None:
                key = new.idempotency_key
                if key and await self._jobs.has_key(new.account_id, key):
                    return  # made before, when the model was there: the same answer again
                raise FailedPrecondition(
                    f"model {task.model_preference!r} is on no node",
                    reason="MODEL_NOT_AVAILABLE",
                    metadata={"model": task.model_preference, "feature": task.feature},
                )


def _write_token(job: Job) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([job.created.isoformat(), job.id])).decode()


def _read_token(token: str) -> tuple[datetime, str]:
    try:
        created, job_id = orjson.loads(base64.urlsafe_b64decode(token))
        return datetime.fromisoformat(created), str(job_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidArgument("not a page token of ours") from error
