"""Migrations: applied once, in order, whoever starts at the same time."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from maquette.runtime import migrations
from maquette.runtime.migrations import Migration, MigrationError, find_migrations, migrate
from tests.support.postgres import Database

PACKAGE = "services.storage.migrations"
PROBE = [
    Migration(1, "one", "CREATE TABLE probe (n int)"),
    Migration(2, "two", "INSERT INTO probe VALUES (2)"),
]


@pytest.fixture
async def connections(postgres: Database):
    opened = [await asyncpg.connect(postgres.storage_dsn) for _ in range(3)]
    await opened[0].execute("DROP TABLE IF EXISTS assets.migration, assets.probe")
    yield opened
    await opened[0].execute("DROP TABLE IF EXISTS assets.migration, assets.probe")
    for connection in opened:
        await connection.close()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    found = list(PROBE)
    monkeypatch.setattr(migrations, "find_migrations", lambda package: found)
    return found


async def test_replicas_that_start_at_once_apply_each_file_once(connections, files) -> None:
    applied = await asyncio.gather(*(migrate(connection, PACKAGE, "assets") for connection in connections))
    assert sorted(applied) == [0, 0, 2]
    assert await connections[0].fetchval("SELECT count(*) FROM assets.probe") == 1


async def test_only_what_is_missing_is_applied(connections, files) -> None:
    del files[1]
    assert await migrate(connections[0], PACKAGE, "assets") == 1
    files.append(PROBE[1])
    assert await migrate(connections[0], PACKAGE, "assets") == 1


async def test_a_file_that_fails_leaves_nothing_of_itself(connections, files) -> None:
    files[1] = Migration(2, "two", "INSERT INTO probe VALUES (2); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connections[0], PACKAGE, "assets")
    assert await connections[0].fetchval("SELECT count(*) FROM assets.probe") == 0
    files[1] = PROBE[1]
    assert await migrate(connections[1], PACKAGE, "assets") == 1  # the lock is free again


async def test_a_changed_history_is_refused(connections, files) -> None:
    await migrate(connections[0], PACKAGE, "assets")
    files[0] = Migration(1, "one", "CREATE TABLE probe (n bigint)")
    with pytest.raises(MigrationError, match="changed"):
        await migrate(connections[0], PACKAGE, "assets")


async def test_a_database_from_the_future_is_refused(connections, files) -> None:
    await migrate(connections[0], PACKAGE, "assets")
    del files[1]
    with pytest.raises(MigrationError, match="newer"):
        await migrate(connections[0], PACKAGE, "assets")


@pytest.mark.parametrize("schema", ['a"; DROP TABLE x; --', "", "Upper"])
async def test_a_schema_has_a_plain_name(connections, schema: str) -> None:
    with pytest.raises(ValueError, match="schema"):
        await migrate(connections[0], PACKAGE, schema)


def test_the_services_files_are_numbered() -> None:
    assert [migration.version for migration in find_migrations(PACKAGE)] == [1, 2]
