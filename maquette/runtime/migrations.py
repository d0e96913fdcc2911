"""Bring a schema of PostgreSQL up to date from numbered SQL files.

A service keeps its migrations in a package of files ``0001_name.sql``, ``0002_name.sql``, …. Each is
applied once, in order, in a transaction of its own, with the schema first in `search_path`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]*")


class Connection(Protocol):
    """What is needed of an asyncpg connection."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run statements."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Return the rows of a query."""

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first value of the first row."""

    def transaction(self) -> Any:
        """Return an async context manager."""


class MigrationError(Exception):
    """The files and the database tell different histories."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def find_migrations(package: str) -> list[Migration]:
    """Return a package's migrations in order. Raises MigrationError unless numbered 1, 2, 3, …."""
    found = []
    for entry in resources.files(package).iterdir():
        match = _FILE.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the migrations of {package} are not numbered 1, 2, 3, …")
    return found


async def migrate(connection: Connection, package: str, schema: str) -> int:
    """Apply what is missing and return how many files that were.

    ``package`` is an import path, e.g. "services.storage.migrations"; ``schema`` is made when it is
    absent. Replicas that start at once take turns under an advisory lock. Raises MigrationError
    when an applied file has changed since, or when the database is ahead of the files.
    """
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"not a schema name: {schema!r}")
    migrations = find_migrations(package)
    # The key is a number of 64 bits that no other use of advisory locks in this database shares.
    key = int.from_bytes(hashlib.sha256(b"migrate\0" + schema.encode()).digest()[:8], "big", signed=True)
    await connection.execute("SELECT pg_advisory_lock($1)", key)
    try:
        await _prepare(connection, schema)
        rows = await connection.fetch(f'SELECT version, checksum FROM "{schema}".migration ORDER BY version')  # noqa: S608
        _compare(migrations, {row["version"]: row["checksum"] for row in rows}, schema)
        for migration in migrations[len(rows) :]:
            await _apply(connection, migration, schema)
        return len(migrations) - len(rows)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", key)


async def _prepare(connection: Connection, schema: str) -> None:
    # Asked first: CREATE SCHEMA IF NOT EXISTS needs a right on the database that the role,
    # whose schema was made for it, does not have.
    if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(f"""
        CREATE TABLE IF NOT EXISTS "{schema}".migration (
            version    integer PRIMARY KEY,
            name       text NOT NULL,
            checksum   text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )""")


def _compare(migrations: list[Migration], applied: dict[int, str], schema: str) -> None:
    if len(applied) > len(migrations):
        raise MigrationError(f"schema {schema} is at version {max(applied)}, newer than this program")
    for migration in migrations[: len(applied)]:
        if applied.get(migration.version) != migration.checksum:
            raise MigrationError(f"{migration.version:04}_{migration.name}.sql changed after it was applied")


async def _apply(connection: Connection, migration: Migration, schema: str) -> None:
    async with connection.transaction():
        await connection.execute(f'SET LOCAL search_path TO "{schema}"')
        await connection.execute(migration.sql)
        await connection.execute(
            f'INSERT INTO "{schema}".migration (version, name, checksum) VALUES ($1, $2, $3)',  # noqa: S608
            migration.version,
            migration.name,
            migration.checksum,
        )
