"""Numeric uids for workers: as long as it runs, no other worker of this machine has a worker's uid.

Each uid is a lock file in a folder of root's own, whichever mesh the pool belongs to. A lock goes with the
process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

UIDS = 4_000
"""How many uids there are, from `capability.uid_base` on."""
_FOLDER = "maquette-uids"


@contextmanager
def claimed_uids(
    base: int, owner: str, count: int, folder: Path | None = None
) -> Iterator[Sequence[int | None]]:
    """Hold ``count`` uids of our own while the block runs; None for each where we are not root.

    ``owner`` decides where in the range the search begins, so that uids are not soon used again; ``folder``
    holds the locks, by default the machine's. Raises OSError when too few are free.
    """
    if os.geteuid() != 0:
        yield [None] * count
        return
    locks = _private(folder or _machine_folder())
    held: dict[int, int] = {}
    try:
        first = zlib.crc32(owner.encode())
        for step in range(UIDS):
            if len(held) == count:
                break
            uid = base + (first + step) % UIDS
            lock = _try_lock(locks / str(uid))
            if lock is not None:
                held[uid] = lock
        if len(held) < count:
            raise OSError(f"of the uids from {base} on, {UIDS - len(held)} are taken; {count} are needed")
        yield list(held)
    finally:
        for lock in held.values():
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _machine_folder() -> Path:
    """Return the same place for every mesh of the machine: one that is empty after a restart."""
    run = Path("/run")
    return (run if run.is_dir() and os.access(run, os.W_OK) else Path(tempfile.gettempdir())) / _FOLDER


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        # The name can be guessed: locks count only where nobody else can take them away.
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise PermissionError(f"{folder} is not a folder of our own") from None
    return folder
