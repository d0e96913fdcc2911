"""Pictures that are fatal to the worker that reads them."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.doors import Doors, until
from tests.chaos.invariants import check, wait_until_ended
from tests.chaos.scale import record
from tests.chaos.submitting import read_job, store, submit


@pytest.mark.parametrize(
    ("feature", "reason"), [("test_crash", "WORKER_CRASHED"), ("test_oom", "OUT_OF_MEMORY")]
)
async def test_a_picture_that_kills_its_worker_fails_after_three_attempts_and_hurts_no_neighbour(
    doors: Doors, feature: str, reason: str
) -> None:
    await until(doors.at_rest, "the nodes to be at rest")
    picture = await store(doors, b"\x89PNG CRASH")
    # Longer than three crashes take, and one for every slot that the crashing job does not have.
    neighbours = [submit(doors, seed=number, seconds=4.0) for number in range(3)]
    fatal, *others = await asyncio.gather(submit(doors, feature, inputs=(picture,)), *neighbours)
    await wait_until_ended(doors, [fatal, *others])
    assert await check(doors, [fatal, *others]) == {"FAILED": 1, "SUCCEEDED": 3}

    failed = await read_job(doors, fatal)
    assert failed.error.reason == reason
    assert failed.error.message
    rows = await doors.sql(
        "SELECT j.id, t.crash_attempts FROM ledger.task t "
        "JOIN ledger.job j ON j.id = t.job_id WHERE j.id = ANY ($1)",
        [fatal, *others],
    )
    spent = {str(row["id"]): row["crash_attempts"] for row in rows}
    assert spent == {fatal: 3, **dict.fromkeys(others, 0)}
    record(f"fatal picture, {reason}", attempts=3)
