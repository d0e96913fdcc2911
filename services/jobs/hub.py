"""Hold what happened to jobs lately, for everybody who watches.

A job has one ring of its last events and one signal; a watcher is a cursor into the ring. Nobody has
a queue of his own, so a watcher that stands still costs nothing and is given a snapshot when the ring has
gone past it. A feed is a cursor into one ring of all jobs' events.

Invariants: sequence numbers of a job rise, progress never falls, and nothing comes after the terminal
event but its deletion. An event that breaks one of them is not published.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from maquette.runtime.clock import Clock
from maquette.runtime.errors import Aborted, Unavailable
from services.jobs.model import EPOCH_BITS, Job, JobEvent, Progress
from services.jobs.states import TERMINAL_EVENTS, Event, Kind, State, allowed

_FEED_LIST = 64
_FINAL = TERMINAL_EVENTS | {Event.DELETED}


@dataclass(slots=True)
class _Signal:
    """Wakes everybody who waits, once for each time it is given."""

    waiting: asyncio.Future[None] | None = None

    def give(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)
        self.waiting = None

    async def wait(self) -> None:
        if self.waiting is None:
            self.waiting = asyncio.get_running_loop().create_future()
        await asyncio.shield(self.waiting)


@dataclass(slots=True)
class _Entry:
    job: Job
    ring: deque[JobEvent]
    signal: _Signal = field(default_factory=_Signal)
    forget_at: float | None = None
    dropped: int = 0
    """Sequence number of the last event that left the ring, or of the state it began with."""


class Hub:
    """The events of all jobs that are open or ended lately."""

    def __init__(
        self, clock: Clock, *, ring: int = 128, feed_ring: int = 8192, keep_seconds: float = 120.0
    ) -> None:
        self._clock = clock
        self._ring = ring
        self._keep = keep_seconds
        self._jobs: dict[str, _Entry] = {}
        self._ending: deque[tuple[float, str]] = deque()
        self._feed: deque[tuple[int, bool, JobEvent]] = deque(maxlen=feed_ring)
        self._feed_count = 0
        self._feed_signal = _Signal()
        self._stopping = False

    def get(self, job_id: str) -> Job | None:
        """Return a job as it was after its last event; None when it is not held."""
        entry = self._jobs.get(job_id)
        return entry.job if entry else None

    def open_jobs(self) -> list[Job]:
        """Return the jobs that have not ended."""
        return [entry.job for entry in self._jobs.values() if not entry.job.terminal]

    def load(self, jobs: Iterable[Job]) -> None:
        """Take in jobs read from the ledger, where nothing newer is held."""
        for job in jobs:
            held = self._jobs.get(job.id)
            if held is None or held.job.seq < job.seq:
                entry = _Entry(job, deque(maxlen=self._ring), dropped=job.seq)
                if held is not None:
                    entry.job = job.following(held.job)
                    held.signal.give()
                self._jobs[job.id] = entry
                self._note_end(entry)

    def publish(self, kind: Event, job: Job, *, epoch: int = 0, local: bool = True) -> JobEvent | None:
        """Publish a change of a job and return the event, or None when it came too late.

        ``epoch`` is the durable number of the change; 0 for a change that is not durable. ``local``
        tells that it happened here and not at another replica.
        """
        entry = self._jobs.get(job.id)
        if entry is None:
            entry = self._jobs[job.id] = _Entry(job, deque(maxlen=self._ring))
            seq = max(1, epoch << EPOCH_BITS)
        else:
            if not _may_follow(entry.job, kind, job, epoch):
                return None
            seq = max(entry.job.seq + 1, epoch << EPOCH_BITS)
            job = job.following(entry.job)
        return self._append(entry, JobEvent(seq, kind, self._clock.now(), job.at(seq=seq)), local)

    def progress(
        self, job_id: str, progress: Progress, *, task: str = "", attempt: int = 0, fraction: float = 0.0
    ) -> JobEvent | None:
        """Publish the progress of a running job: ``fraction`` is that of the task it comes from."""
        entry = self._jobs.get(job_id)
        if entry is None or entry.job.state is not State.RUNNING:
            return None
        job = entry.job.at(progress=progress, attempt=attempt or entry.job.attempt)
        if job.tasks:
            job = job.with_task(
                task,
                state=State.RUNNING,
                started=True,
                fraction=fraction,
                message=progress.message,
                upstream_status=progress.upstream_status,
            )
        return self.publish(Event.PROGRESS, job)

    def relay(self, event: JobEvent) -> None:
        """Take over what another replica or the ledger tells, unless something newer is known."""
        entry = self._jobs.get(event.job.id)
        if entry is None:
            entry = self._jobs[event.job.id] = _Entry(event.job, deque(maxlen=self._ring))
        elif event.seq <= entry.job.seq or (entry.job.terminal and event.type is not Event.DELETED):
            return
        job = event.job.following(entry.job)
        self._append(entry, replace(event, job=job), local=False)

    async def watch(self, job_id: str, from_seq: int) -> AsyncIterator[JobEvent]:
        """Yield the events after ``from_seq``, and end after the terminal one.

        Where events are missing from the ring a SNAPSHOT stands for them. A job that is not held
        (any more) ends the stream: the caller then reads the ledger. Raises Unavailable when this
        replica stops.
        """
        cursor = from_seq
        entry = self._jobs.get(job_id)
        if entry is not None and cursor > entry.job.last_seq:
            cursor = 0  # a number we never gave: begin with the job as it is
        while (entry := self._jobs.get(job_id)) is not None:
            for event in self._after(entry, cursor):
                cursor = event.seq
                yield event
                if event.type in _FINAL or (event.type is Event.SNAPSHOT and event.job.terminal):
                    return
                break  # the ring may have moved on while the watcher took this one
            else:
                if entry.job.terminal:
                    return
                self._check_stopping()
                await entry.signal.wait()

    async def feed(self, *, own: bool = False) -> AsyncIterator[list[JobEvent] | None]:
        """Yield snapshots of every open job, None, and then all events: each list what came since the last.

        ``own`` leaves out what other replicas told. Raises Aborted when the reader falls behind,
        Unavailable when this replica stops.
        """
        cursor = self._feed_count
        jobs = self.open_jobs()
        for at in range(0, len(jobs), _FEED_LIST):
            yield [self._snapshot(job) for job in jobs[at : at + _FEED_LIST]]
        yield None
        while True:
            oldest = self._feed[0][0] if self._feed else self._feed_count
            if cursor < oldest:
                raise Aborted("the feed fell behind; watch again", reason="UNAVAILABLE")
            # Indexing a deque is quick near its ends, where a reader that keeps up is.
            position = cursor - oldest
            if position < len(self._feed):
                end = min(len(self._feed), position + _FEED_LIST)
                told = [self._feed[at] for at in range(position, end)]
                cursor += len(told)
                if events := [event for _count, local, event in told if local or not own]:
                    yield events
            else:
                self._check_stopping()
                await self._feed_signal.wait()

    def stop(self) -> None:
        """Send everybody who waits to another replica, once they have seen all there is."""
        self._stopping = True
        self._feed_signal.give()
        for entry in self._jobs.values():
            entry.signal.give()

    def _check_stopping(self) -> None:
        if self._stopping:
            raise Unavailable("this replica stops; watch again")

    def sweep(self) -> None:
        """Forget jobs that ended long ago."""
        now = self._clock.monotonic()
        while self._ending and self._ending[0][0] <= now:
            _at, job_id = self._ending.popleft()
            entry = self._jobs.get(job_id)
            if entry is not None and entry.forget_at is not None and entry.forget_at <= now:
                del self._jobs[job_id]
                entry.signal.give()

    def forget(self, job_id: str) -> None:
        """Forget a job at once; its watchers read the ledger."""
        entry = self._jobs.pop(job_id, None)
        if entry is not None:
            entry.signal.give()

    def _append(self, entry: _Entry, event: JobEvent, local: bool) -> JobEvent:
        entry.job = event.job
        if len(entry.ring) == entry.ring.maxlen:
            entry.dropped = entry.ring[0].seq
        entry.ring.append(event)
        entry.signal.give()
        self._feed.append((self._feed_count, local, event))
        self._feed_count += 1
        self._feed_signal.give()
        self._note_end(entry)
        return event

    def _note_end(self, entry: _Entry) -> None:
        if entry.job.terminal and entry.forget_at is None:
            entry.forget_at = self._clock.monotonic() + self._keep
            self._ending.append((entry.forget_at, entry.job.id))

    def _after(self, entry: _Entry, cursor: int) -> Iterable[JobEvent]:
        """Return the event to give a watcher next, if there is one."""
        if entry.job.seq <= cursor:
            return ()
        if cursor < entry.dropped:
            return (self._snapshot(entry.job),)
        # Newest first: a watcher that keeps up finds its place at once.
        following: JobEvent | None = None
        for event in reversed(entry.ring):
            if event.seq <= cursor:
                break
            following = event
        return (following,) if following else (self._snapshot(entry.job),)

    def _snapshot(self, job: Job) -> JobEvent:
        if job.terminal:
            return JobEvent(job.seq, _final_event(job), job.ended or self._clock.now(), job)
        return JobEvent(job.seq, Event.SNAPSHOT, self._clock.now(), job)


def terminal_of(job: Job, now: datetime) -> JobEvent:
    """Return the terminal event of a job that has ended, as read from the ledger."""
    return JobEvent(job.seq, _final_event(job), job.ended or now, job)


def _final_event(job: Job) -> Event:
    return Event(job.state.value)


def _may_follow(before: Job, kind: Event, after: Job, epoch: int) -> bool:
    if epoch and epoch << EPOCH_BITS <= before.seq and kind is not Event.STARTED:
        return False
    if before.terminal:
        return kind is Event.DELETED
    if kind in TERMINAL_EVENTS and epoch:
        return True  # committed: that it ran in between may have been told elsewhere only
    return before.state is after.state or allowed(Kind.JOB, before.state, after.state)
