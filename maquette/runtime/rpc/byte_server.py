"""Serve streams whose bytes go over a socket of their own, beside the gRPC server.

gRPC's Python takes each chunk through five copies and several tasks on either side. Here a thread
receives, hashes and writes in one buffer, or reads, hashes and sends. What a method gets is what it gets
from gRPC: an iterator of parts or one request, and a context with metadata; who may call is checked by
the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.message import DecodeError, Message

from maquette.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MaquetteError,
    Unauthenticated,
)
from maquette.runtime.rpc import byte_frames as frames
from maquette.runtime.rpc.bounds import validate
from maquette.runtime.rpc.byte_outflow import Outflow, Source
from maquette.runtime.rpc.byte_wire import Wire
from maquette.runtime.rpc.interceptors import INTERNAL_HEADER
from maquette.runtime.rpc.listening import listen
from maquette.runtime.rpc.status import to_status
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings, TlsSettings
from maquette.runtime.telemetry import get_logger, server_span

_OPEN_SECONDS = 10.0
_LONGEST_MESSAGE = 2000


class Incoming:
    """Bytes of a chunk that are still to be received; whoever is given them must, before the next part."""

    def __init__(self, wire: Wire, length: int) -> None:
        self._wire = wire
        self._length = self.left = length

    def __len__(self) -> int:
        return self._length

    def read_into(self, buffer: memoryview) -> memoryview:
        """Receive the next bytes (blocking) and return the part of the buffer that holds them."""
        part = buffer[: self.left]
        self._wire.read(part)
        self.left -= len(part)
        return part


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a stream, in the form of a message whose part they are."""

    chunk: Incoming

    def WhichOneof(self, oneof_group: Literal["part"], /) -> str:  # noqa: N802 — protobuf's name
        """Name the part that is set."""
        return "chunk"


@dataclass(frozen=True, slots=True)
class Caller:
    """The context of a call, as far as methods look at it."""

    metadata: Mapping[str, str]

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return what the caller says about itself."""
        return tuple(self.metadata.items())


@dataclass(frozen=True, slots=True)
class ClientStream:
    """A method that takes messages and bytes, and answers with one message."""

    message: type[Message]
    serve: Callable[[AsyncIterator[Any], Any], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class ServerStream:
    """A method that takes one message and answers with bytes."""

    message: type[Message]
    open: Callable[[Any, Any], Awaitable[Source]]


Method = ClientStream | ServerStream


class ByteServer:
    """Serves methods at one address."""

    def __init__(
        self, settings: Settings, methods: Mapping[str, Method], threads: Executor | None = None
    ) -> None:
        """Take ``methods`` by full name (``/package.Service/Method``); ``threads`` read what is sent."""
        self._methods = methods
        self._threads = threads
        self._secret = load_secret(settings, "internal")
        self._tls = settings.tls
        self._drain_seconds = settings.drain_seconds
        self._calls: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    async def start(self, target: str) -> None:
        """Serve at ``unix:<path>`` (0600) or ``host:port``."""
        context = None if target.startswith("unix:") else await asyncio.to_thread(_context, self._tls)
        listening = listen(target)
        listening.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(listening, context))

    async def drain(self) -> None:
        """Take no more calls, let those end that run, then cut them off."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._calls:
            await asyncio.wait(self._calls, timeout=self._drain_seconds)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        with listening:
            while True:
                try:
                    connection, _address = await asyncio.get_running_loop().sock_accept(listening)
                except OSError as error:
                    # Out of descriptors, for one: those that are open go on, and end.
                    get_logger().error("cannot accept", exc_info=error)
                    await asyncio.sleep(0.1)
                    continue
                call = asyncio.create_task(self._converse(Wire(connection), context))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)

    async def _converse(self, wire: Wire, context: ssl.SSLContext | None) -> None:
        try:
            if context is not None:
                # Who only connects keeps no thread.
                async with asyncio.timeout(_OPEN_SECONDS):
                    await wire.readable()
                await asyncio.to_thread(wire.secure, context)
            answer = await self._answer(wire)
            # Behind the chunks of a caller that takes its time.
            await wire.writable()
            await asyncio.to_thread(wire.send, answer)
            await wire.linger()
        except (OSError, frames.BadFrame, MaquetteError) as error:
            get_logger().warning("not a byte stream of ours", why=repr(error))
        finally:
            wire.close()

    async def _answer(self, wire: Wire) -> bytes:
        """Serve the one call and return the frame that answers it."""
        async with asyncio.timeout(_OPEN_SECONDS):
            kind, payload = await wire.next_frame()
        if kind is not frames.Kind.OPEN or not isinstance(payload, bytes):
            raise frames.BadFrame("not the beginning of a call")
        name, metadata = frames.read_open(payload)
        try:
            if not hmac.compare_digest(metadata.get(INTERNAL_HEADER, "").encode(), self._secret):
                raise Unauthenticated("this address serves the mesh only")
            method = self._methods.get(name)
            if method is None:
                raise InvalidArgument("no such method")
            with server_span(name, metadata.get("traceparent", "")):
                payload = await self._serve(wire, method, Caller(metadata))
        except frames.BadFrame:
            raise
        except MaquetteError as error:
            return _error(error)
        except Exception as error:  # noqa: BLE001 — this is where errors end
            get_logger().error("call failed", method=name, exc_info=error)
            return _error(Internal("internal error"))
        return frames.frame(frames.Kind.RESPONSE, payload)

    async def _serve(self, wire: Wire, method: Method, caller: Caller) -> bytes:
        """Serve a call and return the message that answers it; a server stream has none."""
        if isinstance(method, ClientStream):
            async with contextlib.aclosing(_parts(wire, method.message)) as parts:
                return (await method.serve(parts, caller)).SerializeToString()
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                kind, payload = await wire.next_frame()
        except TimeoutError as error:
            raise DeadlineExceeded("no request came") from error
        if kind is not frames.Kind.MESSAGE or not isinstance(payload, bytes):
            raise frames.BadFrame("a server stream begins with its request")
        request = _message(method.message, payload)
        validate(request)
        await Outflow(wire, await method.open(request, caller)).run(self._threads)
        return b""


async def _parts(wire: Wire, message: type[Message]) -> AsyncGenerator[Any, None]:
    while True:
        kind, payload = await wire.next_frame()
        if isinstance(payload, int):
            chunk = Incoming(wire, payload)
            yield Chunk(chunk)
            if chunk.left:
                raise Internal("a chunk was not received")
        elif kind is frames.Kind.MESSAGE:
            yield _message(message, payload)
        else:
            raise frames.BadFrame("a call is opened once")


def _message(kind: type[Message], payload: bytes) -> Message:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise frames.BadFrame("not a message of this method") from error


def _error(error: MaquetteError) -> bytes:
    error.message = error.message[:_LONGEST_MESSAGE]
    return frames.frame(frames.Kind.ERROR, to_status(error).SerializeToString())


def _context(tls: TlsSettings) -> ssl.SSLContext | None:
    if not (tls.certificate and tls.key and tls.authority):
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.authority))
    context.load_cert_chain(tls.certificate, tls.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
