"""Call methods of a `ByteServer`: messages and raw bytes out, raw bytes and one answer back."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from google.protobuf.message import Message
from google.rpc import status_pb2

from maquette.runtime.errors import DeadlineExceeded, Internal, MaquetteError, Unavailable
from maquette.runtime.rpc import byte_frames as frames
from maquette.runtime.rpc.interceptors import INTERNAL_HEADER, PRIVILEGED_HEADER
from maquette.runtime.rpc.listening import host_and_port
from maquette.runtime.rpc.status import from_status
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings, TlsSettings
from maquette.runtime.telemetry import trace_context

_CONNECT_SECONDS = 5.0
_MOST_UNSENT = 1 << 20
# Bytes that came and that nobody has taken yet; then the other side has to wait.
_MOST_UNREAD = 512 << 10

Response = TypeVar("Response", bound=Message)
Piece = bytes | memoryview


class ByteClient:
    """Opens calls to one address."""

    def __init__(self, settings: Settings, target: str, *, privileged: bool = False) -> None:
        """Prepare; nothing is dialled. ``privileged`` (gateway, jobs, storage only) opens every blob."""
        self._target = target
        self._metadata = {INTERNAL_HEADER: load_secret(settings, "internal").decode()}
        if privileged:
            self._metadata[PRIVILEGED_HEADER] = load_secret(settings, "privileged").decode()
        self._context = None if target.startswith("unix:") else _context(settings.tls)

    @asynccontextmanager
    async def call(self, method: str, *, timeout: float | None) -> AsyncIterator[ByteCall]:
        """Call ``/package.Service/Method``; leaving the block before the answer cancels the call.

        ``timeout`` (s) is for the whole call. Raises Unavailable when nobody is there.
        """
        call = ByteCall()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._connect(call)
        except (OSError, TimeoutError) as error:
            raise Unavailable("the service is away") from error
        loop = asyncio.get_running_loop()
        expiry = None if timeout is None else loop.call_later(timeout, call.expire)
        try:
            call.begin(method, {**self._metadata, **dict(trace_context(()))})
            yield call
        finally:
            if expiry:
                expiry.cancel()
            call.close()

    async def _connect(self, call: ByteCall) -> None:
        loop = asyncio.get_running_loop()
        if self._target.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            # Room for a chunk on its way: by default both sides wake for every 200 KiB.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_UNSENT)
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, self._target.removeprefix("unix:"))
            except BaseException:
                connection.close()
                raise
            await loop.create_unix_connection(lambda: call, sock=connection)
            return
        host, port = host_and_port(self._target)
        await loop.create_connection(lambda: call, host, port, ssl=self._context)


def _context(tls: TlsSettings) -> ssl.SSLContext | None:
    if not (tls.certificate and tls.key and tls.authority):
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(tls.authority))
    context.load_cert_chain(tls.certificate, tls.key)
    return context


class ByteCall(asyncio.Protocol):
    """One call. Every method raises the error the other side answered with, as soon as it is here."""

    def __init__(self) -> None:
        self._unpacker = frames.Unpacker()
        self._unread: list[Piece] = []
        self._unread_bytes = 0
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        # An answer that nobody comes to hear is no fault.
        self._answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        self._writable: asyncio.Future[None] | None = None

    def begin(self, method: str, metadata: dict[str, str]) -> None:
        """Send the first frame."""
        self._transport.write(frames.write_open(method, metadata))

    async def send(self, message: Message) -> None:
        """Send a message."""
        await self._write([frames.frame(frames.Kind.MESSAGE, message.SerializeToString())])

    async def send_bytes(self, pieces: Sequence[Piece]) -> None:
        """Send bytes; waits while the other side is behind. The pieces must not change afterwards."""
        for chunk in _chunks(pieces):
            await self._write([frames.frame_head(frames.Kind.CHUNK, sum(map(len, chunk))), *chunk])

    async def receive_bytes(self) -> Sequence[Piece]:
        """Wait for bytes and return what has come, at most about 512 KiB; nothing after the last.

        Raises the error that the other side ended with, and Unavailable when the stream broke.
        """
        while not self._unread and not self._answer.done():
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if not self._unread:
            await self._answer
        pieces, self._unread, self._unread_bytes = self._unread, [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return pieces

    async def finish(self, response: type[Response]) -> Response:
        """Wait for the answer."""
        return response.FromString(await self._answer)

    def expire(self) -> None:
        """End the call for having taken too long."""
        self._fail(DeadlineExceeded("the call took too long"))
        self._transport.abort()

    def close(self) -> None:
        """Close the connection: a call that has no answer yet is cancelled."""
        self._fail(Unavailable("the call was cancelled"))
        self._transport.abort()

    async def _write(self, pieces: list[Piece]) -> None:
        if self._answer.done():
            # Before everything was sent: it is a refusal.
            await self._answer
            raise Internal("the call was answered too early")
        self._transport.writelines(pieces)
        if self._writable is not None:
            await self._writable
            if self._answer.done():
                await self._answer

    def _fail(self, error: MaquetteError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
        self.resume_writing()
        self._wake_reader()

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_MOST_UNSENT)

    def pause_writing(self) -> None:
        """Let senders wait."""
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let senders go on."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take in chunks and the answer."""
        if self._answer.done():
            return
        try:
            for kind, payload in self._unpacker.feed(data):
                self._take(kind, payload)
        except frames.BadFrame:
            self._fail(Unavailable("the other side speaks another protocol"))
        if self._unread_bytes >= _MOST_UNREAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake_reader()

    def _take(self, kind: frames.Kind, payload: Piece) -> None:
        if kind is frames.Kind.CHUNK:
            self._unread.append(payload)
            self._unread_bytes += len(payload)
        elif self._answer.done():
            raise frames.BadFrame("a call is answered once")
        elif kind is frames.Kind.RESPONSE:
            self._answer.set_result(bytes(payload))
        elif kind is frames.Kind.ERROR:
            status = status_pb2.Status.FromString(bytes(payload))
            self._fail(from_status(status) or Internal(status.message))
        else:
            raise frames.BadFrame("not an answer")

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits that no answer will come."""
        self._fail(Unavailable("the stream broke"))


def _chunks(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Gather pieces to chunks of at most the size of a frame."""
    chunks: list[list[Piece]] = [[]]
    room = frames.MAX_CHUNK_BYTES
    for piece in pieces:
        view = memoryview(piece)
        while view:
            if not room:
                chunks.append([])
                room = frames.MAX_CHUNK_BYTES
            part, view = view[:room], view[room:]
            chunks[-1].append(part)
            room -= len(part)
    return [chunk for chunk in chunks if chunk]
