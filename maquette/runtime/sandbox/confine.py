"""Closing a worker's door: limits, uid, filters. Runs in the child.

`before_import` runs while nothing but this package is loaded, so that every thread a library starts
inherits it; `before_work` runs when all code is loaded and before the first foreign byte.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from maquette.runtime.sandbox import landlock, seccomp
from maquette.runtime.sandbox.imports import pin_imports

_PR_SET_PDEATHSIG = 1
_MIB = 1 << 20
_OPEN_FILES = 512
_THREADS = 512
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Address space that libraries reserve without using it, and room for the data of a call's own
# bookkeeping: the watch on resident memory is the limit that counts.
_RESERVED_MIB = 4096
_SLACK_MIB = 256


class CannotConfine(RuntimeError):
    """The machine does not let us close the door."""


def before_import(config: dict[str, Any]) -> int:
    """Set the limits that hold for life and the folders in reach. Returns the Landlock ABI, 0 without."""
    os.umask(0o077)
    size = int(config["max_file_mib"]) * _MIB
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    rules = [(Path(root), landlock.READ) for root in config["readable"]]
    rules += [(Path(entry), landlock.LIST) for entry in sys.path if entry]
    rules += [(Path(name), landlock.DEVICE) for name in _DEVICES]
    rules += [(Path(name), landlock.WRITE) for name in config["writable"]]
    try:
        return landlock.restrict(rules, execute=bool(config["processes"]))
    except OSError as error:
        print(f"no Landlock: {error}", file=sys.stderr)  # noqa: T201 — stderr is the worker's log
        return 0


def before_work(config: dict[str, Any]) -> dict[str, Any]:
    """Drop the uid and install the filter. Returns what holds; raises CannotConfine."""
    strict = bool(config["require_confinement"])
    held: dict[str, Any] = {"uid": os.getuid(), "seccomp": False}
    try:
        if config["uid"] is not None:
            _drop(int(config["uid"]))
            held["uid"] = os.getuid()
    except OSError as error:
        if strict:
            raise CannotConfine(f"cannot leave root for uid {config['uid']}: {error.strerror}") from error
    # A change of uid clears it, so it comes after.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != config["parent"] and os.getppid() != 0:
        os._exit(0)
    try:
        seccomp.install(processes=bool(config["processes"]))
        held["seccomp"] = True
    except seccomp.Refused as error:
        if strict:
            raise CannotConfine(str(error.strerror)) from error
    return held


def _drop(uid: int) -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (_THREADS, _THREADS))
    pin_imports()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def limit_call(memory_mib: int, cpu_seconds: float) -> None:
    """Set the soft limits of one call, counted from what the process holds and has used now.

    Past the memory limits an allocation fails (MemoryError) before the parent's watch sees it;
    past the CPU limit the process dies of SIGXCPU. Both are back-stops.
    """
    pages = Path("/proc/self/statm").read_text().split()
    page = resource.getpagesize()
    for kind, held, room in (
        (resource.RLIMIT_AS, int(pages[0]) * page, memory_mib + _RESERVED_MIB),
        (resource.RLIMIT_DATA, int(pages[5]) * page, memory_mib + _SLACK_MIB),
    ):
        _soften(kind, held + room * _MIB)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soften(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + cpu_seconds) + 1)


def _soften(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
