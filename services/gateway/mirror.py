"""What the gateway knows of jobs without asking: their last state and their last events.

Pure: fed with events, read by watchers, no I/O. The feed keeps it fresh (`feed.py`); whoever
reads it asks first whether it is in step.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from maquette.api.jobs.v1 import jobs_pb2

TERMINAL = frozenset(
    (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED),
)
_ENDINGS = frozenset(
    (jobs_pb2.EVENT_TYPE_SUCCEEDED, jobs_pb2.EVENT_TYPE_FAILED, jobs_pb2.EVENT_TYPE_CANCELLED)
)


@dataclass(slots=True)
class Entry:
    """One job as it was last heard of."""

    job: jobs_pb2.Job
    events: deque[jobs_pb2.JobEvent]
    """The last events, oldest first; a snapshot heads them where earlier ones are not held."""
    waiters: set[asyncio.Future[None]] = field(default_factory=set)
    written: dict[str, bytes] = field(default_factory=dict)
    """Answers made from this state, by the name of their writer; dropped when it changes."""

    @property
    def terminal(self) -> bool:
        """The job has ended."""
        return self.job.state in TERMINAL

    def since(self, seq: int) -> list[jobs_pb2.JobEvent]:
        """Return the events after ``seq``: all of them, or a snapshot where some are not held.

        A watcher that saw everything of an ended job gets its last event again.
        """
        held = [event for event in self.events if event.seq > seq]
        if held and seq > 0 and self.holds_since(seq):
            return held
        if not held and not self.terminal and seq >= self.job.seq:
            return []
        return [self.snapshot()]

    def holds_since(self, seq: int) -> bool:
        """Tell whether every event after ``seq`` is held."""
        return bool(self.events) and (self.events[0].seq <= seq + 1 or seq >= self.job.seq)

    def latest(self, seq: int) -> list[jobs_pb2.JobEvent]:
        """Return the state as one snapshot if anything happened after ``seq``."""
        return [self.snapshot()] if self.job.seq > seq or self.terminal else []

    def snapshot(self) -> jobs_pb2.JobEvent:
        """Return the state now; of an ended job, its terminal event where it is held."""
        for event in reversed(self.events):
            if event.type in _ENDINGS and event.seq == self.job.seq:
                return event
        return jobs_pb2.JobEvent(seq=self.job.seq, type=jobs_pb2.EVENT_TYPE_SNAPSHOT, job=self.job)

    def wake(self) -> None:
        """Let everybody look who waits for a change."""
        waiters, self.waiters = self.waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Mirror:
    """Jobs by id: every open one, and the ended ones used last."""

    def __init__(self, *, kept_jobs: int, kept_events: int) -> None:
        self._kept_jobs = kept_jobs
        self._kept_events = kept_events
        self._open: dict[str, Entry] = {}
        self._ended: OrderedDict[str, Entry] = OrderedDict()
        self._by_public_id: dict[str, str] = {}
        self._deleted: OrderedDict[str, int] = OrderedDict()
        """By job id, the least sequence number that is news after its deletion."""

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    def find(self, any_id: str) -> Entry | None:
        """Return the entry of a job named by its id or public id."""
        job_id = self._by_public_id.get(any_id, any_id)
        entry = self._open.get(job_id)
        if entry is None and (entry := self._ended.get(job_id)) is not None:
            self._ended.move_to_end(job_id)
        return entry

    def note(self, job: jobs_pb2.Job) -> Entry:
        """Take in a job read or made elsewhere, unless something newer is known."""
        event = jobs_pb2.JobEvent(seq=job.seq, type=jobs_pb2.EVENT_TYPE_SNAPSHOT, job=job)
        return self.apply(event)

    def apply(self, event: jobs_pb2.JobEvent) -> Entry:
        """Take in an event; one that is not newer than what is known changes nothing."""
        job = event.job
        entry = self._open.get(job.id) or self._ended.get(job.id)
        if event.type == jobs_pb2.EVENT_TYPE_DELETED:
            return self._forget_one(event)
        if job.seq < self._deleted.get(job.id, 0):
            # Read before the deletion, answered after it.
            return Entry(job, deque((event,)))
        if entry is None:
            entry = Entry(job, deque((event,), maxlen=self._kept_events))
            self._by_public_id[job.public_id] = job.id
        elif job.seq <= entry.job.seq:
            return entry
        else:
            if event.type == jobs_pb2.EVENT_TYPE_SNAPSHOT:
                # What lies between is not held, so nothing before may be either.
                entry.events.clear()
            entry.job = job
            entry.events.append(event)
            entry.written.clear()
        self._file(entry)
        entry.wake()
        return entry

    def forget(self, keep_open: set[str]) -> None:
        """Drop ended jobs, and open ones not in ``keep_open``: what happened to them was missed."""
        for job_id in [job_id for job_id in self._open if job_id not in keep_open]:
            self._drop(self._open.pop(job_id))
        while self._ended:
            self._drop(self._ended.popitem()[1])

    def wake_all(self) -> None:
        """Let every watcher look again."""
        for entry in self._entries():
            entry.wake()

    def _forget_one(self, event: jobs_pb2.JobEvent) -> Entry:
        """Drop a job whose result or whole self was deleted: only `jobs` knows which."""
        job = event.job
        self._deleted[job.id] = max(self._deleted.get(job.id, 0), event.seq or job.seq + 1)
        if len(self._deleted) > self._kept_jobs:
            self._deleted.popitem(last=False)
        entry = self._open.pop(job.id, None) or self._ended.pop(job.id, None)
        if entry is not None:
            self._drop(entry)
        return Entry(job, deque())

    def _entries(self) -> Iterator[Entry]:
        yield from self._open.values()
        yield from self._ended.values()

    def _file(self, entry: Entry) -> None:
        job_id = entry.job.id
        if not entry.terminal:
            self._open[job_id] = entry
            return
        self._open.pop(job_id, None)
        self._ended[job_id] = entry
        self._ended.move_to_end(job_id)
        while len(self._ended) > self._kept_jobs:
            self._drop(self._ended.popitem(last=False)[1])

    def _drop(self, entry: Entry) -> None:
        self._by_public_id.pop(entry.job.public_id, None)
        entry.wake()
