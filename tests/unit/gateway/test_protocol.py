"""A body passes in the pieces it came in, and a client that sends faster than we take has to wait."""

from __future__ import annotations

import asyncio

from services.gateway.edge.protocol import EdgeProtocol, _Cycle

MIB = 1 << 20


class Flow:
    """What would pause and resume the reading of a connection."""

    def __init__(self) -> None:
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Transport:
    """An open connection."""

    def is_closing(self) -> bool:
        return False


def cycle(flow: Flow) -> _Cycle:
    return _Cycle(
        scope={"type": "http", "method": "POST"},
        transport=Transport(),
        flow=flow,
        logger=None,
        access_logger=None,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )


def ended(request: _Cycle) -> None:
    """Do what the parser does when the body is over."""
    request.more_body = False
    request.message_event.set()


def piece(body: bytes, more: bool) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_pieces_come_in_order_and_the_last_one_is_told():
    request = cycle(Flow())
    request.take(b"one")
    request.take(b"two")
    assert await request.receive() == piece(b"one", True)
    ended(request)
    assert await request.receive() == piece(b"two", False)


async def test_an_end_that_comes_late_is_told_by_itself():
    request = cycle(Flow())
    request.take(b"all")
    assert await request.receive() == piece(b"all", True)
    ended(request)
    while (message := await request.receive())["more_body"]:
        assert message["body"] == b""
    assert message == piece(b"", False)


async def test_a_request_without_a_body_ends_at_once():
    request = cycle(Flow())
    ended(request)
    assert await request.receive() == piece(b"", False)


async def test_what_waits_hears_of_a_piece_and_of_a_client_that_leaves():
    request = cycle(Flow())
    waiting = asyncio.create_task(request.receive())
    await asyncio.sleep(0)
    request.take(b"at last")
    assert await waiting == piece(b"at last", True)
    request.disconnected = True
    request.message_event.set()
    assert await request.receive() == {"type": "http.disconnect"}


async def test_only_so_much_is_read_ahead():
    flow = Flow()
    request = cycle(flow)
    taken = 0
    while not flow.paused:
        request.take(bytes(256 * 1024))
        taken += 1
    assert taken == 16
    while flow.paused:
        await request.receive()
        taken -= 1
    # Not at the first piece that is taken: each change costs a call of the system.
    assert 0 < taken < 15


def test_uvicorn_makes_these_cycles():
    """Its name for the class is set from outside; a version that has another one would pass it by."""
    assert EdgeProtocol.on_headers_complete.__globals__["RequestResponseCycle"] is _Cycle
