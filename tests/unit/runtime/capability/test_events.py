"""The queue between a worker and a reader that may be slow."""

from __future__ import annotations

import asyncio

import pytest

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability.events import EventQueue
from maquette.runtime.capability.serve import slots_of
from maquette.runtime.settings import CapabilitySettings


def progress(fraction: object, stage: str = "s") -> dict[str, object]:
    return {"op": "progress", "stage": stage, "fraction": fraction, "message": "m", "eta": 1.5}


async def drain(events: EventQueue) -> list[pb.RunResponse]:
    events.close()
    found = []
    while (response := await events.next(1)) is not None:
        found.append(response)
    return found


async def test_slow_reader_gets_the_latest_progress_and_no_gap_in_numbers() -> None:
    events = EventQueue()
    events.hear(progress(0.1))
    first = await events.next(1)
    assert first is not None and first.progress.seq == 1 and first.progress.eta.nanos == 500_000_000
    for step in range(1000):
        events.hear(progress(step / 1000))
    (last,) = await drain(events)
    assert last.progress.seq == 2 and last.progress.fraction == pytest.approx(0.999)


async def test_progress_never_falls_and_nonsense_is_harmless() -> None:
    events = EventQueue()
    seen = []
    for value in (0.5, 0.2, 7, None, "x", float("nan")):
        events.hear(progress(value))
        response = await events.next(1)
        assert response is not None
        seen.append(response.progress.fraction)
    assert seen == [0.5, 0.5, 1, 1, 1, 1]


async def test_log_flood_is_bounded_and_levels_are_known_words() -> None:
    events = EventQueue()
    for _ in range(10_000):
        events.hear({"op": "log", "level": "<b>", "message": "y" * 10_000})
    found = await drain(events)
    assert len(found) <= 64 and {r.log.level for r in found} == {"info"}
    assert all(len(r.log.message) <= 2000 for r in found)


async def test_silence_is_filled_with_heartbeats_until_the_end() -> None:
    events = EventQueue()
    response = await events.next(0.01)
    assert response is not None and response.HasField("heartbeat")
    asyncio.get_running_loop().call_later(0.01, events.close)
    assert await events.next(5) is None


@pytest.mark.parametrize(("cores", "slots"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_one_slot_for_each_two_cores(cores: int, slots: int) -> None:
    assert slots_of(CapabilitySettings(), cores) == slots
    assert slots_of(CapabilitySettings(slots=5), cores) == 5
