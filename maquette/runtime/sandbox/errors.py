"""How a call into a worker fails.

::

    MaquetteError
    ├── Internal
    │   ├── RemoteFailure   PROCESSING_FAILED: the function raised
    │   ├── WorkerCrashed   WORKER_CRASHED: the process died
    │   └── OutOfMemory     OUT_OF_MEMORY: it grew past its limit and was killed
    ├── DeadlineExceeded
    │   └── TimedOut        TIMED_OUT
    ├── Unavailable
    │   └── WorkerUnfit     UNAVAILABLE: no worker can be had here
    └── …                   a MaquetteError that the function raised comes back as itself
"""

from __future__ import annotations

import signal

from maquette.runtime.errors import DeadlineExceeded, Internal, Unavailable


class RemoteFailure(Internal):
    """The function raised; ``kind`` is the name of the exception's class, ``trace`` is for logs."""

    default_reason = "PROCESSING_FAILED"

    def __init__(self, kind: str, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.trace = trace


class WorkerCrashed(Internal):
    """The worker process died during the call."""

    default_reason = "WORKER_CRASHED"


class OutOfMemory(Internal):
    """The worker grew past its memory limit and was killed."""

    default_reason = "OUT_OF_MEMORY"


class TimedOut(DeadlineExceeded):
    """The call ran longer than it may."""


class WorkerUnfit(Unavailable):
    """A worker cannot be started or confined on this machine."""


def describe_exit(status: int) -> str:
    """Tell how a process ended from its `Popen.returncode`, e.g. "died of SIGSEGV"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:
        return f"died of signal {-status}"
