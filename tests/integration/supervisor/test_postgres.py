"""A PostgreSQL of our own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor import postgres as postgres_module
from maquette.runtime.supervisor.postgres import LocalPostgres
from tests.support.folders import open_folder
from tests.support.postgres import Database

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("pg") as path:
        yield path


@pytest.mark.parametrize(("role", "other"), [("ledger", "assets"), ("assets", "ledger")])
async def test_a_role_owns_its_schema_and_sees_nothing_of_the_others(
    postgres: Database, role: str, other: str
) -> None:
    connection = await asyncpg.connect(postgres.dsn(role))
    try:
        assert await connection.fetchval("SELECT current_schema()") == role
        await connection.execute("CREATE TABLE mine (a int)")
        for forbidden in (f"CREATE TABLE {other}.t (a int)", "CREATE TABLE public.t (a int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        await connection.execute("DROP TABLE mine")
    finally:
        await connection.close()


async def test_a_wrong_password_is_refused(postgres: Database) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.jobs_dsn, password="0")


def test_settings_name_the_server_that_was_started(folder: Path) -> None:
    settings = Settings(data_dir=folder)
    server = LocalPostgres(settings)
    server.prepare()
    assert settings.dsn("jobs") == server.dsn("ledger")
    assert settings.dsn("storage") == server.dsn("assets")
    for secret in settings.secrets_dir.iterdir():
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


async def test_a_killed_server_starts_again_with_what_was_committed(folder: Path) -> None:
    server = LocalPostgres(Settings(data_dir=folder))
    server.start()
    try:
        server.wait_ready()
        connection = await asyncpg.connect(server.dsn("ledger"))
        await connection.execute("CREATE TABLE kept (a int); INSERT INTO kept VALUES (7)")
        server.kill()
        assert (server.cluster / "postmaster.pid").exists()
        connection.terminate()
        server.start()
        server.wait_ready(5)
        connection = await asyncpg.connect(server.dsn("ledger"))
        assert await connection.fetchval("SELECT a FROM kept") == 7
        await connection.close()
    finally:
        server.stop()


def test_a_stale_pid_file_that_names_another_program_is_no_obstacle(folder: Path) -> None:
    server = LocalPostgres(Settings(data_dir=folder))
    server.prepare()
    (server.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{server.cluster}\n")
    server.start()
    try:
        server.wait_ready(10)
    finally:
        server.stop()


def test_an_interrupted_first_start_leaves_nothing_in_the_way(folder: Path) -> None:
    server = LocalPostgres(Settings(data_dir=folder))
    (folder / "pg" / "new" / "cluster").mkdir(parents=True)
    (folder / "pg" / "new" / "cluster" / "PG_VERSION").write_text("18\n")
    server.start()
    try:
        server.wait_ready()
    finally:
        server.stop()


def test_lost_passwords_are_made_anew(folder: Path) -> None:
    settings = Settings(data_dir=folder)
    LocalPostgres(settings).prepare()
    before = (settings.secrets_dir / "postgres-ledger").read_text()
    (settings.secrets_dir / "postgres-ledger").unlink()
    server = LocalPostgres(settings)
    server.start()
    try:
        server.wait_ready()
        assert (settings.secrets_dir / "postgres-ledger").read_text() != before
    finally:
        server.stop()


def test_a_data_folder_with_a_long_name_works(folder: Path) -> None:
    settings = Settings(data_dir=folder / ("deep/" * 20) / "data")
    for parent in reversed(settings.data_dir.parents):
        parent.mkdir(mode=0o711, exist_ok=True)
    server = LocalPostgres(settings)
    server.start()
    try:
        server.wait_ready()
        assert len(os.fsencode(server.sockets / ".s.PGSQL.5432")) <= 107
    finally:
        server.stop()
        shutil.rmtree(settings.run_dir)


@needs_root
def test_as_root_the_server_is_somebody_else_and_no_parent_folder_is_touched(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    settings = Settings(data_dir=closed / "data")
    server = LocalPostgres(settings)
    server.start()
    try:
        server.wait_ready()
        assert psutil.Process(server.pid).uids().real not in (0, os.getuid())
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert not server.home.is_relative_to(closed)
        assert LocalPostgres(settings).home == server.home
    finally:
        server.stop()
        server.remove()


def test_a_first_start_at_a_terminal_asks_nothing(folder: Path) -> None:
    make = (
        "from maquette.runtime.settings import Settings;"
        "from maquette.runtime.supervisor.postgres import LocalPostgres;"
        f"LocalPostgres(Settings(data_dir={str(folder)!r})).prepare()"
    )
    at_a_terminal = f"import pty, sys; sys.exit(pty.spawn([sys.executable, '-c', {make!r}]))"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", at_a_terminal],
        cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "assword" not in done.stdout
    assert (folder / "pg" / "cluster" / "PG_VERSION").exists()


@needs_root
def test_programs_in_a_folder_that_only_root_can_enter_are_copied_out_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    postgres_module._copy_programs(postgres_module._installed_programs(), closed / "wheel")
    (programs,) = closed.glob("wheel/*/pginstall*")
    monkeypatch.setattr(postgres_module, "_installed_programs", lambda: programs)
    server = LocalPostgres(Settings(data_dir=folder / "data"))
    server.start()
    try:
        server.wait_ready()
        assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(server.home)
    finally:
        server.stop()
