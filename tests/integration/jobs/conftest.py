from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.jobs.harness import House, open_house
from tests.support.folders import open_folder
from tests.support.postgres import Database, run_sql


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("jobs") as path:
        yield path


@pytest.fixture
async def house(folder: Path, ledger_dsn: str) -> AsyncIterator[House]:
    """A replica of `jobs` on an empty ledger."""
    async with open_house(folder, ledger_dsn) as opened:
        yield opened


@pytest.fixture
def ledger_dsn(postgres: Database) -> str:
    """DSN of a ledger without jobs."""
    run_sql(
        postgres.server,
        postgres.name,
        "DO $$ BEGIN IF to_regclass('ledger.job') IS NOT NULL THEN"
        " TRUNCATE ledger.job, ledger.dispatcher, ledger.webhook CASCADE; END IF; END $$",
    )
    return postgres.jobs_dsn
