"""The mirror never goes back in time, never grows without bound, and loses no terminal event."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.api.jobs.v1 import jobs_pb2
from services.gateway.mirror import Mirror

RUNNING, SUCCEEDED = jobs_pb2.STATE_RUNNING, jobs_pb2.STATE_SUCCEEDED
PROGRESS, DONE = jobs_pb2.EVENT_TYPE_PROGRESS, jobs_pb2.EVENT_TYPE_SUCCEEDED
SNAPSHOT, DELETED = jobs_pb2.EVENT_TYPE_SNAPSHOT, jobs_pb2.EVENT_TYPE_DELETED


def event(seq, kind=PROGRESS, state=RUNNING, job_id="a"):
    job = jobs_pb2.Job(id=job_id, public_id=f"pub-{job_id}", account_id="public", state=state, seq=seq)
    return jobs_pb2.JobEvent(seq=seq, type=kind, job=job)


def mirror(**limits):
    return Mirror(**{"kept_jobs": 8, "kept_events": 4, **limits})


def seqs(events):
    return [e.seq for e in events]


@given(st.permutations(range(1, 9)))
@settings(deadline=None)
def test_events_in_any_order_leave_the_newest_state(order):
    held = mirror()
    for seq in order:
        held.apply(event(seq))
    assert held.find("a").job.seq == 8


def test_a_job_is_found_by_both_ids():
    held = mirror()
    held.apply(event(1))
    assert held.find("a") is held.find("pub-a")
    assert held.find("b") is None


def test_a_resumed_watcher_gets_every_later_event_it_can():
    held = mirror()
    for seq in range(1, 5):
        held.apply(event(seq))
    entry = held.find("a")
    assert seqs(entry.since(1)) == [2, 3, 4]
    assert entry.since(4) == []
    assert entry.since(0)[0].type == SNAPSHOT


def test_it_knows_what_it_does_not_hold():
    held = mirror()
    for seq in (100, 200, 201, 300):
        held.apply(event(seq))
    entry = held.find("a")
    assert entry.holds_since(100)
    assert entry.holds_since(250)
    assert entry.holds_since(300)
    assert not entry.holds_since(50)


def test_events_no_longer_held_become_a_snapshot():
    held = mirror()
    for seq in range(1, 10):
        held.apply(event(seq))
    entry = held.find("a")
    assert seqs(entry.since(5)) == [6, 7, 8, 9]
    (snapshot,) = entry.since(3)
    assert (snapshot.type, snapshot.seq) == (SNAPSHOT, 9)


def test_a_snapshot_after_a_gap_hides_what_was_before():
    held = mirror()
    held.apply(event(1))
    held.apply(event(7, SNAPSHOT))
    held.apply(event(8))
    assert seqs(held.find("a").since(1)) == [8]
    assert held.find("a").since(1)[0].type == SNAPSHOT
    assert seqs(held.find("a").since(7)) == [8]


@given(st.integers(0, 12))
@settings(deadline=None)
def test_the_terminal_event_always_arrives(seen):
    held = mirror()
    for seq in range(1, 9):
        held.apply(event(seq))
    held.apply(event(9, DONE, SUCCEEDED))
    last = held.find("a").since(seen)[-1]
    assert (last.type, last.seq) == (DONE, 9)


def test_ended_jobs_are_bounded_and_open_ones_are_kept():
    held = mirror(kept_jobs=3)
    for number in range(10):
        held.apply(event(1, job_id=f"open{number}"))
        held.apply(event(1, DONE, SUCCEEDED, job_id=f"ended{number}"))
    assert len(held) == 13
    assert held.find("open0") is not None
    assert held.find("ended0") is None
    assert held.find("pub-ended9") is not None


def test_a_deleted_job_is_forgotten():
    held = mirror()
    held.apply(event(1, DONE, SUCCEEDED))
    held.apply(event(2, DELETED, SUCCEEDED))
    assert held.find("a") is None


def test_what_was_read_before_a_deletion_does_not_come_back():
    held = mirror()
    before = event(5, SNAPSHOT, SUCCEEDED)
    held.apply(before)
    # Our own call deleted it: no event has come yet that would tell a number.
    held.apply(jobs_pb2.JobEvent(type=DELETED, job=before.job))
    assert held.note(before.job).job == before.job
    assert held.find("a") is None
    held.apply(event(9, DELETED, SUCCEEDED))
    held.note(event(8, SNAPSHOT, SUCCEEDED).job)
    assert held.find("a") is None
    held.note(event(9, SNAPSHOT, SUCCEEDED).job)
    assert held.find("a") is not None


def test_what_is_known_of_deletions_is_bounded():
    held = mirror(kept_jobs=3)
    for number in range(10):
        held.apply(event(5, DELETED, SUCCEEDED, job_id=f"{number}"))
    assert len(held._deleted) == 3


def test_what_was_missed_is_asked_for_again():
    held = mirror()
    for job_id, state in (("kept", RUNNING), ("lost", RUNNING), ("ended", SUCCEEDED)):
        held.apply(event(3, SNAPSHOT, state, job_id))
    held.forget(keep_open={"kept"})
    assert held.find("kept") is not None
    assert held.find("lost") is None
    assert held.find("ended") is None


def test_answers_written_before_a_change_are_dropped():
    held = mirror()
    entry = held.apply(event(1))
    entry.written["x"] = b"old"
    held.apply(event(1))
    assert entry.written
    held.apply(event(2))
    assert not entry.written


async def test_watchers_wake_on_change_and_on_loss():
    held = mirror()
    entry = held.apply(event(1))
    loop = asyncio.get_running_loop()
    for change in (lambda: held.apply(event(2)), held.wake_all, lambda: held.forget(keep_open=set())):
        waiter = loop.create_future()
        entry.waiters.add(waiter)
        change()
        await asyncio.wait_for(waiter, 60)
