"""Turn the ledger's values into protos and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import IdSource
from maquette.runtime.errors import FailedPrecondition, InvalidArgument
from services.jobs.graph import Node, check_graph
from services.jobs.model import Artifact, Job, JobEvent, JobTask, NewJob, NewTask, Progress
from services.jobs.states import Event, State

STATE: Mapping[State, jobs_pb2.State.ValueType] = {s: jobs_pb2.State.Value(f"STATE_{s.value}") for s in State}
STATE_BACK: Mapping[int, State] = {value: state for state, value in STATE.items()}
EVENT: Mapping[Event, jobs_pb2.EventType.ValueType] = {
    e: jobs_pb2.EventType.Value(f"EVENT_TYPE_{e.value}") for e in Event
}
EVENT_BACK: Mapping[int, Event] = {value: event for event, value in EVENT.items()}

_START = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(moment: datetime) -> Timestamp:
    """Return a proto timestamp."""
    since = moment - _START
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def moment(value: Timestamp) -> datetime:
    """Return an aware time in UTC."""
    return value.ToDatetime(tzinfo=UTC)


def duration(seconds: float) -> Duration:
    """Return a proto duration."""
    result = Duration()
    result.FromNanoseconds(round(seconds * 1e9))
    return result


def seconds(value: Duration) -> float:
    """Return a duration's seconds."""
    return value.seconds + value.nanos / 1e9


def artifact_proto(artifact: Artifact) -> jobs_pb2.Artifact:
    """Return an artifact's message."""
    return jobs_pb2.Artifact(
        role=artifact.role,
        ordinal=artifact.ordinal,
        filename=artifact.filename,
        path=artifact.path,
        digest=artifact.digest,
        size=artifact.size,
        media_type=artifact.media_type,
        meta=artifact.meta,
        job_id=artifact.job_id,
        task=artifact.task,
    )


def task_proto(task: JobTask) -> jobs_pb2.JobTask:
    """Return a task's message."""
    message = jobs_pb2.JobTask(
        name=task.name,
        feature=task.feature,
        phase=task.phase,
        item=task.item,
        state=STATE[task.state],
        started=task.started,
        fraction=task.fraction,
        message=task.message,
        upstream_status=task.upstream_status,
        model_used=task.model_used,
        warnings=task.warnings,
        artifacts=[artifact_proto(artifact) for artifact in task.artifacts],
    )
    if task.state is State.FAILED:
        message.error.CopyFrom(jobs_pb2.JobError(reason=task.error_reason, message=task.error_message))
    return message


def job_proto(job: Job) -> jobs_pb2.Job:
    """Return a job's message."""
    progress = job.progress
    message = jobs_pb2.Job(
        id=job.id,
        account_id=job.account_id,
        dialect=job.dialect,
        public_id=job.public_id,
        feature=job.feature,
        priority=job.priority,
        state=STATE[job.state],
        create_time=timestamp(job.created),
        deadline=timestamp(job.deadline),
        request=job.request,
        requested_model=job.requested_model,
        progress=jobs_pb2.JobProgress(
            fraction=progress.fraction,
            stage=progress.stage,
            message=progress.message,
            upstream_status=progress.upstream_status,
        ),
        attempt=job.attempt,
        seq=job.seq,
        result_deleted=job.result_deleted,
        tasks=[task_proto(task) for task in job.tasks],
    )
    if progress.eta is not None:
        message.progress.eta.CopyFrom(duration(progress.eta))
    if job.started is not None:
        message.start_time.CopyFrom(timestamp(job.started))
    if job.ended is not None:
        message.end_time.CopyFrom(timestamp(job.ended))
    if job.state in (State.FAILED, State.CANCELLED):
        message.error.CopyFrom(jobs_pb2.JobError(reason=job.error_reason, message=job.error_message))
    if job.state is State.SUCCEEDED:
        message.result.CopyFrom(
            jobs_pb2.JobResult(
                model_used=job.model_used,
                info=job.info,
                warnings=job.warnings,
                artifacts=[artifact_proto(artifact) for artifact in job.artifacts],
            )
        )
    return message


def event_proto(event: JobEvent) -> jobs_pb2.JobEvent:
    """Return an event's message."""
    return jobs_pb2.JobEvent(
        seq=event.seq, type=EVENT[event.type], time=timestamp(event.time), job=job_proto(event.job)
    )


def feed_events(response: jobs_pb2.WatchFeedResponse) -> Sequence[jobs_pb2.JobEvent]:
    """Return the events of a message of the feed; none for `synced`."""
    if response.HasField("event"):
        return (response.event,)
    return response.events.events


def event_from_proto(message: jobs_pb2.JobEvent) -> JobEvent:
    """Read an event of another replica."""
    return JobEvent(message.seq, EVENT_BACK[message.type], moment(message.time), _job_from_proto(message.job))


def _job_from_proto(message: jobs_pb2.Job) -> Job:
    progress, result = message.progress, message.result
    return Job(
        id=message.id,
        account_id=message.account_id,
        dialect=message.dialect,
        public_id=message.public_id,
        feature=message.feature,
        priority=message.priority,
        state=STATE_BACK[message.state],
        created=moment(message.create_time),
        deadline=moment(message.deadline),
        request=message.request,
        requested_model=message.requested_model,
        started=moment(message.start_time) if message.HasField("start_time") else None,
        ended=moment(message.end_time) if message.HasField("end_time") else None,
        progress=Progress(
            progress.fraction,
            progress.stage,
            progress.message,
            progress.upstream_status,
            seconds(progress.eta) if progress.HasField("eta") else None,
        ),
        error_reason=message.error.reason,
        error_message=message.error.message,
        model_used=result.model_used,
        info=result.info,
        warnings=tuple(result.warnings),
        artifacts=tuple(_artifact_from_proto(artifact) for artifact in result.artifacts),
        attempt=message.attempt,
        seq=message.seq,
        result_deleted=message.result_deleted,
        tasks=tuple(_task_from_proto(task) for task in message.tasks),
    )


def _task_from_proto(message: jobs_pb2.JobTask) -> JobTask:
    return JobTask(
        name=message.name,
        feature=message.feature,
        phase=message.phase,
        item=message.item,
        state=STATE_BACK[message.state],
        started=message.started,
        fraction=message.fraction,
        message=message.message,
        upstream_status=message.upstream_status,
        error_reason=message.error.reason,
        error_message=message.error.message,
        model_used=message.model_used,
        warnings=tuple(message.warnings),
        artifacts=tuple(_artifact_from_proto(artifact) for artifact in message.artifacts),
    )


def _artifact_from_proto(message: jobs_pb2.Artifact) -> Artifact:
    return Artifact(
        job_id=message.job_id,
        task=message.task,
        role=message.role,
        ordinal=message.ordinal,
        filename=message.filename,
        path=message.path,
        digest=message.digest,
        size=message.size,
        media_type=message.media_type,
        meta=message.meta,
    )


def new_job(request: jobs_pb2.CreateJobRequest, ids: IdSource, *, longest: float, traceparent: str) -> NewJob:
    """Read a request. ``longest`` is the server's time limit in seconds.

    Raises InvalidArgument for a graph that cannot run.
    """
    specs = [_named(spec, number) for number, spec in enumerate(request.tasks)]
    befores = [_before(spec) for spec in specs]
    check_graph([Node(spec.name, frozenset(after)) for spec, after in zip(specs, befores, strict=True)])
    limit = longest
    if request.HasField("time_limit"):
        limit = min(longest, seconds(request.time_limit))
        if limit <= 0:
            raise InvalidArgument("time_limit must be positive")
    job_id = ids.uuid()
    tasks = tuple(
        _new_task(ids.uuid(), number, spec, after)
        for number, (spec, after) in enumerate(zip(specs, befores, strict=True))
    )
    return NewJob(
        id=job_id,
        account_id=request.account_id,
        dialect=request.dialect,
        public_id=request.public_id or job_id,
        feature=request.feature,
        priority=request.priority,
        request=request.request,
        requested_model=next((task.model_preference for task in tasks if task.model_preference), ""),
        idempotency_key=request.idempotency_key,
        request_digest=request.request_digest,
        traceparent=traceparent,
        time_limit=limit,
        aliases=tuple(request.aliases),
        tasks=tasks,
    )


def _named(spec: jobs_pb2.TaskSpec, number: int) -> jobs_pb2.TaskSpec:
    if spec.name:
        return spec
    named = jobs_pb2.TaskSpec()
    named.CopyFrom(spec)
    named.name = f"task{number + 1}" if number else "task"
    return named


def sources(ref: jobs_pb2.InputRef) -> tuple[str, ...]:
    """Return the tasks that an input may come from; none for a file that is there."""
    if ref.WhichOneof("source") != "output":
        return ()
    return (ref.output.task, *(output.task for output in ref.otherwise))


def _before(spec: jobs_pb2.TaskSpec) -> tuple[str, ...]:
    """Return the tasks before this one: those named and those whose outputs it may read."""
    return tuple(dict.fromkeys((*spec.after, *(name for ref in spec.inputs for name in sources(ref)))))


def _needs(spec: jobs_pb2.TaskSpec) -> tuple[str, ...]:
    """Return the tasks whose outputs this one reads and has no other for."""
    outputs = (ref for ref in spec.inputs if ref.WhichOneof("source") == "output")
    needed = (ref.output.task for ref in outputs if not ref.otherwise and not ref.optional)
    return tuple(dict.fromkeys(needed))


def _new_task(task_id: str, ordinal: int, spec: jobs_pb2.TaskSpec, after: tuple[str, ...]) -> NewTask:
    if not spec.weight >= 0 or spec.weight == float("inf"):
        raise InvalidArgument("weight must be a number and not negative")
    digests = []
    for ref in spec.inputs:
        source = ref.WhichOneof("source")
        if source is None:
            raise InvalidArgument(f"input {ref.role!r} names no file")
        if source == "file" and (ref.otherwise or ref.optional):
            raise InvalidArgument(f"input {ref.role!r} is a file that is there and needs no other")
        if source == "file":
            _check_digest(ref.file.digest)
            digests.append(ref.file.digest)
    return NewTask(
        id=task_id,
        ordinal=ordinal,
        name=spec.name,
        feature=spec.feature,
        spec=spec.SerializeToString(),
        input_digests=tuple(digests),
        after=after,
        model_preference=spec.model_preference,
        fallback=spec.fallback != jobs_pb2.FALLBACK_DENY,
        phase=spec.phase,
        item=spec.item,
        weight=spec.weight or 1.0,
        soft_fail=spec.soft_fail,
        needs=_needs(spec),
    )


def _check_digest(digest: str) -> None:
    if len(digest) != hashlib.sha256().digest_size * 2 or set(digest) - set("0123456789abcdef"):
        raise InvalidArgument(f"not a lower-case hex SHA-256: {digest!r}")


def created(job: NewJob, when: datetime, deadline: datetime) -> Job:
    """Return a job as it is right after it was stored."""
    return Job(
        id=job.id,
        account_id=job.account_id,
        dialect=job.dialect,
        public_id=job.public_id,
        feature=job.feature,
        priority=job.priority,
        state=State.QUEUED,
        created=when,
        deadline=deadline,
        request=job.request,
        requested_model=job.requested_model,
        tasks=_job_tasks(job),
    )


def _job_tasks(job: NewJob) -> tuple[JobTask, ...]:
    if len(job.tasks) < 2:
        return ()
    return tuple(JobTask(task.name, task.feature, task.phase, task.item) for task in job.tasks)


def resolve_inputs(spec: jobs_pb2.TaskSpec, artifacts: list[Artifact]) -> list[capability_pb2.TaskInput]:
    """Return a task's input files, those that earlier tasks made among them.

    Raises FailedPrecondition (NOT_READY) when an earlier task did not make one.
    """
    made = {(artifact.task, artifact.role, artifact.ordinal): artifact for artifact in artifacts}
    inputs = []
    for ref in spec.inputs:
        if ref.WhichOneof("source") == "file":
            entry = capability_pb2.TaskInput()
            entry.CopyFrom(ref.file)
            entry.role = ref.role or ref.file.role
        else:
            wanted = [(output.task, output.role, output.ordinal) for output in (ref.output, *ref.otherwise)]
            artifact = next((made[key] for key in wanted if key in made), None)
            if artifact is None and ref.optional:
                continue
            if artifact is None:
                raise FailedPrecondition(f"task {ref.output.task!r} made no {ref.output.role!r} file")
            entry = capability_pb2.TaskInput(
                role=ref.role or artifact.role,
                digest=artifact.digest,
                size=artifact.size,
                media_type=artifact.media_type,
                filename=artifact.filename,
                meta=artifact.meta,
            )
        inputs.append(entry)
    return inputs
