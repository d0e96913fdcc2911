"""One real PostgreSQL for the whole test session, and an empty database for each module."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from maquette.runtime.settings import DatabaseSettings, Settings
from maquette.runtime.supervisor.postgres import SUPERUSER, LocalPostgres, schema_statements
from tests.support.folders import open_folder

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """An empty database with the schemas `ledger` and `assets`, as a first start finds it."""

    server: LocalPostgres
    name: str

    def dsn(self, role: str) -> str:
        """Return the DSN of `ledger`, `assets` or the superuser `maquette`."""
        return self.server.dsn(role, self.name)

    @property
    def jobs_dsn(self) -> str:
        """DSN as `jobs` uses it."""
        return self.dsn("ledger")

    @property
    def storage_dsn(self) -> str:
        """DSN as `storage` uses it."""
        return self.dsn("assets")

    @property
    def settings(self) -> DatabaseSettings:
        """The section of the settings that names this database."""
        return DatabaseSettings(jobs_dsn=self.jobs_dsn, storage_dsn=self.storage_dsn)


def run_sql(server: LocalPostgres, database: str, *statements: str) -> str:
    """Run statements as superuser, each in a transaction of its own; return what psql prints."""
    command = [server.program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", server.dsn(SUPERUSER, database)]
    for statement in statements:
        command += ["-c", statement]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": os.defpath, "LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[LocalPostgres]:
    """A server for the whole session. Tests that kill one start their own with `LocalPostgres`."""
    with open_folder("postgres") as folder:
        # Nothing here outlives the session: no need to wait for the disk.
        server = LocalPostgres(Settings(data_dir=folder), options={"fsync": "off"})
        server.start()
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def postgres(postgres_server: LocalPostgres) -> Iterator[Database]:
    """An empty database for the tests of one module."""
    database = Database(postgres_server, f"test_{next(_numbers)}")
    run_sql(postgres_server, "postgres", f"CREATE DATABASE {database.name}")
    run_sql(postgres_server, database.name, *schema_statements(database.name))
    yield database
    run_sql(postgres_server, "postgres", f"DROP DATABASE {database.name} WITH (FORCE)")
