"""Compiled functions that outlive a worker, without letting a worker change another's.

What is loaded from such a cache runs. So a worker gets a copy of its own; what it compiled before
its door closed, when it had seen no foreign byte, is published; what it compiles later is dropped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_out(shared: Path, private: Path) -> None:
    """Copy the shared cache to a worker's own folder."""
    with _locked(shared, fcntl.LOCK_SH):
        shutil.copytree(shared, private, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))


def publish(private: Path, shared: Path) -> bool:
    """Replace the shared cache by a worker's, if that holds anything new. Returns whether it did."""
    with _locked(shared, fcntl.LOCK_EX):
        if _listing(private) <= _listing(shared):
            return False
        for left in shared.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
        shutil.copytree(private, shared, dirs_exist_ok=True)
        return True


@contextmanager
def _locked(shared: Path, kind: int) -> Iterator[None]:
    shared.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shared.mkdir(exist_ok=True, mode=0o700)
    fd = os.open(shared / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, kind)
        yield
    finally:
        os.close(fd)


def _listing(root: Path) -> set[tuple[str, int]]:
    return {
        (str(path.relative_to(root)), path.stat().st_size)
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
