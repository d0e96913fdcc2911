"""Folders of workers and of their calls, safe against what runs in them.

::

    <root>/<name>-<pid>-<random>/     ours, locked while we live, 0711
        <index>/                      ours, group of the worker's uid, 0750
            scratch/                  the worker's: HOME, compiled functions
            in/<call>/                ours: the worker reads
            out/<call>/               the worker's: it writes, we collect

A worker owns no folder that we write into, and nothing it made is followed, only opened beneath
its `out` folder: a link planted there leads nowhere.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from maquette.runtime.sandbox.errors import RemoteFailure
from maquette.runtime.sandbox.imports import reachable

_LOCK = ".lock"


class Workspace:
    """The folder of one pool of workers; leftovers of dead pools beside it are removed."""

    def __init__(self, preferred: Path, name: str) -> None:
        """Make the folder below ``preferred`` if a worker's uid can reach that.

        Else below the system's temporary folder: no parent folder's mode is touched.
        """
        root = _root(preferred)
        _sweep(root)
        self.path = Path(tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-", dir=root))
        # Locked before it has the name by which a sweep looks for it.
        draft = self.path / f"{_LOCK}.new"
        self._lock = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        draft.rename(self.path / _LOCK)
        self.path.chmod(0o711)

    def room(self, index: int, uid: int | None) -> Room:
        """Make the folder of one worker anew; what an earlier worker left in it goes."""
        path = self.path / str(index)
        # The last call's folders may be going at this moment: what is gone already is no fault, and
        # what stays fails the next line.
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        room = Room(path, uid)
        room.inputs.mkdir(mode=0o755)
        room.outputs.mkdir(mode=0o755)
        room.scratch.mkdir(mode=0o700)
        (room.scratch / "jit").mkdir(mode=0o700)
        if uid is not None:
            os.chown(path, -1, uid)
            path.chmod(0o750)
            os.chown(room.scratch, uid, uid)
        return room

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


@dataclass(slots=True)
class Room:
    """The folder of one worker."""

    path: Path
    uid: int | None
    _calls: int = field(default=0, init=False)

    @property
    def scratch(self) -> Path:
        """The worker's own folder."""
        return self.path / "scratch"

    @property
    def inputs(self) -> Path:
        """Parent of what calls read."""
        return self.path / "in"

    @property
    def outputs(self) -> Path:
        """Parent of what calls write."""
        return self.path / "out"

    def call(self) -> CallFolder:
        """Make the folder of one call."""
        self._calls += 1
        name = str(self._calls)
        folder = CallFolder(self.inputs / name, self.outputs / name, self.uid)
        folder.inputs.mkdir(mode=0o755)
        folder.outputs.mkdir(mode=0o700)
        if self.uid is not None:
            os.chown(folder.outputs, self.uid, self.uid)
        return folder

    def hand_over(self) -> None:
        """Give the scratch folder's files, made while the worker was still trusted, to its uid."""
        if self.uid is None:
            return
        for folder, _, files in os.walk(self.scratch):
            os.chown(folder, self.uid, self.uid)
            for name in files:
                os.chown(Path(folder, name), self.uid, self.uid, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class CallFolder:
    """The folders of one call."""

    inputs: Path
    """Where we put what the worker reads."""
    outputs: Path
    """Where the worker puts what it makes; its working folder."""
    uid: int | None

    def lend(self, source: Path, name: str) -> Path:
        """Put a file of ours where the worker can read it: a hard link if we can, else a copy."""
        target = self.inputs / name
        try:
            if self.uid is not None and source.stat().st_nlink > 1:
                raise OSError  # changing its mode would show through the other names
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        if self.uid is not None:
            target.chmod(0o644)
        return target

    def open_output(self, path: str) -> int:
        """Open a file the worker says it made; the caller closes the descriptor.

        ``path`` is relative to the outputs, or absolute beneath them. Raises RemoteFailure unless
        it is a plain file of the worker's own, reached without links.
        """
        try:
            parts = Path(path).relative_to(self.outputs).parts if path.startswith("/") else Path(path).parts
            if not parts or ".." in parts:
                raise ValueError(path)
            return self._open_beneath(parts)
        except (OSError, ValueError) as error:
            raise RemoteFailure("BadOutput", f"the worker named a file it did not make: {path!r}") from error

    def _open_beneath(self, parts: tuple[str, ...]) -> int:
        plain = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.outputs, plain | os.O_DIRECTORY)
        for last, part in zip((False,) * (len(parts) - 1) + (True,), parts, strict=True):
            flags = plain | (os.O_NONBLOCK if last else os.O_DIRECTORY)
            try:
                inner = os.open(part, flags, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        facts = os.fstat(fd)
        # A hard link to somebody else's file keeps its owner.
        if not stat.S_ISREG(facts.st_mode) or (self.uid is not None and facts.st_uid != self.uid):
            os.close(fd)
            raise ValueError("no plain file of the worker's own")
        return fd

    def remove(self) -> None:
        """Remove the folders with all in them."""
        shutil.rmtree(self.inputs, ignore_errors=True)
        shutil.rmtree(self.outputs, ignore_errors=True)


def _root(preferred: Path) -> Path:
    preferred.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    preferred.mkdir(exist_ok=True, mode=0o711)
    if os.geteuid() != 0 or reachable(preferred):
        return preferred
    shared = Path(tempfile.gettempdir()) / f"maquette-work-{os.geteuid()}"
    try:
        shared.mkdir(mode=0o711)
    except FileExistsError:
        # The name can be guessed: take the folder only if it is ours and no link.
        facts = shared.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="maquette-work-"))
    return shared


def _sweep(root: Path) -> None:
    """Remove folders whose pool died without doing so."""
    for left in root.iterdir():
        lock = left / _LOCK
        try:
            fd = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
