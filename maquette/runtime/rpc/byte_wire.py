"""One accepted connection of a byte stream: awaited on the event loop, read in threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any

from maquette.runtime.errors import Cancelled, DeadlineExceeded
from maquette.runtime.rpc import byte_frames as frames

# What has begun must come on: a thread waits for the rest of a frame.
_STALL_SECONDS = 10
# How long a caller may go on sending after its answer, before its connection is cut.
_LINGER_SECONDS = 5.0
_DROP_BYTES = 256 << 10
# So much is on its way to a caller at once; by default a Unix socket holds less than one piece.
_MOST_UNSENT = 1 << 20
# A thread waits so long for a caller that is behind, before the event loop waits instead.
_PATIENCE_MS = 20


class Wire:
    """A socket that blocks, for at most ten seconds a read or a write."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        limit = struct.pack("@ll", _STALL_SECONDS, 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, limit)
        if connection.family == socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_UNSENT)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._secure = False

    def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands (blocking). Raises OSError."""
        # OpenSSL takes a read that the socket itself gave up for one to be repeated, and never returns.
        self._socket.settimeout(_STALL_SECONDS)
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
            except (BlockingIOError, TimeoutError) as error:
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
            await self.readable()
        head = await self._take(frames.HEAD_BYTES)
        kind, length = frames.read_head(head)
        return kind, length if kind is frames.Kind.CHUNK else await self._take(length)

    def offer(self, pieces: Sequence[memoryview]) -> Sequence[memoryview]:
        """Send what the caller takes without making a thread wait for long, and return the rest (blocking).

        Raises Cancelled when the caller has gone.
        """
        try:
            while pieces:
                try:
                    pieces = _after(pieces, self._send_some(pieces))
                except (BlockingIOError, ssl.SSLWantWriteError):
                    if not self._wait_for_room():
                        break
        except OSError as error:
            raise Cancelled("the caller has gone") from error
        return pieces

    def _send_some(self, pieces: Sequence[memoryview]) -> int:
        if not self._secure:
            return self._socket.sendmsg(pieces, (), socket.MSG_DONTWAIT)
        # Whoever sends does nothing else with this socket.
        self._socket.settimeout(0)
        try:
            return self._socket.send(pieces[0])
        finally:
            self._socket.settimeout(_STALL_SECONDS)

    def _wait_for_room(self) -> bool:
        ready = select.poll()
        ready.register(self._socket, select.POLLOUT)
        return bool(ready.poll(_PATIENCE_MS))

    async def readable(self) -> None:
        """Wait until something has come, or the caller has gone."""
        loop = asyncio.get_running_loop()
        await self._ready(loop.add_reader, loop.remove_reader)

    async def writable(self) -> None:
        """Wait until the caller takes more, or has gone."""
        loop = asyncio.get_running_loop()
        await self._ready(loop.add_writer, loop.remove_writer)

    def send(self, frame: bytes) -> None:
        """Send a frame (blocking). A caller that has gone is none the worse."""
        with contextlib.suppress(OSError):
            self._socket.sendall(frame)

    async def linger(self) -> None:
        """Drop what still comes until the caller closes: closed at once, it might not see its answer."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self.readable()
                while os.read(self._socket.fileno(), _DROP_BYTES):
                    await self.readable()

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

    async def _ready(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = self._socket.fileno()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        add(number, wake)
        try:
            await ready
        finally:
            remove(number)
            if not self._secure:
                # libuv makes what it polls non-blocking.
                os.set_blocking(number, True)


def _after(pieces: Sequence[memoryview], count: int) -> Sequence[memoryview]:
    """Return what is left of pieces after ``count`` bytes."""
    for index, piece in enumerate(pieces):
        if count < len(piece):
            return (piece[count:], *pieces[index + 1 :])
        count -= len(piece)
    return ()
