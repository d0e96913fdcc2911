from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.runtime.errors import Aborted
from services.jobs.hub import Hub
from services.jobs.model import JobEvent, Progress
from services.jobs.states import TERMINAL_EVENTS, Event, State
from tests.unit.jobs.values import HeldClock, make_job


def _hub(**more: float) -> Hub:
    return Hub(HeldClock(), **more)  # type: ignore[arg-type]


async def _all(hub: Hub, from_seq: int = 0) -> list[JobEvent]:
    return [event async for event in hub.watch("job", from_seq)]


def _run(hub: Hub, ticks: int = 5) -> None:
    hub.publish(Event.QUEUED, make_job(), epoch=1)
    hub.publish(Event.STARTED, make_job(state=State.RUNNING), epoch=2)
    for n in range(ticks):
        hub.progress("job", Progress(n / ticks))


def _succeed(hub: Hub, epoch: int = 3) -> None:
    hub.publish(
        Event.SUCCEEDED,
        make_job(state=State.SUCCEEDED, progress=Progress(1.0), ended=HeldClock().now()),
        epoch=epoch,
    )


async def test_a_watcher_sees_every_event_and_the_terminal_one_last() -> None:
    hub = _hub()
    _run(hub)
    watching = asyncio.create_task(_all(hub))
    await asyncio.sleep(0)
    _succeed(hub)
    events = await watching
    kinds = [event.type for event in events]
    assert kinds == [Event.QUEUED, Event.STARTED] + [Event.PROGRESS] * 5 + [Event.SUCCEEDED]
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1 << 20 and numbers[-1] == 3 << 20


async def test_a_watcher_that_resumes_sees_every_later_event() -> None:
    hub = _hub()
    _run(hub)
    _succeed(hub)
    events = await _all(hub)
    for n, event in enumerate(events):
        assert await _all(hub, event.seq) == events[n + 1 :]


async def test_a_snapshot_stands_for_events_that_are_gone() -> None:
    hub = _hub(ring=4)
    _run(hub, ticks=50)
    watching = asyncio.create_task(_all(hub, from_seq=1 << 20))
    await asyncio.sleep(0)
    _succeed(hub)
    events = await watching
    assert events[0].type is Event.SNAPSHOT
    assert events[0].job.progress.fraction == pytest.approx(0.98)
    assert events[-1].type is Event.SUCCEEDED


async def test_a_job_that_ended_is_told_by_its_terminal_event_even_when_the_rest_is_gone() -> None:
    hub = _hub(ring=1)
    _run(hub)
    _succeed(hub)
    assert [event.type for event in await _all(hub)] == [Event.SUCCEEDED]


async def test_a_number_never_given_begins_with_the_job_as_it_is() -> None:
    hub = _hub()
    _run(hub)
    _succeed(hub)
    assert (await _all(hub, from_seq=1 << 60))[-1].type is Event.SUCCEEDED


async def test_a_watcher_that_saw_more_of_an_epoch_than_a_restart_knows_waits_for_the_next() -> None:
    hub = _hub()
    _run(hub)
    hub.load([])
    watching = asyncio.create_task(_all(hub, from_seq=(2 << 20) + 1000))
    await asyncio.sleep(0)
    _succeed(hub)
    assert [event.type for event in await watching] == [Event.SUCCEEDED]


async def test_nothing_follows_the_terminal_event_but_deletion() -> None:
    hub = _hub()
    _run(hub)
    _succeed(hub)
    assert hub.progress("job", Progress(0.5)) is None
    assert hub.publish(Event.FAILED, make_job(state=State.FAILED), epoch=9) is None
    assert hub.publish(Event.DELETED, make_job(state=State.SUCCEEDED), epoch=9) is not None


async def test_a_late_durable_event_is_dropped() -> None:
    hub = _hub()
    hub.publish(Event.QUEUED, make_job(), epoch=1)
    hub.publish(Event.STARTED, make_job(state=State.RUNNING), epoch=4)
    assert hub.publish(Event.REQUEUED, make_job(state=State.QUEUED), epoch=3) is None
    held = hub.get("job")
    assert held is not None and held.state is State.RUNNING


@given(
    fractions=st.lists(st.floats(0, 1), max_size=30),
    requeues=st.sets(st.integers(0, 29), max_size=5),
    ring=st.integers(1, 40),
)
def test_progress_rises_and_the_end_comes_once(fractions: list[float], requeues: set[int], ring: int) -> None:
    hub = _hub(ring=ring)
    epoch = 2
    hub.publish(Event.QUEUED, make_job(), epoch=1)
    hub.publish(Event.STARTED, make_job(state=State.RUNNING), epoch=2)
    for n, fraction in enumerate(fractions):
        if n in requeues:
            epoch += 2
            hub.publish(Event.REQUEUED, make_job(), epoch=epoch - 1)
            hub.publish(Event.STARTED, make_job(state=State.RUNNING), epoch=epoch)
        hub.progress("job", Progress(fraction))
    _succeed(hub, epoch + 1)
    _succeed(hub, epoch + 2)
    events = asyncio.run(_all(hub))
    shown = [event.job.progress.fraction for event in events]
    assert shown == sorted(shown) and shown[-1] == 1.0
    assert [event.type for event in events if event.type in TERMINAL_EVENTS] == [Event.SUCCEEDED]
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))


async def test_a_stalled_watcher_costs_less_than_64_kb() -> None:
    hub = _hub(ring=128)
    _run(hub)
    stalled = [hub.watch("job", 0) for _ in range(50)]
    for watcher in stalled:
        await anext(watcher)
    for n in range(200):
        hub.progress("job", Progress(0.9), attempt=n)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(2000):
        hub.progress("job", Progress(0.95, message=f"{n}" * 10), attempt=n)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # One ring for all of them and the feed's own ring; nothing for each.
    assert grown / len(stalled) < 64 << 10
    for watcher in stalled:
        assert (await anext(watcher)).type is Event.SNAPSHOT
        await watcher.aclose()  # type: ignore[attr-defined]


async def test_a_feed_begins_with_open_jobs_and_then_tells_everything() -> None:
    hub = _hub()
    _run(hub, ticks=1)
    hub.publish(Event.QUEUED, make_job("other"), epoch=1)
    feed = hub.feed()
    first = await anext(feed)
    assert first is not None and {event.job.id for event in first} == {"job", "other"}
    assert await anext(feed) is None
    _succeed(hub)
    told = await anext(feed)
    assert told is not None and [event.type for event in told] == [Event.SUCCEEDED]


async def test_a_feed_tells_at_once_all_that_came_meanwhile() -> None:
    hub = _hub()
    feed = hub.feed()
    assert await anext(feed) is None
    for number in range(100):
        hub.publish(Event.QUEUED, make_job(f"job {number}"), epoch=1)
    told = [await anext(feed) for _ in range(2)]
    assert [event.job.id for some in told for event in some or ()] == [f"job {n}" for n in range(100)]


async def test_a_feed_that_falls_behind_is_ended() -> None:
    hub = _hub(feed_ring=10)
    feed = hub.feed()
    assert await anext(feed) is None
    _run(hub, ticks=30)
    with pytest.raises(Aborted):
        await anext(feed)


async def test_what_another_replica_told_is_not_told_back() -> None:
    hub, other = _hub(), _hub()
    event = other.publish(Event.QUEUED, make_job(), epoch=1)
    assert event is not None
    own, whole = hub.feed(own=True), hub.feed()
    assert await anext(own) is None and await anext(whole) is None
    hub.relay(event)
    hub.publish(Event.QUEUED, make_job("mine"), epoch=1)
    told = await anext(own)
    assert told is not None and [event.job.id for event in told] == ["mine"]
    heard = await anext(whole)
    assert heard is not None and [event.job.id for event in heard] == ["job", "mine"]


async def test_ended_jobs_are_forgotten_after_a_while() -> None:
    clock = HeldClock()
    hub = Hub(clock, keep_seconds=10)
    _run(hub)
    _succeed(hub)
    hub.sweep()
    assert hub.get("job") is not None
    clock.seconds = 11
    hub.sweep()
    assert hub.get("job") is None
