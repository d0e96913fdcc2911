"""Blobs over gRPC: streams in and out, the doors, and what a broken stream leaves."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

import grpc
import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from maquette.runtime.rpc.channel import translated

from .conftest import Storage, collect, pieces


async def test_what_is_written_is_read_back(storage: Storage, tmp_path) -> None:
    data = os.urandom(3_000_001)
    digest = await storage.put(data)
    assert await collect(storage.client.read(digest)) == data
    target = tmp_path / "out"
    assert await storage.client.read_to_file(digest, target) == len(data)
    assert target.read_bytes() == data
    assert (await storage.client.write_file(target)).digest == digest


async def test_a_range_is_cut_at_the_end(storage: Storage) -> None:
    data = os.urandom(700_000)
    digest = await storage.put(data)
    assert await collect(storage.client.read(digest, 600_000, 5)) == data[600_000:600_005]
    assert await collect(storage.client.read(digest, 600_000, 10**9)) == data[600_000:]
    assert await collect(storage.client.read(digest, 300_000)) == data[300_000:]
    assert await collect(storage.client.read(digest, len(data))) == b""
    with pytest.raises(InvalidArgument):
        await collect(storage.client.read(digest, len(data) + 1))


async def test_an_empty_blob_is_a_blob(storage: Storage) -> None:
    digest = await storage.put(b"")
    assert await collect(storage.client.read(digest)) == b""


async def test_the_same_bytes_are_one_blob(storage: Storage) -> None:
    data = os.urandom(400_000)
    digests = await asyncio.gather(*(storage.put(data) for _ in range(8)))
    assert len(set(digests)) == 1
    assert len(storage.files()) == 1
    assert await storage.sql("SELECT count(*) FROM assets.blob") == 1


async def test_a_wrong_digest_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(InvalidArgument) as error:
        await storage.client.write(pieces(b"abc"), expected_digest="0" * 64)
    assert error.value.reason == "DIGEST_MISMATCH"
    await assert_nothing_left(storage)


async def test_a_stream_over_its_limit_is_cut_off_while_it_streams(storage: Storage) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield bytes(100_000)

    with pytest.raises(InvalidArgument) as error:
        await storage.client.write(endless(), max_bytes=1_000_000)
    assert error.value.reason == "FILE_TOO_LARGE"
    assert sent < 1000  # what gRPC had in flight
    await assert_nothing_left(storage)


async def test_a_client_that_goes_away_leaves_nothing(storage: Storage) -> None:
    call = storage.stub.WriteBlob()
    await call.write(pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header()))
    for _ in range(30):
        await call.write(pb.WriteBlobRequest(chunk=bytes(100_000)))
    await until(lambda: bool(storage.spools()))
    call.cancel()
    await until(lambda: not storage.spools())
    await assert_nothing_left(storage)


async def test_a_stream_that_ends_without_commit_leaves_nothing(storage: Storage) -> None:
    call = storage.stub.WriteBlob()
    await call.write(pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header()))
    await call.write(pb.WriteBlobRequest(chunk=b"half"))
    await call.done_writing()
    with pytest.raises(InvalidArgument, match="without its commit"):
        async with translated():
            await call
    await assert_nothing_left(storage)


async def test_a_source_that_fails_leaves_nothing(storage: Storage) -> None:
    async def broken():
        yield bytes(2_000_000)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        await storage.client.write(broken())
    await until(lambda: not storage.spools())
    await assert_nothing_left(storage)


@pytest.mark.parametrize(
    "parts",
    [
        [pb.WriteBlobRequest(chunk=b"x")],
        [pb.WriteBlobRequest()],
        [pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header())] * 2,
        [],
        [
            pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header(retention=77)),
            pb.WriteBlobRequest(commit=pb.WriteBlobRequest.Commit()),
        ],
        [
            pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header()),
            pb.WriteBlobRequest(chunk=bytes((1 << 20) + 1)),
            pb.WriteBlobRequest(commit=pb.WriteBlobRequest.Commit()),
        ],
    ],
)
async def test_streams_out_of_order_are_refused(storage: Storage, parts) -> None:
    with pytest.raises(InvalidArgument):
        async with translated():
            await storage.stub.WriteBlob(iter_async(parts))
    await assert_nothing_left(storage)


@pytest.mark.parametrize("storage_options", [{"stream_idle_seconds": 0.2}])
async def test_a_writer_that_pauses_is_cut_off(storage: Storage) -> None:
    call = storage.stub.WriteBlob()
    await call.write(pb.WriteBlobRequest(header=pb.WriteBlobRequest.Header()))
    await call.write(pb.WriteBlobRequest(chunk=b"then nothing"))
    with pytest.raises(DeadlineExceeded):
        async with translated():
            await call
    await assert_nothing_left(storage)


@pytest.mark.parametrize("storage_options", [{"min_free_bytes": 1 << 60}])
async def test_a_disk_below_its_floor_takes_nothing(storage: Storage) -> None:
    with pytest.raises(ResourceExhausted) as error:
        await storage.put(b"abc")
    assert error.value.reason == "STORAGE_FULL"
    await assert_nothing_left(storage)


async def test_a_disk_that_reaches_its_floor_cuts_the_stream_off(storage: Storage, monkeypatch) -> None:
    looks = iter([1 << 40, 1 << 40, 5])

    async def free_bytes() -> int:
        return next(looks, 5)

    monkeypatch.setattr(storage.backend, "free_bytes", free_bytes)
    with pytest.raises(ResourceExhausted) as error:
        await storage.put(bytes(40 << 20))
    assert error.value.reason == "STORAGE_FULL"
    await assert_nothing_left(storage)


@pytest.mark.parametrize("storage_options", [{"quota_bytes": 1_000_000}])
async def test_the_quota_holds_also_for_writers_at_once(storage: Storage) -> None:
    outcomes = await asyncio.gather(
        *(storage.put(os.urandom(300_000)) for _ in range(8)), return_exceptions=True
    )
    full = [outcome for outcome in outcomes if isinstance(outcome, ResourceExhausted)]
    assert len(outcomes) - len(full) == 3
    assert {error.reason for error in full} == {"STORAGE_FULL"}
    assert await storage.sql("SELECT sum(size)::bigint FROM assets.blob") == 900_000
    assert sum(path.stat().st_size for path in storage.files()) == 900_000


@pytest.mark.parametrize("storage_options", [{"quota_bytes": 20 << 20}])
async def test_the_quota_cuts_a_long_stream_off(storage: Storage) -> None:
    with pytest.raises(ResourceExhausted):
        await storage.put(bytes(64 << 20))
    await assert_nothing_left(storage)


async def test_a_damaged_blob_is_not_delivered_as_whole(storage: Storage) -> None:
    data = os.urandom(2_000_000)
    digest = await storage.put(data)
    path = storage.backend.path(digest)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Exception, match="damaged"):
        await collect(storage.client.read(digest))
    await storage.put(data)  # writing it again makes it whole
    assert await collect(storage.client.read(digest)) == data


async def test_an_unknown_blob_is_not_found(storage: Storage, tmp_path) -> None:
    with pytest.raises(NotFound):
        await collect(storage.client.read("0" * 64))
    with pytest.raises(NotFound):
        await storage.client.read_to_file("0" * 64, tmp_path / "file")
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotFound):
        async with translated():
            await storage.stub.StatBlob(pb.StatBlobRequest(digest="0" * 64))


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
async def test_a_digest_out_of_form_is_refused(storage: Storage, digest: str) -> None:
    with pytest.raises(InvalidArgument):
        await collect(storage.client.read(digest))


async def test_stat_tells_the_size(storage: Storage) -> None:
    digest = await storage.put(b"12345")
    answer = await storage.stub.StatBlob(pb.StatBlobRequest(digest=digest))
    assert answer.size == 5
    assert abs(answer.created_at.ToDatetime().timestamp() - time.time()) < 86_400


async def test_nobody_comes_in_without_a_secret(storage: Storage) -> None:
    async with grpc.aio.insecure_channel(storage.settings.address("storage")) as channel:
        read = channel.unary_stream(
            "/maquette.api.storage.v1.StorageService/ReadBlob",
            request_serializer=pb.ReadBlobRequest.SerializeToString,
        )
        with pytest.raises(Unauthenticated):
            async with translated():
                await read(pb.ReadBlobRequest(digest="0" * 64)).read()


async def test_the_internal_secret_alone_opens_nothing(storage: Storage) -> None:
    digest = await storage.put(b"secret")
    plain = storage.granted("")
    with pytest.raises(PermissionDenied):
        await collect(plain.read(digest))
    with pytest.raises(PermissionDenied):
        await plain.write(pieces(b"abc"))
    assert hashlib.sha256(b"abc").hexdigest() not in {path.name for path in storage.files()}


async def assert_nothing_left(storage: Storage) -> None:
    # A call that broke off early may only now have its temporary file made, and removed.
    await until(lambda: storage.files() == [])
    assert await storage.sql("SELECT count(*) FROM assets.blob") == 0


async def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


async def iter_async(items):
    for item in items:
        yield item
