"""What is old is forgotten, and nothing else is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from services.jobs.convert import feed_events
from services.storage.references import JobsReferences
from tests.integration.jobs.harness import DIGEST, House, eventually, forever, key, open_house, reason

DAY = 86_400
TABLES = ("job", "job_alias", "task", "artifact", "job_event")


async def aged(house: House, *jobs: jobs_pb2.Job, seconds: int) -> None:
    """Make jobs look as if all that happened to them had happened earlier."""
    await house.sql(
        "UPDATE ledger.job SET created_at = created_at - make_interval(secs => $2),"
        " ended_at = ended_at - make_interval(secs => $2) WHERE id::text = ANY ($1)",
        [job.id for job in jobs],
        float(seconds),
    )


async def rows(house: House, job: jobs_pb2.Job) -> dict[str, int]:
    found = {}
    for table in TABLES:
        column = "id" if table == "job" else "job_id"
        found[table] = len(await house.sql(f"SELECT 1 FROM ledger.{table} WHERE {column}::text = $1", job.id))
    return found


async def refusal(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return reason(caught.value)


async def referenced(house: House) -> set[str]:
    """Ask as storage's sweep does before it removes bytes."""
    return set(await JobsReferences(house.channel).referenced([DIGEST]))


async def test_an_old_job_goes_with_all_that_is_its_own(house: House) -> None:
    await house.node()
    old = await house.ended(await house.submit(aliases=["outside"]))
    assert all((await rows(house, old)).values())
    assert await referenced(house) == {DIGEST}
    await aged(house, old, seconds=31 * DAY)
    await house.ledger.retention.sweep()
    assert not any((await rows(house, old)).values())
    assert await referenced(house) == set()
    assert await refusal(house.get(old)) == "NOT_FOUND"
    path = jobs_pb2.ResolvePathRequest(account_id="public", path=old.result.artifacts[0].path)
    assert await refusal(house.artifacts.ResolvePath(path)) == "NOT_FOUND"


async def test_a_young_job_an_open_one_and_an_example_stay(house: House) -> None:
    _node, stop = await house.mortal_node()
    young, example = [await house.ended(await house.submit()) for _ in range(2)]
    await stop()
    waiting = await house.submit()
    await aged(house, young, seconds=29 * DAY)
    await aged(house, example, waiting, seconds=60 * DAY)
    await house.sql("UPDATE ledger.artifact SET retention = 'example' WHERE job_id::text = $1", example.id)
    await house.ledger.retention.sweep()
    for job in (young, example, waiting):
        assert (await rows(house, job))["task"] == 1


async def test_the_bytes_an_open_job_reads_outlive_the_job_that_made_them(house: House) -> None:
    _node, stop = await house.mortal_node()
    old = await house.ended(await house.submit())
    await stop()
    spec = jobs_pb2.TaskSpec(name="task", feature="work")
    spec.inputs.add(role="image").file.digest = DIGEST
    await house.submit(spec)
    await aged(house, old, seconds=31 * DAY)
    await house.ledger.retention.sweep()
    assert (await rows(house, old))["job"] == 0
    assert await referenced(house) == {DIGEST}


async def test_feeds_are_told_of_a_job_that_went(house: House) -> None:
    await house.node()
    old = await house.ended(await house.submit())
    await aged(house, old, seconds=31 * DAY)
    # Held no more here, but perhaps by a gateway.
    house.ledger.hub.forget(old.id)
    told: list[jobs_pb2.JobEvent] = []
    in_step = asyncio.Event()

    async def listen() -> None:
        async for item in house.feed.WatchFeed(jobs_pb2.WatchFeedRequest()):
            told.extend(feed_events(item))
            if item.WhichOneof("item") == "synced":
                in_step.set()

    listening = asyncio.create_task(listen())
    await in_step.wait()
    await house.ledger.retention.sweep()
    await eventually(lambda: told and told[-1].type == jobs_pb2.EVENT_TYPE_DELETED)
    assert (told[-1].job.id, told[-1].seq > old.seq) == (old.id, True)
    listening.cancel()


async def test_an_old_key_makes_a_new_job_and_a_young_one_does_not(house: House) -> None:
    first = await house.create(idempotency_key="k", request_digest="d")
    await aged(house, first.job, seconds=DAY - 60)
    await house.ledger.retention.sweep()
    assert not (await house.create(idempotency_key="k", request_digest="d")).created
    await aged(house, first.job, seconds=120)
    await house.ledger.retention.sweep()
    again = await house.create(idempotency_key="k", request_digest="other")
    assert again.created and again.job.id != first.job.id
    assert (await house.get(first.job)).state == jobs_pb2.STATE_QUEUED


async def test_one_replica_sweeps_at_a_time(house: House, ledger_dsn: str) -> None:
    await house.node()
    old = await house.ended(await house.submit())
    await aged(house, old, seconds=31 * DAY)
    other = await asyncpg.connect(ledger_dsn)
    try:
        await other.execute("SELECT pg_advisory_lock(7843, 1)")
        await house.ledger.retention.sweep()
        assert (await rows(house, old))["job"] == 1
    finally:
        await other.close()
    await house.ledger.retention.sweep()
    assert (await rows(house, old))["job"] == 0


async def test_a_sweep_takes_many_batches_and_stops_at_its_bound(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.jobs.retention._BATCH", 2)
    monkeypatch.setattr("services.jobs.retention._BATCHES", 3)
    await house.node()
    jobs = [await house.ended(await house.submit()) for _ in range(7)]
    await aged(house, *jobs, seconds=31 * DAY)
    left = []
    for _ in range(2):
        await house.ledger.retention.sweep()
        left.append(sum([(await rows(house, job))["job"] for job in jobs]))
    assert left == [1, 0]


async def test_a_replica_sweeps_by_itself(folder: Path, ledger_dsn: str) -> None:
    short = {"job_lifetime_seconds": 0.2, "sweep_seconds": 0.05}
    async with open_house(folder, ledger_dsn, **short) as house:
        node = await house.node()
        ended = await house.submit()
        await eventually(lambda: node.seen)

        async def gone() -> bool:
            return not (await rows(house, ended))["job"]

        await eventually(gone)


async def test_zero_keeps_for_ever(folder: Path, ledger_dsn: str) -> None:
    never = {"job_lifetime_seconds": 0, "key_lifetime_seconds": 0}
    async with open_house(folder, ledger_dsn, **never) as house:
        await house.node()
        old = await house.ended(await house.submit(idempotency_key="k", request_digest="d"))
        await aged(house, old, seconds=1000 * DAY)
        await house.ledger.retention.sweep()
        assert not (await house.create(idempotency_key="k", request_digest="d")).created


async def test_a_running_job_outlives_any_sweep(folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn, job_lifetime_seconds=0.001) as house:
        node = await house.node(forever)
        job = await house.submit()
        await eventually(lambda: node.busy == 1)
        await house.ledger.retention.sweep()
        assert (await house.get(job)).state == jobs_pb2.STATE_RUNNING
        await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
