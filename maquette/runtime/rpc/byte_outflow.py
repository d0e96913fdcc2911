"""The bytes of one answer on their way out: read and sent by threads, waited for by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

from maquette.runtime.rpc import byte_frames as frames
from maquette.runtime.rpc.byte_wire import Wire

# Read, hashed and sent while it is in the processor's cache.
_PIECE_BYTES = 256 << 10
# Then another answer has its turn at the threads.
_TURN_BYTES = 16 << 20


class Source(Protocol):
    """What chunks are read from, by one thread at a time."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes (blocking); empty at the end."""

    def close(self) -> None:
        """Give back what is held (blocking)."""


class Outflow:
    """Sends a source as chunks.

    At most two pieces are in memory, and a caller that is behind keeps no thread. Each piece is sent after
    the next one was read: of a source that fails at its end the last piece never goes out.
    """

    def __init__(self, wire: Wire, source: Source) -> None:
        self._wire = wire
        self._source = source
        self._ahead: bytes | None = None
        self._unsent: Sequence[memoryview] = ()

    async def run(self, threads: Executor | None) -> None:
        """Send everything. Raises what the source raises, and Cancelled when the caller has gone.

        However it ends, the source is closed and no thread is at it or at the wire.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] | None = None
        try:
            while True:
                turn = loop.run_in_executor(threads, self._send_some)
                if await asyncio.shield(turn):
                    return
                await self._wire.writable()
        finally:
            # A descriptor that is closed under a thread is somebody else's at once.
            if turn is not None:
                await asyncio.wait({turn})
            await asyncio.shield(loop.run_in_executor(threads, self._source.close))

    def _send_some(self) -> bool:
        """Send; False while there is more, but the caller is behind or had its turn (blocking)."""
        left = _TURN_BYTES
        while left > 0:
            if not self._unsent:
                piece = self._next()
                if not piece:
                    return True
                left -= len(piece)
                head = frames.frame_head(frames.Kind.CHUNK, len(piece))
                self._unsent = (memoryview(head), memoryview(piece))
            self._unsent = self._wire.offer(self._unsent)
            if self._unsent:
                return False
        return False

    def _next(self) -> bytes:
        piece = self._source.read(_PIECE_BYTES) if self._ahead is None else self._ahead
        self._ahead = self._source.read(_PIECE_BYTES) if piece else b""
        return piece
