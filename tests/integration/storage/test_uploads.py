"""Uploads: their issued paths, their life, and whose they are."""

from __future__ import annotations

import os
import re

import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import InvalidArgument, NotFound, PermissionDenied
from maquette.runtime.rpc.channel import translated

from .conftest import Storage, collect
from .test_blobs import assert_nothing_left, until


async def create(
    storage: Storage,
    data: bytes = b"picture",
    *,
    account: str = "public",
    filename: str = "cat.png",
    kind: int = pb.UPLOAD_KIND_IMAGE,
    extension: str = "png",
    max_bytes: int = 0,
) -> pb.Upload:
    async with storage.client.upload(
        account_id=account, kind=kind, filename=filename, max_bytes=max_bytes
    ) as upload:
        for start in range(0, len(data), 300_000):
            await upload.write(data[start : start + 300_000])
        return await upload.commit(media_type="image/png", extension=extension)


async def find(storage: Storage, account: str = "public", **key: str) -> pb.Upload:
    async with translated():
        answer = await storage.stub.GetUpload(pb.GetUploadRequest(account_id=account, **key))
    return answer.upload


async def test_an_upload_is_found_by_id_and_by_path(storage: Storage) -> None:
    data = os.urandom(1_000_000)
    made = await create(storage, data)
    assert re.fullmatch(r"[0-9a-f]{32}", made.id)
    assert made.path == f"/uploads/images/{made.id}.png"
    assert (made.filename, made.media_type, made.size) == ("cat.png", "image/png", len(data))
    assert await find(storage, id=made.id) == made
    assert await find(storage, path=made.path) == made
    assert await collect(storage.client.read(made.digest)) == data
    mesh = await create(storage, kind=pb.UPLOAD_KIND_MESH, extension="GLB")
    assert mesh.path == f"/uploads/meshes/{mesh.id}.glb"


async def test_an_upload_is_its_accounts_own(storage: Storage) -> None:
    made = await create(storage, account="alice")
    assert await find(storage, "alice", id=made.id) == made
    for key in ({"id": made.id}, {"path": made.path}):
        with pytest.raises(NotFound):
            await find(storage, "bob", **key)


async def test_an_upload_lives_24_hours(storage: Storage) -> None:
    made = await create(storage)
    storage.clock.advance(hours=23, minutes=59)
    assert (await find(storage, id=made.id)).id == made.id
    storage.clock.advance(minutes=2)
    with pytest.raises(NotFound):
        await find(storage, id=made.id)
    with pytest.raises(NotFound):
        await find(storage, path=made.path)


@pytest.mark.parametrize("key", [{"id": "0" * 32}, {"path": "/etc/passwd"}, {"id": "' OR '1'='1"}])
async def test_what_was_not_issued_is_not_found(storage: Storage, key: dict[str, str]) -> None:
    await create(storage)
    with pytest.raises(NotFound):
        await find(storage, **key)


async def test_an_empty_key_is_refused(storage: Storage) -> None:
    with pytest.raises(InvalidArgument):
        await find(storage)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("猫の写真.png", "猫の写真.png"),
        ("a\x00b\r\n.png", "ab.png"),
        ("", "file"),
    ],
)
async def test_names_are_made_safe(storage: Storage, given: str, kept: str) -> None:
    made = await create(storage, filename=given)
    assert made.filename == kept
    assert made.path == f"/uploads/images/{made.id}.png"
    assert [path.name for path in storage.files()] == [made.digest]


@pytest.mark.parametrize("extension", ["", "../x", "a/b", "png\n", "toolongforone"])
async def test_an_extension_out_of_form_leaves_nothing(storage: Storage, extension: str) -> None:
    with pytest.raises(InvalidArgument):
        await create(storage, extension=extension)
    await assert_nothing_left(storage)


@pytest.mark.parametrize("kind", [0, 9])
async def test_an_unknown_kind_is_refused(storage: Storage, kind: int) -> None:
    with pytest.raises(InvalidArgument):
        await create(storage, kind=kind)


async def test_too_large_an_upload_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(InvalidArgument) as error:
        await create(storage, bytes(5_000_000), max_bytes=1_000_000)
    assert error.value.reason == "FILE_TOO_LARGE"
    await assert_nothing_left(storage)
    assert await storage.sql("SELECT count(*) FROM assets.upload") == 0


async def test_an_upload_left_without_commit_leaves_nothing(storage: Storage) -> None:
    async with storage.client.upload(account_id="public", kind=1, filename="x") as upload:
        await upload.write(bytes(3_000_000))
        await until(lambda: bool(storage.spools()))
    await until(lambda: not storage.spools())
    await assert_nothing_left(storage)


async def test_an_account_is_required(storage: Storage) -> None:
    with pytest.raises(InvalidArgument):
        await create(storage, account="")


async def test_a_link_works_for_23_h_59_and_not_at_24_h_01(storage: Storage) -> None:
    digest = await storage.put(b"mesh")
    signed = await storage.stub.SignBlobUrl(
        pb.SignBlobUrlRequest(digest=digest, filename="Modell ü.glb", media_type="model/gltf-binary")
    )
    path, token = signed.path.split("?token=")
    assert path == "/download/Modell%20%C3%BC.glb"
    request = pb.VerifyBlobUrlRequest(filename="Modell ü.glb", token=token)
    storage.clock.advance(hours=23, minutes=59)
    opened = await storage.stub.VerifyBlobUrl(request)
    assert (opened.digest, opened.size, opened.media_type) == (digest, 4, "model/gltf-binary")
    storage.clock.advance(minutes=2)
    with pytest.raises(PermissionDenied) as error:
        async with translated():
            await storage.stub.VerifyBlobUrl(request)
    assert error.value.reason == "BAD_SIGNATURE"


@pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1])
async def test_a_lifetime_out_of_bounds_is_refused(storage: Storage, seconds: int) -> None:
    request = pb.SignBlobUrlRequest(digest="0" * 64, filename="x")
    request.lifetime.FromSeconds(seconds)
    with pytest.raises(InvalidArgument):
        async with translated():
            await storage.stub.SignBlobUrl(request)


async def delete(storage: Storage, upload: pb.Upload, account: str = "public") -> None:
    async with translated():
        await storage.stub.DeleteUpload(pb.DeleteUploadRequest(account_id=account, id=upload.id))


async def test_a_deleted_upload_and_its_bytes_are_gone_at_once(storage: Storage) -> None:
    made = await create(storage)
    await delete(storage, made)
    with pytest.raises(NotFound):
        await find(storage, id=made.id)
    with pytest.raises(NotFound):
        await delete(storage, made)
    await assert_nothing_left(storage)


async def test_deleting_an_upload_leaves_what_others_need(storage: Storage) -> None:
    made, theirs = await create(storage), await create(storage, account="bob")
    with pytest.raises(NotFound):
        await delete(storage, made, account="bob")
    await delete(storage, made)
    assert await find(storage, "bob", id=theirs.id) == theirs
    assert await collect(storage.client.read(theirs.digest)) == b"picture"


async def test_a_name_no_column_takes_is_a_wrong_request(storage: Storage) -> None:
    for key in ({"id": "\0"}, {"path": "/uploads/\0"}):
        with pytest.raises(InvalidArgument):
            await find(storage, **key)
