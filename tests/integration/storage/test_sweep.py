"""Removal: nothing in use goes, everything else goes in time."""

from __future__ import annotations

import asyncio
import os

import pytest

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.runtime.errors import NotFound, Unavailable
from maquette.runtime.rpc.channel import translated

from .conftest import Storage, collect
from .test_uploads import create, find


async def names(storage: Storage) -> set[str]:
    """Return the digests on disk, once it is sure that the rows say the same."""
    on_disk = {path.name for path in storage.files()}
    rows = await storage.rows._fetch("SELECT digest FROM assets.blob")
    assert {row["digest"] for row in rows} == on_disk
    return on_disk


async def test_an_expired_uploads_bytes_go(storage: Storage) -> None:
    made = await create(storage)
    storage.clock.advance(hours=23, minutes=59)
    assert (await storage.sweeper.run_once()).expired_uploads == 0
    assert await names(storage) == {made.digest}
    storage.clock.advance(minutes=2)
    result = await storage.sweeper.run_once()
    assert (result.expired_uploads, result.removed.digests) == (1, (made.digest,))
    assert result.removed.freed_bytes == made.size
    assert await names(storage) == set()
    assert await storage.sql("SELECT count(*) FROM assets.upload") == 0


async def test_bytes_that_a_later_upload_shares_stay(storage: Storage) -> None:
    first = await create(storage)
    storage.clock.advance(hours=12)
    second = await create(storage)
    assert first.digest == second.digest
    storage.clock.advance(hours=13)
    assert (await storage.sweeper.run_once()).expired_uploads == 1
    assert await names(storage) == {first.digest}
    assert (await find(storage, id=second.id)).digest == first.digest
    storage.clock.advance(hours=12)
    await storage.sweeper.run_once()
    assert await names(storage) == set()


async def test_bytes_that_jobs_refers_to_stay(storage: Storage) -> None:
    made = await create(storage)
    result, lost = await storage.put(b"result"), await storage.put(b"lost")
    storage.references.digests = {made.digest, result}
    storage.clock.advance(hours=48)
    assert (await storage.sweeper.run_once()).removed.digests == (lost,)
    assert await names(storage) == {made.digest, result}


async def test_nothing_younger_than_the_grace_goes(storage: Storage) -> None:
    digest = await storage.put(b"just written")
    storage.clock.advance(minutes=59)
    await storage.sweeper.run_once()
    assert await names(storage) == {digest}
    storage.clock.advance(minutes=2)
    await storage.sweeper.run_once()
    assert await names(storage) == set()


async def test_writing_again_starts_the_grace_again(storage: Storage) -> None:
    digest = await storage.put(b"again")
    storage.clock.advance(minutes=59)
    await storage.put(b"again")
    storage.clock.advance(minutes=59)
    await storage.sweeper.run_once()
    assert await names(storage) == {digest}


async def test_nothing_goes_while_jobs_cannot_be_asked(storage: Storage) -> None:
    made = await create(storage)
    digest = await storage.put(b"unreferenced")
    storage.clock.advance(hours=48)
    storage.references.away = True
    result = await storage.sweeper.run_once()
    assert not result.asked
    assert result.removed.digests == ()
    assert await names(storage) == {made.digest, digest}
    with pytest.raises(Unavailable):
        async with translated():
            await storage.stub.ReleaseBlobs(pb.ReleaseBlobsRequest(digests=[digest]))
    storage.references.away = False
    await storage.sweeper.run_once()
    assert await names(storage) == set()


async def test_examples_stay_for_ever(storage: Storage) -> None:
    digest = await storage.put(b"example", retention=pb.RETENTION_EXAMPLE)
    await storage.put(b"example", retention=pb.RETENTION_SCRATCH)
    storage.clock.advance(days=1000)
    await storage.sweeper.run_once()
    await storage.stub.ReleaseBlobs(pb.ReleaseBlobsRequest(digests=[digest]))
    assert await names(storage) == {digest}


async def test_a_blob_written_again_while_jobs_is_asked_is_not_lost(storage: Storage, monkeypatch) -> None:
    data = os.urandom(200_000)
    digest = await storage.put(data)
    storage.clock.advance(hours=2)
    ask = storage.references.referenced

    async def ask_slowly(digests):
        answer = await ask(digests)
        await storage.put(data)
        return answer

    monkeypatch.setattr(storage.references, "referenced", ask_slowly)
    assert (await storage.sweeper.run_once()).removed.digests == ()
    assert await collect(storage.client.read(digest)) == data


async def test_a_write_that_meets_a_removal_waits_for_it_and_is_not_lost(
    storage: Storage, monkeypatch
) -> None:
    data = os.urandom(200_000)
    digest = await storage.put(data)
    storage.clock.advance(hours=2)
    remove, writing = storage.backend.remove, []

    async def remove_slowly(victim: str) -> int:
        # The row is locked: the write gets as far as its announcement, and waits.
        writing.append(asyncio.create_task(storage.put(data)))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(60):
            while not await storage.sql(waiting):  # noqa: ASYNC110 — the server has no event for it
                await asyncio.sleep(0.01)
        return await remove(victim)

    monkeypatch.setattr(storage.backend, "remove", remove_slowly)
    assert (await storage.sweeper.run_once()).removed.digests == (digest,)
    await writing[0]
    assert await collect(storage.client.read(digest)) == data
    assert await names(storage) == {digest}


async def test_writers_and_sweeps_at_once_lose_nothing(storage: Storage) -> None:
    contents = [os.urandom(5_000) for _ in range(4)]
    digests = [await storage.put(data) for data in contents]
    for _ in range(10):
        storage.clock.advance(hours=2)
        await asyncio.gather(storage.sweeper.run_once(), *(storage.put(data) for data in contents))
        assert await names(storage) == set(digests)


async def release(storage: Storage, *digests: str) -> pb.ReleaseBlobsResponse:
    async with translated():
        return await storage.stub.ReleaseBlobs(pb.ReleaseBlobsRequest(digests=digests))


async def test_a_release_frees_right_away_what_nothing_refers_to(storage: Storage) -> None:
    gone, kept = await storage.put(bytes(1000)), await storage.put(b"kept")
    storage.references.digests = {kept}
    answer = await release(storage, gone, kept, "0" * 64, gone)
    assert (answer.freed_bytes, list(answer.removed)) == (1000, [gone])
    assert await names(storage) == {kept}
    with pytest.raises(NotFound):
        await collect(storage.client.read(gone))
    assert (await release(storage, gone)).freed_bytes == 0


async def test_a_release_leaves_a_live_uploads_bytes(storage: Storage) -> None:
    made = await create(storage)
    assert (await release(storage, made.digest)).freed_bytes == 0
    assert await names(storage) == {made.digest}


async def test_a_release_leaves_bytes_that_somebody_has_just_made_again(storage: Storage) -> None:
    digest = await storage.put(b"same result")
    storage.clock.advance(minutes=1)
    await storage.put(b"same result")  # by a task that has not been committed yet
    assert (await release(storage, digest)).freed_bytes == 0
    assert await names(storage) == {digest}
    storage.clock.advance(hours=2)
    assert (await release(storage, digest)).freed_bytes == len(b"same result")


async def hold(storage: Storage, digest: str) -> None:
    async with translated():
        await storage.stub.HoldBlob(pb.HoldBlobRequest(digest=digest))


async def test_bytes_that_somebody_is_about_to_use_are_neither_released_nor_swept(storage: Storage) -> None:
    digest = await storage.put(b"a result that is deleted while a new job is made of it")
    storage.clock.advance(hours=48)
    await hold(storage, digest)
    assert (await release(storage, digest)).freed_bytes == 0
    storage.clock.advance(minutes=59)
    await storage.sweeper.run_once()
    assert await names(storage) == {digest}
    storage.clock.advance(minutes=2)
    await storage.sweeper.run_once()
    assert await names(storage) == set()


async def test_bytes_that_are_gone_or_going_cannot_be_held(storage: Storage, monkeypatch) -> None:
    with pytest.raises(NotFound):
        await hold(storage, "0" * 64)
    digest = await storage.put(b"going")
    storage.clock.advance(minutes=1)
    remove, holding = storage.backend.remove, []

    async def remove_slowly(victim: str) -> int:
        # The row is locked: whoever wants to hold it waits.
        holding.append(asyncio.create_task(hold(storage, digest)))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(60):
            while not await storage.sql(waiting):  # noqa: ASYNC110 — the server has no event for it
                await asyncio.sleep(0.01)
        return await remove(victim)

    monkeypatch.setattr(storage.backend, "remove", remove_slowly)
    assert (await release(storage, digest)).freed_bytes == len(b"going")
    with pytest.raises(NotFound):
        await holding[0]


async def test_a_sweep_asks_in_batches(storage: Storage) -> None:
    await storage.rows._execute(
        "INSERT INTO assets.blob "
        "SELECT md5(i::text) || md5(i::text), 1, 3, $1, $1 FROM generate_series(1, 1050) i",
        storage.clock.now(),
    )
    storage.clock.advance(hours=2)
    result = await storage.sweeper.run_once()
    assert len(result.removed.digests) == 1050
    assert [len(batch) for batch in storage.references.asked] == [1000, 50]


async def test_a_sweep_forgets_expired_grants(storage: Storage) -> None:
    await storage.rows._execute(
        "INSERT INTO assets.grant_write VALUES ('g', 'd', 1, $1)", storage.clock.now()
    )
    await storage.sweeper.run_once()
    assert await storage.sql("SELECT count(*) FROM assets.grant_write") == 0
