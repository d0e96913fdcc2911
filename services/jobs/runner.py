"""Drive one attempt of one task: open Run, follow its events, commit its end under its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from opentelemetry import propagate

from maquette.api.capability.v1 import capability_pb2, capability_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import Clock
from maquette.runtime.errors import Internal, MaquetteError, Unavailable, error_for
from maquette.runtime.grants import mint
from maquette.runtime.rpc.channel import from_rpc_error
from maquette.runtime.settings import JobsSettings
from maquette.runtime.structs import from_struct, to_struct
from maquette.runtime.telemetry import get_logger, tracer
from services.jobs import metrics
from services.jobs.attempts import Attempt, Stop
from services.jobs.convert import duration, resolve_inputs, sources, timestamp
from services.jobs.endings import Endings
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.ledger.jobs import JobTable
from services.jobs.ledger.tasks import Finish, Outcome, Sign, TaskTable
from services.jobs.model import Artifact
from services.jobs.paths import issue_path
from services.jobs.registry import NodeRegistry
from services.jobs.retry import Budgets, Cost, Requeue, decide
from services.jobs.states import TERMINAL, Event, State
from services.jobs.telling import Telling, storable

_LOST_STREAM = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
# A node may take this long to end its stream after the result before its slot counts as free.
_STREAM_END_SECONDS = 5.0
_DISCARD_SECONDS = 2.0

_RunCall = grpc.aio.UnaryStreamCall[capability_pb2.RunRequest, capability_pb2.RunResponse]


class _LeaseLost(Exception):
    """A sign of life came from an attempt whose task was given to another."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a runner works with."""

    jobs: JobTable
    tasks: TaskTable
    hub: Hub
    book: ProgressBook
    endings: Endings
    registry: NodeRegistry
    clock: Clock
    settings: JobsSettings
    grant_secret: bytes
    channel: Callable[[str], grpc.aio.Channel]
    """Channel to a node, by id."""
    wake: Callable[[float, Collection[str] | None], None]
    """Looks for work again, after so many seconds: for these features, or any."""
    refused: Callable[[], None]


class Runner:
    """Drives attempts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._discards: set[asyncio.Task[None]] = set()
        self._telling = Telling(parts.jobs, parts.hub, parts.book)
        self._budgets = Budgets(parts.settings.crash_budget, parts.settings.node_loss_budget)

    async def run(self, attempt: Attempt) -> None:
        """Drive an attempt to its end, whatever that is."""
        lease = attempt.lease
        carrier = {"traceparent": lease.traceparent} if lease.traceparent else {}
        with tracer().start_as_current_span(
            "task",
            context=propagate.extract(carrier),
            attributes={"maquette.job": lease.job_id, "maquette.task": lease.task_id},
        ):
            try:
                await self._drive(attempt)
            except _LeaseLost:
                self._refused(attempt, "renewal")
            except MaquetteError as error:
                await self._failed(attempt, error)
            except Exception as error:  # noqa: BLE001 — whatever is wrong with it, the task must end
                get_logger().error("attempt ended badly", job=lease.job_id, exc_info=error)
                await self._failed(attempt, Internal(f"the attempt could not be driven: {error!r}"))

    async def _drive(self, attempt: Attempt) -> None:
        """Follow the stream. Raises the MaquetteError that the attempt failed with."""
        request = await self._request(attempt)
        if attempt.stopped is not None:
            return await self._stopped(attempt)
        remaining = (attempt.lease.deadline - self._parts.clock.now()).total_seconds()
        stub = capability_pb2_grpc.CapabilityServiceStub(self._parts.channel(attempt.placement.node_id))
        call: _RunCall = stub.Run(request, timeout=max(0.1, remaining + 5.0))
        attempt.cancel = lambda: self._end_call(attempt, stub, call)
        try:
            result = await self._follow(attempt, call)
            if result is None:
                raise error_for("NODE_LOST", "the node ended the stream without a result")
            await self._commit(attempt, result)
            await self._drain(call)
            return None
        except grpc.aio.AioRpcError as error:
            if attempt.stopped is not None:
                return await self._stopped(attempt)
            raise _task_error(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if attempt.stopped is None or (task is not None and task.cancelling()):
                raise
            return await self._stopped(attempt)
        finally:
            call.cancel()

    def _end_call(
        self, attempt: Attempt, stub: capability_pb2_grpc.CapabilityServiceAsyncStub, call: _RunCall
    ) -> None:
        """Cancel the Run; where its job has ended, the node hears first that no attempt will follow."""
        if attempt.stopped is not Stop.CLOSED or not attempt.placement.remote:
            call.cancel()
            return
        task = asyncio.create_task(self._discard(attempt, stub, call))
        self._discards.add(task)
        task.add_done_callback(self._discards.discard)

    async def _discard(
        self, attempt: Attempt, stub: capability_pb2_grpc.CapabilityServiceAsyncStub, call: _RunCall
    ) -> None:
        request = capability_pb2.DiscardRequest(
            task_id=attempt.lease.task_id,
            engine_id=attempt.placement.engine_id,
            checkpoint=to_struct(attempt.checkpoint),
        )
        try:
            await stub.Discard(request, timeout=_DISCARD_SECONDS)
            await self._parts.tasks.forget_checkpoint(attempt.lease.task_id)
        except (grpc.aio.AioRpcError, Unavailable) as error:
            # It is left in the ledger: see `Discards`.
            get_logger().info("a remote task is given up later", task=attempt.lease.task_id, why=repr(error))
        finally:
            call.cancel()

    async def _request(self, attempt: Attempt) -> capability_pb2.RunRequest:
        lease, settings = attempt.lease, self._parts.settings
        spec = jobs_pb2.TaskSpec.FromString(lease.spec)
        inputs = resolve_inputs(spec, await self._made(spec, lease.job_id))
        grant = mint(
            self._parts.grant_secret,
            task_id=lease.task_id,
            inputs=[entry.digest for entry in inputs],
            max_write_bytes=settings.max_write_mib << 20,
            expires_at=lease.deadline + timedelta(minutes=1),
            nonce=lease.token,
        )
        return capability_pb2.RunRequest(
            task_id=lease.task_id,
            job_id=lease.job_id,
            attempt=lease.attempt,
            feature=lease.feature,
            parameters=spec.parameters if spec.HasField("parameters") else None,
            inputs=inputs,
            engine_id=attempt.placement.engine_id,
            requested_model=lease.model_preference,
            grant=grant,
            deadline=timestamp(lease.deadline),
            seed=spec.seed,
            heartbeat=duration(min(settings.heartbeat_seconds, settings.lease_seconds / 3)),
            checkpoint=to_struct(lease.checkpoint) if lease.checkpoint else None,
        )

    async def _made(self, spec: jobs_pb2.TaskSpec, job_id: str) -> list[Artifact]:
        """Return the files of the tasks that a task reads: from the hub, where all of these have ended."""
        read = {name for ref in spec.inputs for name in sources(ref)}
        if not read:
            return []
        job = self._parts.hub.get(job_id)
        ended = [task for task in job.tasks if task.name in read and task.state in TERMINAL] if job else []
        if len(ended) == len(read):
            return [artifact for task in ended for artifact in task.artifacts]
        return await self._parts.jobs.made(job_id)

    async def _follow(self, attempt: Attempt, call: _RunCall) -> capability_pb2.RunResponse.Result | None:
        """Return the result; None when the stream ends without one."""
        while True:
            response = await call.read()
            if response is grpc.aio.EOF:
                return None
            if not isinstance(response, capability_pb2.RunResponse):
                continue
            if response.WhichOneof("event") == "result":
                return response.result
            if response.WhichOneof("event") == "checkpoint":
                attempt.checkpoint = from_struct(response.checkpoint.state)
                await self._parts.tasks.note_checkpoint(
                    attempt.lease.task_id, attempt.lease.token, attempt.checkpoint
                )
            if await self._alive(attempt):
                self._telling.started(attempt)
                self._telling.said(attempt, response)

    async def _alive(self, attempt: Attempt) -> bool:
        """Note a sign of life; tell whether the lease is known to be ours still."""
        attempt.alive = True
        now = self._parts.clock.monotonic()
        if now < attempt.valid_until:
            return True
        # Silent past its lease: the task may be another's by now, so ask before a word is published.
        lease = attempt.lease
        fraction = self._parts.book.task_fraction(lease.job_id, lease.task_id)
        try:
            lost = await self._parts.tasks.extend([Sign(lease.task_id, lease.token, fraction)])
        except Unavailable:
            return False
        if lost:
            raise _LeaseLost
        attempt.valid_until = now + self._parts.settings.lease_seconds
        return True

    async def _commit(self, attempt: Attempt, result: capability_pb2.RunResponse.Result) -> None:
        lease = attempt.lease
        attempt.ending = True
        finish = Finish(
            State.SUCCEEDED,
            model_used=result.model_used,
            info=from_struct(result.info),
            warnings=list(result.warnings),
            artifacts=[_artifact(attempt, output) for output in result.outputs],
        )
        node_id = attempt.placement.node_id
        outcome = await self._parts.tasks.finish(lease.task_id, lease.token, node_id, finish)
        await self._ended(attempt, outcome, finish)

    async def _failed(self, attempt: Attempt, error: MaquetteError) -> None:
        lease, parts = attempt.lease, self._parts
        attempt.ending = True
        error.message = storable(error.message)
        node_id = attempt.placement.node_id
        if error.reason in ("NODE_LOST", "UNAVAILABLE"):
            parts.registry.suspect(node_id)
        elif error.reason == "NODE_BUSY":
            parts.registry.full(node_id, 0.05)
        what = decide(
            error.reason,
            crashes=lease.crash_attempts,
            node_losses=lease.node_losses,
            snoozes=lease.snoozes,
            budgets=self._budgets,
        )
        get_logger().info(
            "attempt failed",
            job=lease.job_id,
            task=lease.task_id,
            attempt=lease.attempt,
            node=node_id,
            reason=error.reason,
            text=error.message,
            then=repr(what),
        )
        if isinstance(what, Requeue):
            await self._release(attempt, what, error)
            return
        finish = Finish(State.FAILED, reason=error.reason, message=error.message)
        outcome = await parts.tasks.finish(lease.task_id, lease.token, node_id, finish)
        await self._ended(attempt, outcome, finish)

    async def _stopped(self, attempt: Attempt) -> None:
        if attempt.stopped is Stop.LOST:
            self._refused(attempt, "renewal")
        elif attempt.stopped is Stop.DRAINING:
            await self._release(
                attempt, Requeue(Cost.SNOOZE, 0.0), error_for("UNAVAILABLE", Stop.DRAINING.value)
            )

    async def _release(self, attempt: Attempt, back: Requeue, error: MaquetteError) -> None:
        lease, parts = attempt.lease, self._parts
        attempt.ending = True
        outcome = await parts.tasks.release(
            lease, attempt.placement.node_id, back, error.reason, error.message
        )
        if outcome.outcome == "lost":
            self._refused(attempt, "release")
        if outcome.outcome != "done":
            return
        metrics.RELEASES.labels(back.cost.value, error.reason).inc()
        job = parts.hub.get(lease.job_id)
        if attempt.told and job is not None and outcome.job_state is State.QUEUED:
            parts.hub.publish(Event.REQUEUED, job.at(state=State.QUEUED), epoch=outcome.epoch)
        parts.wake(back.delay, (lease.feature,))

    async def _ended(self, attempt: Attempt, outcome: Outcome, finish: Finish) -> None:
        lease = attempt.lease
        if outcome.outcome == "lost":
            self._refused(attempt, "commit")
            return
        if outcome.outcome == "done":
            metrics.COMMITS.labels(finish.state.value).inc()
        self._parts.book.report(lease.job_id, lease.task_id, 1.0)
        if outcome.job_state in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
            await self._parts.endings.tell([lease.job_id])
        else:
            self._parts.wake(0.0, self._following(lease.job_id))
            await self._telling.ended(attempt, finish)

    def _following(self, job_id: str) -> Collection[str] | None:
        """Return the features of a job's tasks that wait; None where that is not known."""
        job = self._parts.hub.get(job_id)
        return {task.feature for task in job.tasks if task.state is State.QUEUED} if job else None

    async def _drain(self, call: _RunCall) -> None:
        """Let the node end its stream: only then is its slot free."""
        try:
            async with asyncio.timeout(_STREAM_END_SECONDS):
                while await call.read() is not grpc.aio.EOF:
                    pass
        except (TimeoutError, grpc.aio.AioRpcError):
            return

    def _refused(self, attempt: Attempt, what: str) -> None:
        lease = attempt.lease
        self._parts.refused()
        metrics.REFUSED.inc()
        get_logger().warning(
            "LEASE_LOST",
            what=what,
            job=lease.job_id,
            task=lease.task_id,
            attempt=lease.attempt,
            node=attempt.placement.node_id,
        )
        attempt.cancel()


def _task_error(error: grpc.aio.AioRpcError) -> MaquetteError:
    """Return what a failed Run means for its task."""
    known = from_rpc_error(error)
    told = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
    # A status that no servicer wrote is a broken stream. We did not cancel, so the node did: it stops.
    if (not told and error.code() in _LOST_STREAM) or known.reason == "CANCELLED":
        return error_for("NODE_LOST", f"the node went away: {error.details()}")
    return known


def _artifact(attempt: Attempt, output: capability_pb2.TaskOutput) -> Mapping[str, Any]:
    lease = attempt.lease
    issued = issue_path(
        lease.job_id,
        lease.name,
        last=lease.last,
        role=output.role,
        ordinal=output.ordinal,
        filename=output.filename,
    )
    return {
        "role": output.role,
        "ordinal": output.ordinal,
        "filename": output.filename,
        "path": issued.path,
        "main_path": issued.main_path,
        "digest": output.digest,
        "size": output.size,
        "media_type": output.media_type,
        "meta": from_struct(output.meta),
    }
