"""One mesh a data folder, one listener a port; whoever comes second is told who is there."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.errors import AlreadyRunning, PortInUse

LOCK_FILE = "maquette.lock"


@contextmanager
def hold_data_folder(settings: Settings) -> Iterator[None]:
    """Hold the data folder for this process. Raises AlreadyRunning naming the one that has it."""
    path = settings.data_dir / LOCK_FILE
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_describe_holder(path)) from None
        file.truncate()
        json.dump({"pid": os.getpid(), "url": settings.base_url}, file)
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def data_folder_is_free(settings: Settings) -> bool:
    """Tell whether no mesh runs on the data folder now."""
    try:
        file = os.open(settings.data_dir / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"Maquette is already running on {holder['url']} (pid {holder['pid']})"
    except (ValueError, KeyError):
        return f"Maquette is already starting in {path.parent}"


def check_ports(settings: Settings) -> None:
    """Raise PortInUse or AlreadyRunning when the public listener could not bind to one of its ports.

    Envoy itself would share a port silently with another Envoy (SO_REUSEPORT).
    """
    for port in settings.public_ports():
        _check_port(settings, port)


def _check_port(settings: Settings, port: int) -> None:
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    with socket.socket(family) as probe:
        # As Envoy does: connections of an earlier run that linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.bind, port))
            probe.listen(1)
        except PermissionError:
            raise PortInUse(f"Port {port} is for root only; choose another with --port") from None
        except OSError as error:
            raise _describe_listener(settings, port, error) from None


def _describe_listener(settings: Settings, port: int, error: OSError) -> AlreadyRunning | PortInUse:
    listener = _listener(port)
    if listener is None:
        reason = error.strerror or str(error)
        return PortInUse(f"Cannot listen on {settings.bind}:{port}: {reason}; choose another with --port")
    supervisor = _parent(listener)
    if _name(listener) == "envoy" and supervisor is not None and _is_ours(supervisor):
        return AlreadyRunning(
            f"Maquette is already running on http://localhost:{port} (pid {supervisor.pid}), "
            "with another data folder; choose another port with --port"
        )
    program = f"{_name(listener)} (pid {listener.pid})"
    return PortInUse(f"Port {port} is in use by {program}; choose another with --port")


def _listener(port: int) -> psutil.Process | None:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:] == (port,):
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.Error:
        return None


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "another program"


def _is_ours(process: psutil.Process) -> bool:
    try:
        return any("maquette" in part for part in process.cmdline())
    except psutil.Error:
        return False


def local_host(bind: str) -> str:
    """Return the address at which this machine reaches a listener bound to ``bind``."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind, f"[{bind}]" if ":" in bind else bind)  # noqa: S104
