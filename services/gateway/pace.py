"""A body must keep coming: a client that drips bytes holds a place that others need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from maquette.runtime.errors import DeadlineExceeded
from maquette.runtime.settings import GatewaySettings

_Piece = TypeVar("_Piece")


async def paced(
    body: AsyncIterator[_Piece], size: Callable[[_Piece], int], limits: GatewaySettings
) -> AsyncIterator[_Piece]:
    """Yield a body's pieces as they come; ``size`` tells the bytes of one.

    Only the time spent waiting counts: what we do with a piece is not held against the client. Raises
    DeadlineExceeded (REQUEST_TOO_SLOW) when `slow_body_seconds` of waiting brought less than
    `slow_body_kib`.
    """
    if not limits.slow_body_seconds:
        async for piece in body:
            yield piece
        return
    least = limits.slow_body_kib * 1024
    clock = asyncio.get_running_loop().time
    left, came = limits.slow_body_seconds, 0
    pieces = aiter(body)
    while True:
        began = clock()
        try:
            async with asyncio.timeout(left):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise _too_slow(limits) from error
        left -= clock() - began
        came += size(piece)
        if came >= least:
            left, came = limits.slow_body_seconds, 0
        elif left <= 0:
            raise _too_slow(limits)
        yield piece


def _too_slow(limits: GatewaySettings) -> DeadlineExceeded:
    text = f"The body came slower than {limits.slow_body_kib} KiB in {limits.slow_body_seconds:g} s."
    return DeadlineExceeded(text, reason="REQUEST_TOO_SLOW")
