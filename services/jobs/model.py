"""What the ledger's parts tell each other: values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct

from services.jobs.states import TERMINAL, Event, State

EPOCH_BITS = 20
"""A sequence number is ``epoch << 20`` plus a count: the epoch is durable, the count is not."""
FIRST_SEQ = 1 << EPOCH_BITS


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands; ``fraction`` is the share of the whole job, 0–1."""

    fraction: float = 0.0
    stage: str = ""
    message: str = ""
    upstream_status: str = ""
    eta: float | None = None
    """Seconds left; None when unknown."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A delivered file and its issued path."""

    job_id: str
    task: str
    role: str
    ordinal: int
    filename: str
    path: str
    digest: str
    size: int
    media_type: str
    meta: Struct = field(default_factory=Struct)
    """Shared between copies: never changed in place."""


@dataclass(frozen=True, slots=True)
class JobTask:
    """One task of a job of several, as clients see it."""

    name: str
    feature: str
    phase: str = ""
    item: str = ""
    state: State = State.QUEUED
    started: bool = False
    """An attempt has begun, whatever became of it."""
    fraction: float = 0.0
    message: str = ""
    upstream_status: str = ""
    error_reason: str = ""
    error_message: str = ""
    model_used: str = ""
    warnings: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()

    def after(self, before: JobTask) -> JobTask:
        """Return this state as it is told after ``before``: what has ended stays so, nothing falls."""
        if before.state in TERMINAL and self.state not in TERMINAL:
            return before
        return replace(
            self,
            started=self.started or before.started,
            fraction=max(self.fraction, before.fraction),
            message=self.message or before.message,
            upstream_status=self.upstream_status or before.upstream_status,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A job as clients see it."""

    id: str
    account_id: str
    dialect: str
    public_id: str
    feature: str
    priority: int
    state: State
    created: datetime
    deadline: datetime
    request: Struct
    """Shared between copies: never changed in place."""
    requested_model: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    progress: Progress = Progress()
    error_reason: str = ""
    error_message: str = ""
    model_used: str = ""
    info: Struct = field(default_factory=Struct)
    warnings: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    attempt: int = 0
    seq: int = 0
    result_deleted: bool = False
    tasks: tuple[JobTask, ...] = ()
    """Those of a job of several; empty for a job of one."""

    @property
    def terminal(self) -> bool:
        """Tell whether the state is final."""
        return self.state in TERMINAL

    @property
    def last_seq(self) -> int:
        """Return the highest sequence number that may have been given away for this state.

        Counts within an epoch are forgotten in a restart: a watcher may have seen more of an open
        job's epoch than is known here, and then waits for the next.
        """
        return self.seq if self.terminal else self.seq | ((1 << EPOCH_BITS) - 1)

    def at(self, **changes: Any) -> Job:
        """Return a copy with other values."""
        return replace(self, **changes)

    def with_task(self, name: str, **changes: Any) -> Job:
        """Return a copy with other values in one of its tasks."""
        tasks = tuple(
            replace(task, **changes).after(task) if task.name == name else task for task in self.tasks
        )
        return replace(self, tasks=tasks)

    def following(self, before: Job) -> Job:
        """Return this state as it is told after ``before``: neither progress nor any task's falls."""
        progress = self.progress
        if progress.fraction < before.progress.fraction:
            progress = replace(progress, fraction=before.progress.fraction)
        known = {task.name: task for task in before.tasks}
        tasks = tuple(task.after(known[task.name]) if task.name in known else task for task in self.tasks)
        return replace(self, progress=progress, tasks=tasks)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job, and the job right after it."""

    seq: int
    type: Event
    time: datetime
    job: Job


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task of a job that is being made."""

    id: str
    ordinal: int
    name: str
    feature: str
    spec: bytes
    """Serialized TaskSpec: parameters, inputs, seed."""
    input_digests: tuple[str, ...]
    after: tuple[str, ...]
    model_preference: str
    fallback: bool
    phase: str
    item: str
    weight: float
    soft_fail: bool
    needs: tuple[str, ...] = ()
    """Tasks before it whose files it cannot do without."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is being made."""

    id: str
    account_id: str
    dialect: str
    public_id: str
    feature: str
    priority: int
    request: Struct
    requested_model: str
    idempotency_key: str
    request_digest: str
    traceparent: str
    time_limit: float
    """Seconds."""
    aliases: tuple[str, ...]
    tasks: tuple[NewTask, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """How far one task of a job is, and how much it counts."""

    weight: float
    fraction: float


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt of one task, as claimed."""

    task_id: str
    job_id: str
    account_id: str
    token: str
    attempt: int
    crash_attempts: int
    node_losses: int
    snoozes: int
    name: str
    feature: str
    spec: bytes
    model_preference: str
    requested_model: str
    fallback: bool
    phase: str
    soft_fail: bool
    last: bool
    """No task of the job comes after it in the graph's order."""
    epoch: int
    deadline: datetime
    started: datetime
    traceparent: str
    shares: Mapping[str, Share]
    """Of every task of the job, by task id."""
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    """What an earlier attempt told for this one."""
