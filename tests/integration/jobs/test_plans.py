"""What a statement looks at does not grow with what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson

from services.jobs.ledger.tasks import CLAIM
from tests.integration.jobs.harness import House

_WAITING = 300


async def test_a_claim_looks_at_what_it_may_pick_and_not_at_all_that_waits(house: House) -> None:
    await asyncio.gather(*(house.create() for _ in range(_WAITING)))
    pairs = ["work/test"]
    replica = await house.sql("SELECT id FROM ledger.dispatcher")
    plan = await house.sql(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {CLAIM}",
        replica[0]["id"],
        ["work"],
        pairs,
        pairs,
        [],
        1,
        5.0,
        3,
        6.0,
        ["work"],
    )
    looked_at = sum(_rows(orjson.loads(plan[0][0])[0]["Plan"]))
    assert 1 <= looked_at < _WAITING / 5


def _rows(node: dict[str, Any]) -> Iterator[float]:
    """Yield how many rows of tables each node of a plan read, also those it passed over."""
    if "Relation Name" in node:
        yield node["Actual Loops"] * (
            node["Actual Rows"]
            + node.get("Rows Removed by Filter", 0)
            + node.get("Rows Removed by Index Recheck", 0)
        )
    for child in node.get("Plans", ()):
        yield from _rows(child)
