"""Sockets that only their owner can open."""

from __future__ import annotations

import socket
from pathlib import Path

_BACKLOG = 2048


def listen(target: str) -> socket.socket:
    """Listen at ``unix:<path>`` (0600) or ``host:port``. Raises OSError."""
    if not target.startswith("unix:"):
        host, port = host_and_port(target)
        return socket.create_server((host, port), backlog=_BACKLOG)
    path = Path(target.removeprefix("unix:"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    # Before anybody can connect. Not by a umask: that is the whole process's, also of threads that make
    # folders.
    path.chmod(0o600)
    listening.listen(_BACKLOG)
    return listening


def host_and_port(target: str) -> tuple[str, int]:
    """Take a target ``host:port`` or ``dns:///host:port`` apart."""
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    return host.strip("[]"), int(port)
