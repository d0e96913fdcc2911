"""Reads past gRPC go through the same doors."""

from __future__ import annotations

from typing import Any

import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import InvalidArgument, MaquetteError, NotFound, PermissionDenied
from maquette.runtime.rpc.byte_client import ByteClient
from maquette.runtime.rpc.interceptors import GRANT_HEADER, PRIVILEGED_HEADER

from .conftest import Storage
from .test_grants import grant

NAME = "/maquette.api.storage.v1.StorageService/ReadBlob"


async def read(client: ByteClient, digest: str, **span: int) -> bytes:
    found = b""
    async with client.call(NAME, timeout=60) as call:
        await call.send(pb.ReadBlobRequest(digest=digest, **span))
        while pieces := await call.receive_bytes():
            found += b"".join(pieces)
    return found


def client(storage: Storage, privileged: bool = False, **metadata: str) -> ByteClient:
    made = ByteClient(storage.settings, storage.settings.bytes_address(), privileged=privileged)
    made._metadata.update(metadata)
    return made


async def test_the_privileged_read_everything(storage: Storage) -> None:
    digest = await storage.put(b"picture")
    privileged = client(storage, privileged=True)
    assert await read(privileged, digest) == b"picture"
    assert await read(privileged, digest, offset=2, length=3) == b"ctu"


async def test_a_grant_opens_what_it_names(storage: Storage) -> None:
    mine, others = await storage.put(b"mine"), await storage.put(b"others")
    granted = client(storage, **{GRANT_HEADER: grant(storage, [mine])})
    assert await read(granted, mine) == b"mine"
    with pytest.raises(PermissionDenied) as caught:
        await read(granted, others)
    assert caught.value.reason == "GRANT_REFUSED"
    storage.clock.advance(hours=1)
    with pytest.raises(PermissionDenied):
        await read(granted, mine)


@pytest.mark.parametrize("metadata", [{}, {PRIVILEGED_HEADER: "0" * 64}, {GRANT_HEADER: "made up"}])
async def test_whoever_shows_nothing_that_holds_reads_nothing(
    storage: Storage, metadata: dict[str, str]
) -> None:
    digest = await storage.put(b"secret")
    with pytest.raises(PermissionDenied):
        await read(client(storage, **metadata), digest)


@pytest.mark.parametrize(
    ("request_fields", "refusal"),
    [
        ({"digest": "0" * 64}, NotFound),
        ({"digest": "../../etc/passwd"}, InvalidArgument),
        ({"digest": ""}, InvalidArgument),
    ],
)
async def test_what_is_not_there_is_refused(
    storage: Storage, request_fields: dict[str, Any], refusal: type[MaquetteError]
) -> None:
    with pytest.raises(refusal):
        await read(client(storage, privileged=True), **request_fields)
