"""HTTP as uvicorn speaks it, with bodies that flow.

uvicorn gathers a body in one buffer, copies it twice, and reads at most 64 KiB ahead of the app. For an
upload each side then stood still while the other worked. Here the pieces pass as they came.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any

from uvicorn.protocols.http import httptools_impl

# As much as goes on its way at once: by default a Unix socket holds 200 KiB, and each side wakes for less.
_MOST_UNSENT = 1 << 20
# What the socket does not take yet; many slow clients at once hold as much each.
_MOST_BUFFERED = 256 << 10
# Of a body, so much is read ahead of the app.
_MOST_UNREAD = 4 << 20


class _Cycle(httptools_impl.RequestResponseCycle):
    """One request and its response."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pieces: deque[bytes] = deque()
        self._unread = 0

    def take(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(piece)
        self._unread += len(piece)
        if self._unread >= _MOST_UNREAD:
            self.flow.pause_reading()
        self.message_event.set()

    async def receive(self) -> Any:
        """Return the next piece, or that the client has gone."""
        if not self._pieces:
            message = await super().receive()
            if not self._pieces:
                return message
        piece = self._pieces.popleft()
        self._unread -= len(piece)
        if self._unread < _MOST_UNREAD // 2:
            self.flow.resume_reading()
        more = self.more_body or bool(self._pieces)
        return {"type": "http.request", "body": piece, "more_body": more}


# There is no setting for it.
httptools_impl.RequestResponseCycle = _Cycle  # type: ignore[misc]


class EdgeProtocol(httptools_impl.HttpToolsProtocol):
    """One connection of Envoy's."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the transport."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(_MOST_BUFFERED)
        connection = transport.get_extra_info("socket")
        if connection.family == socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_UNSENT)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        upgraded = self.parser.should_upgrade() and self._should_upgrade()
        if not upgraded and not self.cycle.response_complete and isinstance(self.cycle, _Cycle):
            self.cycle.take(body)
