"""What a stream of bytes from a server promises: all of them or an error, and nothing left open or held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MaquetteError,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from maquette.runtime.rpc import byte_frames as frames
from maquette.runtime.rpc import byte_server
from maquette.runtime.rpc.byte_client import ByteCall, ByteClient
from maquette.runtime.rpc.byte_server import ByteServer, ServerStream
from maquette.runtime.rpc.interceptors import INTERNAL_HEADER
from maquette.runtime.settings import Settings
from tests.support.certificates import make_tls
from tests.support.ports import free_port

NAME = "/test.Service/Give"
REQUEST = pb.ReadBlobRequest(digest="a" * 64)
MIB = 1 << 20


class Held:
    """A source of zeros that tells how far it was read; it waits where it is told to."""

    def __init__(self, size: int, *, error: Exception | None = None) -> None:
        self.size = size
        self.read_bytes = 0
        self.error = error
        self.going_on = threading.Event()
        self.going_on.set()
        self.reading = False
        self.closed = 0
        self.closed_under_a_reader = False

    def read(self, size: int) -> bytes:
        self.reading = True
        assert self.going_on.wait(60)
        count = min(size, self.size - self.read_bytes)
        self.read_bytes += count
        self.reading = False
        if not count and self.error is not None:
            raise self.error
        return bytes(count)

    def close(self) -> None:
        self.closed_under_a_reader = self.reading
        self.closed += 1


@dataclass
class Giver:
    """A method that gives what the test put in it."""

    source: Any = None
    refusal: Exception | None = None
    opened: list[pb.ReadBlobRequest] = field(default_factory=list)

    async def open(self, request: pb.ReadBlobRequest, context: Any) -> Any:
        self.opened.append(request)
        if self.refusal is not None:
            raise self.refusal
        return self.source


class Bytes:
    """A source of given bytes, in pieces of given sizes."""

    def __init__(self, data: bytes, sizes: Sequence[int] = ()) -> None:
        self.left = memoryview(data)
        self.sizes = list(sizes)
        self.closed = 0

    def read(self, size: int) -> bytes:
        size = min(size, self.sizes.pop(0)) if self.sizes else size
        piece, self.left = self.left[:size], self.left[size:]
        return bytes(piece)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def giver() -> Giver:
    return Giver()


@pytest.fixture
def threads() -> Any:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(params=["unix", "tcp", "tls"])
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, giver: Giver, threads: ThreadPoolExecutor
) -> AsyncIterator[Served]:
    tls = {"tls": make_tls(tmp_path / "tls")} if request.param == "tls" else {}
    settings = Settings(data_dir=tmp_path / "data", drain_seconds=0.2, **tls)
    target = settings.socket("bytes") if request.param == "unix" else f"127.0.0.1:{free_port()}"
    server = ByteServer(settings, {NAME: ServerStream(pb.ReadBlobRequest, giver.open)}, threads)
    await server.start(target)
    yield Served(settings, target, server)
    await server.drain()


@dataclass
class Served:
    settings: Settings
    target: str
    server: ByteServer

    @contextlib.asynccontextmanager
    async def call(self, timeout: float | None = 60) -> AsyncIterator[ByteCall]:
        async with ByteClient(self.settings, self.target).call(NAME, timeout=timeout) as call:
            await call.send(REQUEST)
            yield call

    async def read(self) -> bytes:
        async with self.call() as call:
            return await rest(call)


async def rest(call: ByteCall) -> bytes:
    found = bytearray()
    while pieces := await call.receive_bytes():
        for piece in pieces:
            found += piece
    return bytes(found)


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 5_000_000])
async def test_all_bytes_arrive_and_the_source_is_closed(server, giver, until, size) -> None:
    data = os.urandom(size)
    giver.source = Bytes(data)
    assert await server.read() == data
    await until(lambda: giver.source.closed == 1)
    assert giver.opened == [REQUEST]


async def test_pieces_may_be_of_any_size(server, giver) -> None:
    data = os.urandom(1_000_000)
    giver.source = Bytes(data, [1, 2, 3, 70_000, 1] * 5)
    assert await server.read() == data


async def test_what_cannot_be_opened_is_told_with_its_reason(server, giver) -> None:
    giver.refusal = NotFound("there is no such blob")
    with pytest.raises(NotFound, match="no such blob"):
        await server.read()


async def test_a_request_out_of_bounds_is_refused_before_anything_is_opened(server, giver) -> None:
    with pytest.raises(InvalidArgument):
        async with ByteClient(server.settings, server.target).call(NAME, timeout=60) as call:
            await call.send(pb.ReadBlobRequest(digest="../etc/passwd"))
            await call.receive_bytes()
    assert giver.opened == []


async def test_who_does_not_know_the_secret_opens_nothing(server, giver) -> None:
    stranger = ByteClient(server.settings, server.target)
    stranger._metadata[INTERNAL_HEADER] = "0" * 64
    with pytest.raises(Unauthenticated):
        async with stranger.call(NAME, timeout=60) as call:
            await call.send(REQUEST)
            await call.receive_bytes()
    assert giver.opened == []


@pytest.mark.parametrize("size", [100, 262_144, 3 * MIB])
async def test_of_a_source_that_fails_at_its_end_the_last_piece_never_arrives(
    server, giver, until, size
) -> None:
    giver.source = Held(size, error=Internal("damaged"))
    received = 0
    with pytest.raises(Internal, match="damaged"):
        async with server.call() as call:
            while pieces := await call.receive_bytes():
                received += sum(map(len, pieces))
    assert received < size
    await until(lambda: giver.source.closed == 1)


async def test_an_unforeseen_error_tells_nothing_else(server, giver) -> None:
    giver.source = Held(0, error=ValueError("a secret"))
    with pytest.raises(MaquetteError) as caught:
        await server.read()
    assert (caught.value.reason, "secret" in caught.value.message) == ("INTERNAL", False)


async def test_a_caller_that_leaves_ends_the_stream(server, giver, until) -> None:
    giver.source = Held(1 << 40)
    async with server.call() as call:
        assert await call.receive_bytes()
    await until(lambda: giver.source.closed == 1)
    assert not giver.source.closed_under_a_reader


async def test_a_slow_caller_keeps_neither_memory_nor_a_thread(server, giver, until) -> None:
    slow = giver.source = Held(1 << 40)
    async with server.call() as call:
        await until(lambda: call._paused)
        # There is one thread, and it serves others meanwhile. The slow one gets what lies in sockets and in
        # the buffers on either side.
        read = -1
        while slow.read_bytes != read:
            read = slow.read_bytes
            giver.source = Bytes(b"quick")
            assert await server.read() == b"quick"
        assert call._unread_bytes < MIB
        assert read < 64 * MIB
        while slow.read_bytes == read:
            assert await call.receive_bytes()
    await until(lambda: slow.closed == 1)


async def test_two_streams_share_the_only_thread(server, giver) -> None:
    giver.source = Held(40 * MIB)
    async with server.call() as first:
        assert await first.receive_bytes()
        giver.source = Held(40 * MIB)
        async with server.call() as second:
            assert len((await asyncio.gather(rest(second), rest(first)))[0]) == 40 * MIB


async def test_a_stream_takes_no_longer_than_it_may(server, giver, until) -> None:
    giver.source = Held(1 << 40)
    with pytest.raises(DeadlineExceeded):
        async with server.call(timeout=3600) as call:
            assert await call.receive_bytes()
            call.expire()
            await rest(call)
    await until(lambda: giver.source.closed == 1)


async def test_a_server_that_stops_breaks_the_stream_off(server, giver) -> None:
    giver.source = Held(1 << 40)
    with pytest.raises(Unavailable):
        async with server.call() as call:
            assert await call.receive_bytes()
            await asyncio.gather(rest(call), server.server.drain())
    assert giver.source.closed == 1


async def test_a_server_that_stops_closes_no_source_under_its_reader(server, giver, until) -> None:
    source = giver.source = Held(1 << 40)
    source.going_on.clear()
    async with server.call():
        await until(lambda: source.reading)
        draining = asyncio.create_task(server.server.drain())
        # Longer than the drain takes by itself.
        assert not (await asyncio.wait({draining}, timeout=0.5))[0]
        source.going_on.set()
        await draining
    assert (source.closed, source.closed_under_a_reader) == (1, False)


async def test_a_connection_that_ends_without_an_answer_is_no_end(settings, until) -> None:
    """A peer that is killed: its kernel closes the connection properly."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)

    async def die_in_the_middle() -> None:
        connection, _ = await asyncio.get_running_loop().sock_accept(listening)
        with connection:
            head = frames.frame_head(frames.Kind.CHUNK, 100)
            await asyncio.get_running_loop().sock_sendall(connection, head + bytes(100))

    with contextlib.closing(listening):
        dying = asyncio.create_task(die_in_the_middle())
        target = f"127.0.0.1:{listening.getsockname()[1]}"
        received = 0
        with pytest.raises(Unavailable):
            async with ByteClient(settings, target).call(NAME, timeout=60) as call:
                while pieces := await call.receive_bytes():
                    received += sum(map(len, pieces))
        assert received in (0, 100)
        await dying


async def test_who_asks_for_nothing_is_told_so_after_a_while(server, giver, monkeypatch) -> None:
    monkeypatch.setattr(byte_server, "_OPEN_SECONDS", 0.5)
    with pytest.raises(MaquetteError):
        async with ByteClient(server.settings, server.target).call(NAME, timeout=60) as call:
            await call.receive_bytes()
    assert giver.opened == []


@pytest.mark.parametrize(
    "said",
    [
        frames.frame_head(frames.Kind.CHUNK, 10) + bytes(10),
        frames.frame(frames.Kind.MESSAGE, b"\xff no proto"),
        frames.frame(frames.Kind.RESPONSE, b""),
    ],
)
async def test_who_asks_otherwise_is_hung_up_on(server, giver, said) -> None:
    with pytest.raises(Unavailable):
        async with ByteClient(server.settings, server.target).call(NAME, timeout=60) as call:
            await call._write([said])
            await call.receive_bytes()
    assert giver.opened == []


@pytest.mark.parametrize("server", ["tls"], indirect=True)
async def test_strangers_that_say_nothing_keep_nobody_out(server, giver) -> None:
    giver.source = Bytes(b"served")
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            host, port = server.target.split(":")
            stack.enter_context(contextlib.closing(socket.create_connection((host, int(port)))))
        # More than there are threads to shake hands with them.
        assert await server.read() == b"served"


@pytest.mark.parametrize("server", ["tls"], indirect=True)
async def test_who_has_no_certificate_of_ours_is_not_served(server, giver, tmp_path) -> None:
    stranger = server.settings.model_copy(update={"tls": make_tls(tmp_path / "another")})
    with pytest.raises(Unavailable):
        async with ByteClient(stranger, server.target).call(NAME, timeout=60) as call:
            await call.send(REQUEST)
            await call.receive_bytes()
    assert giver.opened == []
