"""What goes raw out of every back end: the same bytes, ranges and refusals as over gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import Internal, InvalidArgument, MaquetteError, NotFound
from maquette.runtime.rpc.byte_client import ByteCall, ByteClient
from maquette.runtime.rpc.byte_server import ByteServer, ServerStream
from maquette.runtime.settings import Settings

from .conftest import Subject
from .test_backends import Holdings, put

NAME = "/test.Service/Read"
Begin = Callable[..., Any]


@pytest.fixture
async def begin(subject: Subject, tmp_path: Path) -> AsyncIterator[Begin]:
    """Begin to read a blob of the back end."""

    async def open_blob(request: pb.ReadBlobRequest, context: object) -> Any:
        return await subject.backend.open(request.digest, request.offset, request.length or None)

    settings = Settings(data_dir=tmp_path / "data", drain_seconds=1)
    server = ByteServer(settings, {NAME: ServerStream(pb.ReadBlobRequest, open_blob)}, subject.executor)
    await server.start(settings.socket("bytes"))
    client = ByteClient(settings, settings.socket("bytes"))
    yield lambda: client.call(NAME, timeout=60)
    await server.drain()


async def ask(call: ByteCall, digest: str, offset: int = 0, length: int = 0) -> None:
    await call.send(pb.ReadBlobRequest(digest=digest, offset=offset, length=length))


async def rest(call: ByteCall) -> bytes:
    found = bytearray()
    while pieces := await call.receive_bytes():
        for piece in pieces:
            found += piece
    return bytes(found)


async def read(begin: Begin, *what: Any) -> bytes:
    async with begin() as call:
        await ask(call, *what)
        return await rest(call)


@pytest.mark.parametrize("size", [0, 1, 262_144, 1_048_577])
async def test_bytes_come_back_as_they_went(subject: Subject, begin: Begin, size: int) -> None:
    data = os.urandom(size)
    digest, _ = await put(subject, data)
    assert await read(begin, digest) == data


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (0, 10**9), (5, 0), (299_999, 2), (700_000, 0), (700_000, 5), (699_999, 9)]
)
async def test_ranges(subject: Subject, begin: Begin, offset: int, length: int) -> None:
    data = os.urandom(700_000)
    digest, _ = await put(subject, data)
    assert await read(begin, digest, offset, length) == data[offset : offset + length if length else None]


async def test_refusals(subject: Subject, begin: Begin) -> None:
    digest, _ = await put(subject, b"abc")
    with pytest.raises(NotFound):
        await read(begin, "0" * 64)
    with pytest.raises(InvalidArgument):
        await read(begin, digest, 4)


async def test_a_damaged_blob_never_arrives_whole(subject: Subject, begin: Begin) -> None:
    data = os.urandom(1 << 20)
    digest, _ = await put(subject, data)
    subject.damage(digest, data[:-1] + bytes([data[-1] ^ 1]))
    received = 0
    with pytest.raises(Internal, match="damaged"):
        async with begin() as call:
            await ask(call, digest)
            while pieces := await call.receive_bytes():
                received += sum(map(len, pieces))
    assert received < len(data)
    assert await read(begin, digest, 0, 1000) == data[:1000]


async def test_a_blob_removed_while_it_is_read_comes_whole_or_not_at_all(
    subject: Subject, begin: Begin
) -> None:
    data = os.urandom(12 << 20)
    digest, _ = await put(subject, data)
    async with begin() as call:
        await ask(call, digest)
        found = b"".join(await call.receive_bytes())
        await subject.backend.remove(digest)
        try:
            found += await rest(call)
        except MaquetteError:
            return
    assert hashlib.sha256(found).hexdigest() == digest


async def test_readers_that_leave_give_back_what_they_hold(
    subject: Subject, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, _ = await put(subject, bytes(6_000_000))
    await read(begin, digest)
    holdings = Holdings(subject, monkeypatch)
    for _ in range(20):
        async with begin() as call:
            await ask(call, digest)
            assert await call.receive_bytes()
    await holdings.given_back()


async def test_whoever_is_cancelled_while_it_opens_leaves_nothing_open(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, _ = await put(subject, bytes(100_000))
    holdings = Holdings(subject, monkeypatch)
    for _ in range(20):
        opening = asyncio.create_task(subject.backend.open(digest, 1))
        await asyncio.sleep(0)
        opening.cancel()
        assert isinstance((await asyncio.gather(opening, return_exceptions=True))[0], asyncio.CancelledError)
    await holdings.given_back()
