"""Processes in which bytes from strangers are parsed.

A worker is a Python process of its own with memory and CPU limits, an unprivileged uid when we are
root, and no way to open a connection; it speaks to its parent through two pipes. What a worker can
rely on and what it cannot do is told in :mod:`maquette.runtime.sandbox.child`.

`SandboxPool` runs single functions; a capability node runs its engines in the same workers.
The names below are loaded on first use, so that a worker does not import its parent's half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maquette.runtime.sandbox.errors import OutOfMemory, RemoteFailure, TimedOut, WorkerCrashed
    from maquette.runtime.sandbox.pool import Lease, SandboxPool
    from maquette.runtime.sandbox.spec import WorkerSpec
    from maquette.runtime.sandbox.worker import WorkerProcess

_HOMES = {
    "Lease": "pool",
    "OutOfMemory": "errors",
    "RemoteFailure": "errors",
    "SandboxPool": "pool",
    "TimedOut": "errors",
    "WorkerCrashed": "errors",
    "WorkerProcess": "worker",
    "WorkerSpec": "spec",
}

__all__ = [
    "Lease",
    "OutOfMemory",
    "RemoteFailure",
    "SandboxPool",
    "TimedOut",
    "WorkerCrashed",
    "WorkerProcess",
    "WorkerSpec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
