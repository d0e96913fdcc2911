"""What a byte stream promises beside gRPC: the same answers, the same doors, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import (
    DeadlineExceeded,
    InvalidArgument,
    MaquetteError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from maquette.runtime.rpc import byte_frames as frames
from maquette.runtime.rpc.byte_client import ByteClient
from maquette.runtime.rpc.byte_server import ByteServer, ClientStream
from maquette.runtime.rpc.interceptors import INTERNAL_HEADER
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings

NAME = "/test.Service/Take"


@dataclass
class Taker:
    """A method that takes a stream, and refuses it where the test wants."""

    refuse_after: int = 1 << 62
    error: Exception = field(default_factory=lambda: ResourceExhausted("full", reason="STORAGE_FULL"))
    taken: int = 0
    ended: list[str] = field(default_factory=list)
    callers: list[dict[str, str]] = field(default_factory=list)

    async def take(self, parts: AsyncIterator[Any], context: Any) -> pb.WriteBlobResponse:
        self.callers.append(dict(context.invocation_metadata()))
        sha, buffer = hashlib.sha256(), memoryview(bytearray(100_000))
        try:
            async for part in parts:
                kind = part.WhichOneof("part")
                if kind == "commit":
                    self.ended.append("commit")
                    return pb.WriteBlobResponse(digest=sha.hexdigest(), size=self.taken)
                while kind == "chunk" and part.chunk.left:
                    piece = await asyncio.to_thread(part.chunk.read_into, buffer)
                    sha.update(piece)
                    self.taken += len(piece)
                    if self.taken >= self.refuse_after:
                        raise self.error
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        raise AssertionError("a stream ends with its commit or with an error")


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", drain_seconds=0.2)


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture(params=["unix", "tcp"])
async def target(request: pytest.FixtureRequest, settings: Settings, taker: Taker) -> AsyncIterator[str]:
    address = settings.socket("bytes") if request.param == "unix" else f"127.0.0.1:{free_port()}"
    server = ByteServer(settings, {NAME: ClientStream(pb.WriteBlobRequest, taker.take)})
    await server.start(address)
    yield address
    await server.drain()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


HEADER = pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header(media_type="x/y"))
COMMIT = pb.WriteBlobRequest(commit=pb.WriteBlobRequest.Commit())


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 — what is awaited has no event of its own
            await asyncio.sleep(0.01)


async def test_what_was_sent_arrives_whatever_its_pieces(
    settings: Settings, target: str, taker: Taker
) -> None:
    data = os.urandom(5_000_000)
    pieces = [data[:1], data[1:2_500_000], memoryview(data)[2_500_000:], b""]
    async with ByteClient(settings, target).call(NAME, timeout=60) as call:
        await call.send(HEADER)
        for piece in pieces:
            await call.send_bytes([piece])
        await call.send(COMMIT)
        answer = await call.finish(pb.WriteBlobResponse)
    assert (answer.digest, answer.size) == (hashlib.sha256(data).hexdigest(), len(data))


async def test_a_refusal_comes_with_its_reason_though_the_caller_still_sends(
    settings: Settings, target: str, taker: Taker
) -> None:
    taker.refuse_after = 3_000_000
    with pytest.raises(ResourceExhausted) as caught:
        async with ByteClient(settings, target).call(NAME, timeout=60) as call:
            for _ in range(100):
                await call.send_bytes([bytes(1_000_000)])
            await call.finish(pb.WriteBlobResponse)
    assert caught.value.reason == "STORAGE_FULL"
    assert taker.taken < 20_000_000


async def test_an_unforeseen_error_is_told_as_internal_and_tells_nothing_else(
    settings: Settings, target: str, taker: Taker
) -> None:
    taker.refuse_after, taker.error = 0, ValueError("a secret")
    with pytest.raises(MaquetteError) as caught:
        async with ByteClient(settings, target).call(NAME, timeout=60) as call:
            await call.send_bytes([b"x"])
            await call.finish(pb.WriteBlobResponse)
    assert (caught.value.reason, "secret" in caught.value.message) == ("INTERNAL", False)


async def test_a_caller_that_leaves_ends_its_call(settings: Settings, target: str, taker: Taker) -> None:
    async with ByteClient(settings, target).call(NAME, timeout=60) as call:
        await call.send_bytes([bytes(1_000)])
        await until(lambda: taker.taken == 1_000)
    await until(lambda: taker.ended == ["Cancelled"])


async def test_a_call_takes_no_longer_than_it_may(settings: Settings, target: str, taker: Taker) -> None:
    with pytest.raises(DeadlineExceeded):
        async with ByteClient(settings, target).call(NAME, timeout=2) as call:
            await call.send(HEADER)
            await call.finish(pb.WriteBlobResponse)
    await until(lambda: taker.ended == ["Cancelled"])


async def test_a_stopping_server_cuts_off_what_does_not_end(settings: Settings, taker: Taker) -> None:
    server = ByteServer(settings, {NAME: ClientStream(pb.WriteBlobRequest, taker.take)})
    await server.start(settings.socket("bytes"))
    with pytest.raises(Unavailable):
        async with ByteClient(settings, settings.socket("bytes")).call(NAME, timeout=60) as call:
            await call.send(HEADER)
            await until(lambda: taker.callers)
            await server.drain()
            await call.finish(pb.WriteBlobResponse)
    assert taker.ended == ["CancelledError"]


async def test_nobody_there_is_unavailable(settings: Settings) -> None:
    with pytest.raises(Unavailable):
        async with ByteClient(settings, settings.socket("nobody")).call(NAME, timeout=5):
            pass


async def test_who_does_not_know_the_secret_reaches_no_method(
    settings: Settings, target: str, taker: Taker
) -> None:
    stranger = ByteClient(settings, target)
    stranger._metadata[INTERNAL_HEADER] = "0" * 64
    with pytest.raises(Unauthenticated):
        async with stranger.call(NAME, timeout=60) as call:
            await call.finish(pb.WriteBlobResponse)
    assert taker.callers == []


async def test_only_privileged_callers_show_the_privileged_secret(
    settings: Settings, target: str, taker: Taker
) -> None:
    for privileged in (False, True):
        async with ByteClient(settings, target, privileged=privileged).call(NAME, timeout=60) as call:
            await call.send(COMMIT)
            await call.finish(pb.WriteBlobResponse)
    shown = [caller.get("x-maquette-privileged") for caller in taker.callers]
    assert shown == [None, load_secret(settings, "privileged").decode()]


async def test_an_unknown_method_is_refused(settings: Settings, target: str) -> None:
    with pytest.raises(InvalidArgument):
        async with ByteClient(settings, target).call("/test.Service/Other", timeout=30) as call:
            await call.finish(pb.WriteBlobResponse)


async def test_the_socket_opens_to_its_owner_only(settings: Settings, target: str) -> None:
    if target.startswith("unix:"):
        assert stat.S_IMODE(Path(target.removeprefix("unix:")).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        frames.frame_head(frames.Kind.CHUNK, 10) + bytes(10),
        frames.frame_head(frames.Kind.OPEN, frames.MAX_MESSAGE_BYTES + 1),
        frames.frame(frames.Kind.OPEN, b"no JSON"),
        frames.frame(frames.Kind.RESPONSE, b""),
    ],
)
async def test_who_speaks_otherwise_is_hung_up_on(
    settings: Settings, target: str, taker: Taker, said: bytes
) -> None:
    if target.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))
    else:
        reader, writer = await asyncio.open_connection(*target.split(":"))
    with contextlib.closing(writer):
        writer.write(said)
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(60):
                assert await reader.read() == b""
    assert taker.callers == []
