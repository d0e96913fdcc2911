"""One accepted connection of a byte stream: awaited on the event loop, read in threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct

from maquette.runtime.errors import Cancelled, DeadlineExceeded
from maquette.runtime.rpc import byte_frames as frames

# What has begun must come on: a thread waits for the rest of a frame.
_STALL_SECONDS = 10
# How long a caller may go on sending after its answer, before its connection is cut.
_LINGER_SECONDS = 5.0
_DROP_BYTES = 256 << 10


class Wire:
    """A socket that blocks, for at most ten seconds a read or a write."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        limit = struct.pack("@ll", _STALL_SECONDS, 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, limit)
        self._socket = connection
        self._secure = False

    def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands (blocking). Raises OSError."""
        self._socket = context.wrap_socket(self._socket, server_side=True)
        self._secure = True

    def read(self, view: memoryview) -> None:
        """Fill a buffer (blocking).

        Raises Cancelled when the caller has gone, DeadlineExceeded for one that stands still.
        """
        flags = 0 if self._secure else socket.MSG_WAITALL
        while view:
            try:
                count = self._socket.recv_into(view, len(view), flags)
            except (BlockingIOError, ssl.SSLWantReadError) as error:
                raise DeadlineExceeded("the stream stopped in the middle of a frame") from error
            except OSError as error:
                raise Cancelled("the caller has gone") from error
            if not count:
                raise Cancelled("the caller has gone")
            view = view[count:]

    async def next_frame(self) -> tuple[frames.Kind, bytes | int]:
        """Return the next frame: a message with what it holds, a chunk with its length.

        Raises BadFrame, and what `read` raises.
        """
        if not self._begun():
            await self._readable()
        head = await self._take(frames.HEAD_BYTES)
        kind, length = frames.read_head(head)
        return kind, length if kind is frames.Kind.CHUNK else await self._take(length)

    def send(self, frame: bytes) -> None:
        """Send a frame (blocking). A caller that has gone is none the worse."""
        with contextlib.suppress(OSError):
            self._socket.sendall(frame)

    async def linger(self) -> None:
        """Drop what still comes until the caller closes: closed at once, it might not see its answer."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._readable()
                while os.read(self._socket.fileno(), _DROP_BYTES):
                    await self._readable()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _begun(self) -> bool:
        """Tell whether a frame has begun that the socket itself does not tell of any more."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    async def _take(self, length: int) -> bytes:
        """Return bytes that come at once or nearly so."""
        if not self._secure:
            # Mostly they are here: no need to trouble a thread.
            try:
                there = self._socket.recv(length, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                if len(there) == length:
                    return self._socket.recv(length)
            except BlockingIOError:
                pass
            except OSError as error:
                raise Cancelled("the caller has gone") from error
        buffer = bytearray(length)
        await asyncio.to_thread(self.read, memoryview(buffer))
        return bytes(buffer)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        number = self._socket.fileno()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(number, wake)
        try:
            await ready
        finally:
            loop.remove_reader(number)
            # libuv makes what it polls non-blocking.
            os.set_blocking(number, True)
