"""Keeping the import system alive for a worker that may no longer walk to its own code.

Root's Python may live where no other uid can walk (its home, say). All that runs is imported
before the uid is dropped, but libraries import more while they work. So each such folder is kept
open, and the import system is pointed at the descriptor: `/proc/self/fd/<n>` needs no walk.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path


def pin_imports() -> None:
    """Point `sys.path` and every package's `__path__` at open folders where others cannot walk."""
    moved: list[tuple[str, str]] = []
    for index, entry in enumerate(sys.path):
        if entry and Path(entry).is_dir() and not reachable(Path(entry)):
            fd = os.open(entry, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            sys.path[index] = f"/proc/self/fd/{fd}"
            moved.append((entry, sys.path[index]))
    if not moved:
        return
    moved.sort(key=lambda pair: -len(pair[0]))
    for module in list(sys.modules.values()):
        places = getattr(module, "__path__", None)
        if isinstance(places, list):
            places[:] = [_move(place, moved) for place in places]
    sys.path_importer_cache.clear()


def reachable(path: Path) -> bool:
    """Tell whether any uid can walk down to a folder."""
    whole = path.absolute()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (whole, *whole.parents))


def _move(place: str, moved: list[tuple[str, str]]) -> str:
    for old, new in moved:
        if place == old or place.startswith(old + "/"):
            return new + place[len(old) :]
    return place
