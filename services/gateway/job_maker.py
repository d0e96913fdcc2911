"""Make jobs: those that are asked for while a call to `jobs` is on its way go together with the next.

A unary call costs either side more than all that is done for one job. An idle gateway calls at once; a
busy one shares a call among many, as `jobs` shares a transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import Internal, InvalidArgument, MaquetteError, Unavailable, error_for
from maquette.runtime.rpc.status import from_status
from maquette.runtime.telemetry import current_traceparent
from services.gateway.backends import Backends, call

_MOST_ENTRIES = 64
_MOST_BYTES = 1 << 20

_Entry = jobs_pb2.CreateJobsRequest.Entry


@dataclass(frozen=True, slots=True)
class _Asked:
    entry: _Entry
    answer: asyncio.Future[jobs_pb2.CreateJobResponse]


class JobMaker:
    """Makes jobs for everybody who asks."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._waiting: deque[_Asked] = deque()
        self._calling: asyncio.Task[None] | None = None

    async def create(self, request: jobs_pb2.CreateJobRequest) -> jobs_pb2.CreateJobResponse:
        """Return the job, durable. Raises what `jobs` raised for this one, Unavailable when it is away."""
        answer: asyncio.Future[jobs_pb2.CreateJobResponse] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(_Entry(job=request, traceparent=current_traceparent()), answer))
        if self._calling is None or self._calling.done():
            # In a context of its own: the call is part of nobody's trace, its entries name theirs.
            self._calling = asyncio.get_running_loop().create_task(self._call(), context=Context())
        return await answer

    async def _call(self) -> None:
        while batch := self._take():
            try:
                await self._ask(batch)
            finally:
                # Also when this is cancelled: nobody may be left waiting.
                _refuse(batch, Unavailable("the job could not be made"))

    def _take(self) -> list[_Asked]:
        """Take what the next call carries, but those that nobody waits for any more."""
        batch: list[_Asked] = []
        size = 0
        while self._waiting and len(batch) < _MOST_ENTRIES and size < _MOST_BYTES:
            asked = self._waiting.popleft()
            if not asked.answer.done():
                batch.append(asked)
                size += asked.entry.ByteSize()
        return batch

    async def _ask(self, batch: list[_Asked]) -> None:
        jobs = self._backends.jobs
        request = jobs_pb2.CreateJobsRequest(entries=[asked.entry for asked in batch])
        try:
            response: jobs_pb2.CreateJobsResponse = await call(jobs.jobs.CreateJobs, request, jobs.channel)
        except InvalidArgument as error:
            # One that is out of bounds must not take its neighbours with it.
            if len(batch) == 1:
                _refuse(batch, error)
                return
            for asked in batch:
                await self._ask([asked])
            return
        except MaquetteError as error:
            _refuse(batch, error)
            return
        for asked, outcome in zip(batch, response.outcomes, strict=True):
            if asked.answer.done():
                continue
            if outcome.HasField("response"):
                asked.answer.set_result(outcome.response)
            else:
                refusal = from_status(outcome.error)
                asked.answer.set_exception(refusal or Internal("the job could not be made"))


def _refuse(batch: list[_Asked], error: MaquetteError) -> None:
    for asked in batch:
        if not asked.answer.done():
            # Each gets its own: raising changes an error.
            asked.answer.set_exception(error_for(error.reason, error.message, error.metadata))
