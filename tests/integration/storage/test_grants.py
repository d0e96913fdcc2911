"""What a task's grant opens, and what it keeps shut."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.api.storage.v1 import storage_pb2_grpc
from maquette.runtime.errors import InvalidArgument, PermissionDenied
from maquette.runtime.grants import mint
from maquette.runtime.rpc.channel import open_channel, translated
from maquette.runtime.rpc.interceptors import GRANT_HEADER, PRIVILEGED_HEADER
from maquette.runtime.secrets import load_secret

from .conftest import Storage, collect, pieces


def grant(storage: Storage, inputs=(), limit=1_000_000, nonce="", minutes=30) -> str:
    return mint(
        load_secret(storage.settings, "grants"),
        task_id="task",
        inputs=inputs,
        max_write_bytes=limit,
        expires_at=storage.clock.now() + timedelta(minutes=minutes),
        nonce=nonce,
    )


async def test_a_grant_opens_its_inputs_and_its_own_outputs_only(storage: Storage) -> None:
    mine, others = await storage.put(b"mine"), await storage.put(b"others")
    client = storage.granted(grant(storage, [mine]))
    assert await collect(client.read(mine)) == b"mine"
    written = await client.write(pieces(b"output"))
    assert await collect(client.read(written.digest)) == b"output"
    with pytest.raises(PermissionDenied) as error:
        await collect(client.read(others))
    assert error.value.reason == "GRANT_REFUSED"


async def test_another_attempt_does_not_see_what_the_first_wrote(storage: Storage) -> None:
    written = await storage.granted(grant(storage, nonce="1")).write(pieces(b"output"))
    with pytest.raises(PermissionDenied):
        await collect(storage.granted(grant(storage, nonce="2")).read(written.digest))


async def test_whoever_writes_the_same_bytes_may_read_them(storage: Storage) -> None:
    digest = await storage.put(b"known")
    client = storage.granted(grant(storage))
    with pytest.raises(PermissionDenied):
        await collect(client.read(digest))
    await client.write(pieces(b"known"))
    assert await collect(client.read(digest)) == b"known"


async def test_the_write_limit_is_for_all_writes_together(storage: Storage) -> None:
    client = storage.granted(grant(storage, limit=1000))
    await client.write(pieces(os.urandom(600)))
    with pytest.raises(InvalidArgument) as error:
        await client.write(pieces(os.urandom(401)))
    assert error.value.reason == "FILE_TOO_LARGE"
    await client.write(pieces(os.urandom(400)))
    fresh = storage.granted(grant(storage, limit=1000, nonce="next attempt"))
    await fresh.write(pieces(os.urandom(1000)))


async def test_writes_at_once_cannot_share_the_last_bytes(storage: Storage) -> None:
    client = storage.granted(grant(storage, limit=1000))
    outcomes = await asyncio.gather(
        *(client.write(pieces(os.urandom(400))) for _ in range(6)), return_exceptions=True
    )
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 2
    assert len(storage.files()) == 2


async def test_an_expired_grant_opens_nothing(storage: Storage) -> None:
    digest = await storage.put(b"input")
    client = storage.granted(grant(storage, [digest], minutes=30))
    storage.clock.advance(minutes=29, seconds=59)
    assert await collect(client.read(digest)) == b"input"
    storage.clock.advance(seconds=1)
    with pytest.raises(PermissionDenied) as error:
        await collect(client.read(digest))
    assert error.value.reason == "GRANT_REFUSED"
    with pytest.raises(PermissionDenied):
        await client.write(pieces(b"late"))


async def test_a_task_cannot_keep_files_for_ever(storage: Storage) -> None:
    with pytest.raises(PermissionDenied):
        await storage.granted(grant(storage)).write(pieces(b"x"), retention=pb.RETENTION_EXAMPLE)


async def test_everything_else_is_shut_to_a_grant(storage: Storage) -> None:
    digest = await storage.put(b"input")
    metadata = ((GRANT_HEADER, grant(storage, [digest])),)
    stub = storage_pb2_grpc.StorageServiceStub(storage.channel())

    async def upload():
        yield pb.CreateUploadRequest(header=pb.CreateUploadRequest.Header(account_id="public", kind=1))

    calls = {
        "stat": lambda: stub.StatBlob(pb.StatBlobRequest(digest=digest), metadata=metadata),
        "hold": lambda: stub.HoldBlob(pb.HoldBlobRequest(digest=digest), metadata=metadata),
        "release": lambda: stub.ReleaseBlobs(pb.ReleaseBlobsRequest(digests=[digest]), metadata=metadata),
        "upload": lambda: stub.CreateUpload(upload(), metadata=metadata),
        "find": lambda: stub.GetUpload(
            pb.GetUploadRequest(account_id="public", id="0" * 32), metadata=metadata
        ),
        "sign": lambda: stub.SignBlobUrl(pb.SignBlobUrlRequest(digest=digest), metadata=metadata),
        "verify": lambda: stub.VerifyBlobUrl(pb.VerifyBlobUrlRequest(token="x"), metadata=metadata),
    }
    for name, call in calls.items():
        with pytest.raises(PermissionDenied):
            async with translated():
                await call()
            pytest.fail(f"{name} was open")


@pytest.mark.parametrize("secret", ["", "0" * 64])
async def test_a_wrong_privileged_secret_is_refused_even_beside_a_grant(
    storage: Storage, secret: str
) -> None:
    digest = await storage.put(b"input")
    metadata = ((PRIVILEGED_HEADER, secret), (GRANT_HEADER, grant(storage, [digest])))
    async with open_channel(storage.settings, storage.settings.address("storage")) as channel:
        stub = storage_pb2_grpc.StorageServiceStub(channel)
        with pytest.raises(PermissionDenied):
            async with translated():
                await stub.StatBlob(pb.StatBlobRequest(digest=digest), metadata=metadata)


async def test_a_grant_for_many_inputs_fits_into_metadata(storage: Storage) -> None:
    digests = [os.urandom(32).hex() for _ in range(63)] + [await storage.put(b"input")]
    assert await collect(storage.granted(grant(storage, digests)).read(digests[-1])) == b"input"
