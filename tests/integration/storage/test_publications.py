"""Publishing: one key and one link a file of a task, whatever is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.capability.v1 import capability_pb2_grpc
from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import InvalidArgument, NotFound, ResourceExhausted
from maquette.runtime.grants import mint
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.secrets import load_secret
from maquette.runtime.structs import from_struct, to_struct
from services.storage.publications import Publications
from services.storage.publisher import SERVICE, PublisherNode, PublisherServicer
from services.storage.signing import UrlSigner

from .conftest import Storage

DAY = timedelta(hours=24)
GLB = "model/gltf-binary"


class MemoryBucket:
    """Counts what is copied into it."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        self.copies = 0

    async def copy(self, digest: str, key: str, media_type: str, filename: str) -> None:
        self.copies += 1
        self.objects[key] = digest

    async def delete(self, key: str) -> None:
        del self.objects[key]

    def presigned(self, key: str, seconds: int) -> str:
        return f"https://bucket.test/{key}?seconds={seconds}"

    def direct(self, key: str) -> str:
        return f"https://bucket.test/{key}"

    def full_key(self, key: str) -> str:
        return key


def _publications(storage: Storage, bucket: MemoryBucket | None = None) -> Publications:
    signer = UrlSigner([load_secret(storage.settings, "urls")])
    return Publications(storage.database, storage.backend, signer, bucket, storage.clock, DAY)


async def test_a_link_is_good_for_24_hours_and_not_longer(storage: Storage) -> None:
    digest = await storage.put(b"glTF")
    found = await _publications(storage).publish("task", 0, digest, "model.glb", GLB)
    stamp = int(storage.clock.now().timestamp() * 1000)
    assert found.key == f"meshy_tmp/{stamp}/model.glb" and found.direct_url == ""
    link = urlsplit(found.url)
    assert link.path == "/download/model.glb"
    request = storage_pb2.VerifyBlobUrlRequest(filename="model.glb", token=parse_qs(link.query)["token"][0])
    storage.clock.advance(hours=23, minutes=59)
    opened = await storage.stub.VerifyBlobUrl(request)
    assert (opened.digest, opened.media_type) == (digest, GLB)
    storage.clock.advance(minutes=2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await storage.stub.VerifyBlobUrl(request)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_publishing_again_finds_what_was_published(storage: Storage) -> None:
    bucket = MemoryBucket()
    digest = await storage.put(b"glTF")
    publications = _publications(storage, bucket)
    first = await publications.publish("task", 0, digest, "model.glb", GLB)
    storage.clock.advance(hours=1)
    again = await _publications(storage, bucket).publish("task", 0, digest, "model.glb", GLB)
    assert (again.key, again.direct_url, again.expires_at) == (first.key, first.direct_url, first.expires_at)
    assert (bucket.copies, list(bucket.objects.values())) == (1, [digest])
    # What is left of the day, not a new one.
    assert again.url.endswith(f"?seconds={23 * 3600}")


class DyingBucket(MemoryBucket):
    """Its process ends when the object is there and nobody has been told."""

    async def copy(self, digest: str, key: str, media_type: str, filename: str) -> None:
        await super().copy(digest, key, media_type, filename)
        raise asyncio.CancelledError


async def test_whoever_dies_right_after_an_upload_leaves_one_object(storage: Storage) -> None:
    dying, bucket = DyingBucket(), MemoryBucket()
    dying.objects = bucket.objects
    digest = await storage.put(b"glTF")
    with pytest.raises(asyncio.CancelledError):
        await _publications(storage, dying).publish("task", 0, digest, "model.glb", GLB)
    storage.clock.advance(seconds=30)
    found = await _publications(storage, bucket).publish("task", 0, digest, "model.glb", GLB)
    assert list(bucket.objects) == [found.key]


async def test_many_at_once_have_one_key_each(storage: Storage) -> None:
    bucket = MemoryBucket()
    digest = await storage.put(b"glTF")
    publications = _publications(storage, bucket)
    tasks = [f"task-{number % 8}" for number in range(24)]
    found = await asyncio.gather(*(publications.publish(task, 0, digest, "model.glb", GLB) for task in tasks))
    keys = {
        task: {each.key for name, each in zip(tasks, found, strict=True) if name == task} for task in tasks
    }
    assert all(len(own) == 1 for own in keys.values())
    assert len(set.union(*keys.values())) == len(bucket.objects) == 8


async def test_a_task_publishes_no_other_bytes_under_its_key(storage: Storage) -> None:
    publications = _publications(storage)
    first, second = await storage.put(b"glTF one"), await storage.put(b"glTF two")
    await publications.publish("task", 0, first, "model.glb", GLB)
    with pytest.raises(InvalidArgument):
        await publications.publish("task", 0, second, "model.glb", GLB)
    with pytest.raises(NotFound):
        await publications.publish("other", 0, "ab" * 32, "model.glb", GLB)
    assert await storage.sql("SELECT count(*) FROM assets.publication") == 1


async def test_a_key_has_no_folder_of_the_callers(storage: Storage) -> None:
    digest = await storage.put(b"glTF")
    found = await _publications(storage).publish("task", 0, digest, "../../etc/model.glb", GLB)
    assert found.key.count("/") == 2 and found.key.endswith("/model.glb")


async def test_objects_go_with_their_bytes(storage: Storage) -> None:
    bucket = MemoryBucket()
    publications = _publications(storage, bucket)
    kept, gone = await storage.put(b"glTF kept"), await storage.put(b"glTF gone")
    storage.references.digests.add(kept)
    for number, digest in enumerate((kept, gone)):
        await publications.publish(f"task-{number}", 0, digest, "model.glb", GLB)
    assert await publications.sweep() == 0
    storage.clock.advance(days=2)
    await storage.sweeper.run_once()
    assert await publications.sweep() == 1
    assert list(bucket.objects.values()) == [kept]
    assert await storage.sql("SELECT count(*) FROM assets.publication") == 1


@pytest.fixture
async def node(storage: Storage) -> AsyncIterator[capability_pb2_grpc.CapabilityServiceAsyncStub]:
    """The publisher, served as storage serves it."""
    address = f"unix:{storage.settings.run_dir / 'publisher.sock'}"
    server = create_server(storage.settings)
    grants = load_secret(storage.settings, "grants")
    servicer = PublisherServicer(
        PublisherNode("node", address), _publications(storage), grants, storage.clock
    )
    capability_pb2_grpc.add_CapabilityServiceServicer_to_server(servicer, server)
    running = await serve(server, address, [SERVICE], storage.settings)
    async with open_channel(storage.settings, address) as channel:
        yield capability_pb2_grpc.CapabilityServiceStub(channel)
    await running.drain()


def _request(storage: Storage, digests: list[str], *, opened: list[str], task: str = "task") -> pb.RunRequest:
    grant = mint(
        load_secret(storage.settings, "grants"),
        task_id="task",
        inputs=opened,
        max_write_bytes=0,
        expires_at=storage.clock.now() + timedelta(minutes=1),
    )
    names = ("model.glb", "model.fbx")
    request = pb.RunRequest(
        task_id=task,
        feature="publish",
        engine_id="publisher",
        grant=grant,
        inputs=[
            pb.TaskInput(
                role="mesh",
                digest=digest,
                size=4,
                media_type=GLB,
                filename=name,
                meta=to_struct({"upstream": {"task_id": "rig-1"}}),
            )
            for digest, name in zip(digests, names, strict=False)
        ],
    )
    request.parameters.Pack(storage_pb2.Publish(filename="rigged.glb"))
    return request


async def test_a_task_publishes_its_inputs_and_keeps_what_is_told_of_them(storage: Storage, node) -> None:
    digests = [await storage.put(b"glTF"), await storage.put(b"Kaydara")]
    said = [said async for said in node.Run(_request(storage, digests, opened=digests))]
    assert [each.WhichOneof("event") for each in said] == ["accepted", "progress", "result"]
    outputs = said[-1].result.outputs
    assert [(each.role, each.digest, each.filename, each.ordinal) for each in outputs] == [
        ("published", digests[0], "rigged.glb", 0),
        ("published", digests[1], "rigged.fbx", 1),
    ]
    for each in outputs:
        meta = from_struct(each.meta)
        assert meta["upstream"] == {"task_id": "rig-1"}
        assert meta["published"]["url"].startswith(f"/download/{each.filename}?token=")


@pytest.mark.parametrize("wrong", ["other file", "other task", "no grant"])
async def test_what_the_grant_does_not_open_is_not_published(storage: Storage, node, wrong: str) -> None:
    own, other = await storage.put(b"own"), await storage.put(b"another account's")
    request = _request(storage, [other if wrong == "other file" else own], opened=[own])
    if wrong == "other task":
        request.task_id = "another"
    if wrong == "no grant":
        request.grant = "forged"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in node.Run(request):
            pass
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await storage.sql("SELECT count(*) FROM assets.publication") == 0


async def test_a_node_that_stops_takes_no_task(storage: Storage) -> None:
    node = PublisherNode("node", "unix:x")
    changed = node.listen()
    node.drain()
    assert changed.is_set() and node.state().draining
    with pytest.raises(ResourceExhausted):
        node.enter()
