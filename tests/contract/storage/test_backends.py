"""What every back end promises, whichever it is."""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest

from maquette.runtime.errors import Internal, InvalidArgument, MaquetteError, NotFound, Unavailable
from services.storage.backends.s3 import S3Backend, S3Config, connect
from tests.support.bucket import PREFIX

from .conftest import PART_BYTES, Subject


async def put(subject: Subject, data: bytes, chunk: int = 300_000) -> tuple[str, bool]:
    spool = await subject.backend.open_spool()
    try:
        for start in range(0, len(data), chunk):
            await spool.write(data[start : start + chunk])
        await spool.finish()
        assert spool.size == len(data)
        assert spool.digest == hashlib.sha256(data).hexdigest()
        return spool.digest, await subject.backend.publish(spool)
    finally:
        await spool.discard()


async def get(subject: Subject, digest: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in subject.backend.read(digest, offset, length)])


@pytest.mark.parametrize("size", [0, 1, 262_144, 1_048_577, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
async def test_bytes_come_back_as_they_went(subject: Subject, size: int) -> None:
    data = os.urandom(size)
    digest, new = await put(subject, data)
    assert new
    assert await get(subject, digest) == data
    stat = await subject.backend.stat(digest)
    assert stat.size == size
    assert abs(stat.written_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert not list(subject.spools.iterdir())
    assert not subject.unfinished()


async def test_chunks_are_at_most_256_kib(subject: Subject) -> None:
    digest, _ = await put(subject, bytes(1_500_000))
    sizes = [len(chunk) async for chunk in subject.backend.read(digest)]
    assert max(sizes) <= 256 * 1024
    assert sum(sizes) == 1_500_000


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (0, 10**9), (5, None), (299_999, 2), (700_000, None), (700_000, 5), (123, 0), (699_999, 9)],
)
async def test_ranges(subject: Subject, offset: int, length: int | None) -> None:
    data = os.urandom(700_000)
    digest, _ = await put(subject, data)
    end = None if length is None else offset + length
    assert await get(subject, digest, offset, length) == data[offset:end]


async def test_a_range_behind_the_end_is_refused(subject: Subject) -> None:
    digest, _ = await put(subject, b"abc")
    with pytest.raises(InvalidArgument):
        await get(subject, digest, 4)


async def test_the_same_bytes_twice_are_one_blob(subject: Subject) -> None:
    data = os.urandom(100_000)
    assert [await put(subject, data), await put(subject, data)] == [
        (hashlib.sha256(data).hexdigest(), True),
        (hashlib.sha256(data).hexdigest(), False),
    ]
    assert len(subject.visible()) == 1


async def test_writers_of_the_same_bytes_at_once_agree(subject: Subject) -> None:
    data = os.urandom(PART_BYTES + 1000)
    outcomes = await asyncio.gather(*(put(subject, data) for _ in range(3)))
    assert {digest for digest, _ in outcomes} == {hashlib.sha256(data).hexdigest()}
    assert len(subject.visible()) == 1
    assert await get(subject, outcomes[0][0]) == data
    assert not subject.unfinished()


async def test_what_is_not_published_is_not_visible(subject: Subject) -> None:
    spool = await subject.backend.open_spool()
    await spool.write(bytes(3_000_000))
    await spool.finish()
    assert await subject.backend.stat(spool.digest) is None
    with pytest.raises(NotFound):
        await get(subject, spool.digest)
    await spool.discard()
    await spool.discard()
    assert not list(subject.spools.iterdir())


async def test_a_cancelled_writer_leaves_nothing(subject: Subject) -> None:
    opened = asyncio.Event()

    async def write() -> None:
        spool = await subject.backend.open_spool()
        try:
            while True:
                await spool.write(bytes(500_000))
                opened.set()
                await asyncio.sleep(0)
        finally:
            await spool.discard()

    task = asyncio.create_task(write())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list(subject.spools.iterdir())
    assert not subject.visible()


async def test_absent_blobs(subject: Subject) -> None:
    assert await subject.backend.stat("0" * 64) is None
    assert await subject.backend.remove("0" * 64) == 0
    with pytest.raises(NotFound):
        await get(subject, "0" * 64)
    with pytest.raises(NotFound):
        await get(subject, "0" * 64, 1, 1)


async def test_removing_frees_the_bytes(subject: Subject) -> None:
    digest, _ = await put(subject, bytes(12_345))
    assert await subject.backend.remove(digest) == 12_345
    assert await subject.backend.remove(digest) == 0
    assert not subject.visible()
    assert (await put(subject, bytes(12_345)))[1]


async def test_a_damaged_blob_raises_before_it_ends(subject: Subject) -> None:
    data = os.urandom(2_000_000)
    digest, _ = await put(subject, data)
    subject.damage(digest, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Internal, match="damaged"):
        await get(subject, digest)
    assert await get(subject, digest, 0, 1000) == data[:1000]


async def test_a_reader_that_stops_early_gives_back_what_it_holds(subject: Subject, monkeypatch) -> None:
    digest, _ = await put(subject, bytes(6_000_000))
    holdings = Holdings(subject, monkeypatch)
    for _ in range(20):
        chunks = subject.backend.read(digest)
        await anext(chunks)
        await chunks.aclose()
    await holdings.given_back()


async def test_cleaning_takes_dead_files_and_leaves_live_ones(subject: Subject) -> None:
    (subject.spools / "dead.part").write_bytes(b"of a process that was killed")
    spool = await subject.backend.open_spool()
    assert await subject.backend.clean() == 1
    assert list(subject.spools.iterdir()) == [spool.path]
    await spool.write(b"still alive")
    await spool.finish()
    assert await subject.backend.publish(spool)
    await spool.discard()
    assert await get(subject, spool.digest) == b"still alive"


async def test_free_space_is_known_where_spools_lie(subject: Subject) -> None:
    assert await subject.backend.free_bytes() > 0


@pytest.mark.parametrize("kind", ["moto", "real"])
async def test_a_failing_part_aborts_the_whole(subject: Subject, monkeypatch) -> None:
    backend = subject.backend
    send, sent = backend._client.upload_part, []

    def fail_second(**arguments):
        sent.append(arguments["PartNumber"])
        if len(sent) == 2:
            raise ConnectionResetError("the wire was cut")
        return send(**arguments)

    monkeypatch.setattr(backend._client, "upload_part", fail_second)
    with pytest.raises(Unavailable):
        await put(subject, os.urandom(2 * PART_BYTES))
    assert sent == [1, 2]
    assert not subject.visible()
    assert not subject.unfinished()


@pytest.mark.parametrize("kind", ["moto", "real"])
async def test_an_abandoned_part_upload_is_aborted_after_a_day(subject: Subject, monkeypatch) -> None:
    client = connect(subject.s3)
    client.create_multipart_upload(Bucket=subject.s3.bucket, Key=f"{PREFIX}ab/cd/abcd")
    # Set rather than waited for; moto calls every part upload one of 2010.
    monkeypatch.setattr("services.storage.backends.s3._ABANDONED", timedelta(days=36_500))
    assert await subject.backend.clean() == 0
    assert len(subject.unfinished()) == 1
    monkeypatch.setattr("services.storage.backends.s3._ABANDONED", timedelta(seconds=-60))
    assert await subject.backend.clean() == 1
    assert not subject.unfinished()


@pytest.mark.parametrize("kind", ["moto", "real"])
async def test_keys_stay_below_the_prefix(subject: Subject) -> None:
    digest, _ = await put(subject, b"abc")
    assert subject.visible() == [f"{PREFIX}{digest[:2]}/{digest[2:4]}/{digest}"]


@pytest.mark.parametrize("kind", ["real"])
async def test_wrong_keys_are_refused_by_a_real_store(subject: Subject, tmp_path) -> None:
    wrong = S3Config(**{**vars_of(subject.s3), "secret_access_key": "wrong"})
    backend = S3Backend(wrong, tmp_path / "other", subject.executor)
    with pytest.raises(Unavailable):
        await backend.stat("0" * 64)
    await backend.close()


async def test_a_store_that_is_away_is_unavailable(tmp_path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as executor:
        config = S3Config("bucket", endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b")
        backend = S3Backend(config, tmp_path, executor)
        with pytest.raises(Unavailable):
            await backend.stat("0" * 64)
        with pytest.raises(MaquetteError):
            await anext(backend.read("0" * 64))
        await backend.close()


def vars_of(config: S3Config) -> dict[str, object]:
    return {name: getattr(config, name) for name in S3Config.__slots__}


class Holdings:
    """What a back end holds from now on, compared with what it held before."""

    def __init__(self, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        self._subject = subject
        self._most = subject.held() + subject.idle
        self._calls: list[Future] = []
        """Kept with their results: what nobody closes shall not be closed by the garbage collector."""
        submit = subject.executor.submit

        def submit_and_keep(*call) -> Future:
            self._calls.append(submit(*call))
            return self._calls[-1]

        monkeypatch.setattr(subject.executor, "submit", submit_and_keep)

    async def given_back(self) -> None:
        """Wait until every call has returned and what they opened is closed."""
        async with asyncio.timeout(60):
            while not all(call.done() for call in self._calls) or self._subject.held() > self._most:  # noqa: ASYNC110 — what is awaited has no event of its own
                await asyncio.sleep(0.01)
