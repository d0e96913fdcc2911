"""Keep the mirror in step with `jobs`, and answer reads and watches from it.

One multiplexed stream a replica of `jobs`. While none is in step, reads ask `jobs` themselves, so
an answer is never older than the last event that reached us.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
from prometheus_client import Counter, Gauge

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import DeadlineExceeded, NotFound, Unavailable
from maquette.runtime.telemetry import get_logger
from services.gateway.backends import CALL_SECONDS, Backends, JobsBackend, call
from services.gateway.mirror import Entry, Mirror

_SYNCED = Gauge("maquette_gateway_feeds_synced", "Replicas of jobs whose feed is in step.")
_EVENTS = Counter("maquette_gateway_feed_events", "Events taken in from the feed.")
_READS = Counter("maquette_gateway_job_reads", "Reads of a job.", ["source"])
_FROM_MIRROR, _FROM_JOBS = _READS.labels("mirror"), _READS.labels("jobs")
_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_POLL_SECONDS = 1.0


class Feed:
    """Jobs as the gateway sees them."""

    def __init__(self, backends: Backends, mirror: Mirror) -> None:
        self._backends = backends
        self._mirror = mirror
        self._synced: set[str] = set()
        self._leaving = False
        self._log = get_logger()

    @property
    def in_step(self) -> bool:
        """At least one replica's feed is in step."""
        return bool(self._synced)

    async def run(self) -> None:
        """Follow every replica's feed until cancelled."""
        async with asyncio.TaskGroup() as group:
            for replica in self._backends.replicas:
                group.create_task(self._follow(replica))

    async def find(self, account_id: str, any_id: str) -> Entry:
        """Return a job by id, public id or alias. Raises NotFound, also for other accounts' jobs."""
        if self._synced:
            entry = self._mirror.find(any_id)
            if entry is not None and entry.job.account_id == account_id:
                _FROM_MIRROR.inc()
                return entry
        _FROM_JOBS.inc()
        key = jobs_pb2.JobKey(account_id=account_id, public=jobs_pb2.JobKey.PublicId(id=any_id))
        return await self._ask(key, any_id)

    def note(self, job: jobs_pb2.Job) -> Entry:
        """Take in a job that a call just returned, so that the next read sees it."""
        return self._mirror.note(job)

    async def renew(self, job: jobs_pb2.Job) -> None:
        """Forget a job that a call just changed without telling its new state, and ask for that.

        Known, it keeps out the events from before the call that may still be on their way to us.
        """
        self._mirror.apply(jobs_pb2.JobEvent(type=jobs_pb2.EVENT_TYPE_DELETED, job=job))
        key = jobs_pb2.JobKey(account_id=job.account_id, id=job.id)
        # Who reads the job next asks again: what was changed is not taken back because of this.
        with contextlib.suppress(NotFound, Unavailable, DeadlineExceeded):
            await self._ask(key, job.id)

    async def _ask(self, key: jobs_pb2.JobKey, any_id: str) -> Entry:
        jobs = self._backends.jobs
        try:
            response = await call(jobs.jobs.GetJob, jobs_pb2.GetJobRequest(key=key), jobs.channel, safe=True)
        except NotFound as error:
            raise NotFound(f"There is no job {any_id}.") from error
        return self._mirror.note(response.job)

    def leave(self) -> None:
        """End every watch: this gateway goes, and each watcher may come back to another."""
        self._leaving = True
        self._mirror.wake_all()

    async def watch(
        self, account_id: str, any_id: str, *, from_seq: int, idle: float, latest_only: bool = False
    ) -> AsyncIterator[list[jobs_pb2.JobEvent]]:
        """Yield what happened after ``from_seq`` up to the terminal event, in order.

        A list holds all that came since the one before, so a watcher that is slow gets longer
        lists, never a longer queue; it is empty after ``idle`` quiet seconds. ``latest_only`` gives
        one snapshot in place of several events. Raises NotFound.
        """
        cursor = from_seq
        entry = await self.find(account_id, any_id)
        if from_seq > 0 and not latest_only and not entry.holds_since(from_seq):
            async for event in self._catch_up(account_id, entry.job, from_seq):
                cursor = event.seq
                yield [event]
        while not self._leaving:
            entry = await self.find(account_id, any_id)
            if entry.terminal and from_seq < cursor >= entry.job.seq:
                return
            events = entry.latest(cursor) if latest_only else entry.since(cursor)
            ended = entry.terminal
            if events:
                cursor = events[-1].seq
                yield events
            if ended and cursor >= entry.job.seq:
                return
            if not events and not await self._change(entry, idle):
                yield []

    async def _catch_up(
        self, account_id: str, job: jobs_pb2.Job, from_seq: int
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """Yield the events after ``from_seq`` that `jobs` still holds and we do not, up to now."""
        key = jobs_pb2.JobKey(account_id=account_id, id=job.id)
        stream = self._backends.jobs.jobs.WatchJob(
            jobs_pb2.WatchJobRequest(key=key, from_seq=from_seq), timeout=CALL_SECONDS
        )
        try:
            async for response in stream:
                yield response.event
                if response.event.seq >= job.seq:
                    return
        except grpc.aio.AioRpcError as error:
            # The mirror goes on with a snapshot.
            self._log.warning("cannot catch up", job=job.id, code=error.code().name)
        finally:
            stream.cancel()

    async def _change(self, entry: Entry, idle: float) -> bool:
        """Wait until the entry may have changed; False after ``idle`` seconds without."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry.waiters.add(waiter)
        # Out of step, nobody wakes us: look again soon.
        wait = idle if self._synced else min(idle, _POLL_SECONDS)
        try:
            async with asyncio.timeout(wait):
                await waiter
        except TimeoutError:
            return wait < idle
        finally:
            entry.waiters.discard(waiter)
        return True

    async def _follow(self, replica: JobsBackend) -> None:
        failures = 0
        while True:
            try:
                await self._read(replica)
                failures = 0
            except grpc.aio.AioRpcError as error:
                if replica.target in self._synced:
                    failures = 0
                self._log.warning("feed lost", target=replica.target, code=error.code().name)
            finally:
                self._lose(replica)
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
            failures += 1

    async def _read(self, replica: JobsBackend) -> None:
        open_now: set[str] = set()
        stream = replica.feed.WatchFeed(jobs_pb2.WatchFeedRequest(), wait_for_ready=True)
        async for response in stream:
            item = response.WhichOneof("item")
            if item == "synced":
                if not self._synced:
                    self._mirror.forget(keep_open=open_now)
                self._synced.add(replica.target)
                _SYNCED.set(len(self._synced))
                self._log.info("feed in step", target=replica.target, jobs=len(self._mirror))
                continue
            events = (response.event,) if item == "event" else response.events.events
            _EVENTS.inc(len(events))
            for event in events:
                entry = self._mirror.apply(event)
                if replica.target not in self._synced and not entry.terminal:
                    open_now.add(entry.job.id)

    def _lose(self, replica: JobsBackend) -> None:
        self._synced.discard(replica.target)
        _SYNCED.set(len(self._synced))
        if not self._synced:
            self._mirror.wake_all()
