"""A body must keep coming, and what we do with it takes as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from maquette.runtime.errors import DeadlineExceeded
from maquette.runtime.settings import GatewaySettings
from services.gateway.pace import paced

LIMITS = GatewaySettings(slow_body_seconds=10, slow_body_kib=4)
KIB = 1024


class Time:
    """The loop's time, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    async def body(self, *pieces: tuple[float, int]) -> AsyncIterator[bytes]:
        """Yield pieces, each after so many seconds and of so many bytes."""
        for seconds, size in pieces:
            self.now += seconds
            yield bytes(size)


@pytest.fixture
async def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


async def taken(body: AsyncIterator[bytes], limits: GatewaySettings = LIMITS) -> int:
    return sum([len(piece) async for piece in paced(body, len, limits)])


async def test_a_slow_body_that_keeps_coming_is_taken_however_long_it_is(time):
    assert await taken(time.body(*[(4, 2 * KIB)] * 100)) == 200 * KIB


async def test_a_body_that_drips_is_refused(time):
    with pytest.raises(DeadlineExceeded) as refused:
        await taken(time.body(*[(4, 1 * KIB)] * 100))
    assert (refused.value.reason, refused.value.row.http) == ("REQUEST_TOO_SLOW", 408)


async def test_a_quick_beginning_buys_no_slow_rest(time):
    with pytest.raises(DeadlineExceeded):
        await taken(time.body((0, 1000 * KIB), *[(4, 1)] * 100))


async def test_our_own_slowness_is_not_the_clients(time):
    async for _ in paced(time.body(*[(1, KIB)] * 20), len, LIMITS):
        time.now += 3600


async def test_a_body_that_stops_is_refused_while_it_is_waited_for():
    async def stops() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded):
        await taken(stops(), GatewaySettings(slow_body_seconds=0.05))


async def test_zero_waits_for_ever(time):
    limits = GatewaySettings(slow_body_seconds=0)
    assert await taken(time.body(*[(1000, 1)] * 10), limits) == 10
