"""Which user runs what, and what that user can reach.

As root, PostgreSQL and Envoy run as numeric users of their own. No user is added, and the mode
of no folder but our own is touched.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.errors import SupervisorError

# Numbers that neither distributions nor systemd hand out (systemd: docs/UIDS-GIDS, "unused").
POSTGRES_UID = 60842
ENVOY_UID = 60843


def is_root() -> bool:
    """Tell whether we may, and therefore must, run children as somebody else."""
    return os.geteuid() == 0


def named_uid() -> int:
    """Return a uid other than 0 that has a name: `initdb` refuses to run without one."""
    users = {user.pw_name: user.pw_uid for user in pwd.getpwall() if user.pw_uid != 0}
    if not users:
        raise SupervisorError("PostgreSQL's set-up needs a user besides root in /etc/passwd")
    return users.get("nobody", min(users.values()))


def reachable(path: Path, uid: int) -> bool:
    """Tell whether a user without groups may pass every folder above ``path`` and read it."""
    resolved = path.resolve()
    folders = [resolved, *resolved.parents] if resolved.is_dir() else list(resolved.parents)
    return all(_allows(folder, uid, stat.S_IXOTH) for folder in folders) and (
        resolved.is_dir() or _allows(resolved, uid, stat.S_IROTH)
    )


def _allows(path: Path, uid: int, others_bit: int) -> bool:
    status = path.stat()
    owners_bit = others_bit << 6
    return bool(status.st_mode & (owners_bit if status.st_uid == uid else others_bit))


def make_folder(path: Path, mode: int, *, uid: int | None = None) -> None:
    """Make a folder of ours with exactly this mode. Raises SupervisorError if it is somebody else's."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        status = path.lstat()
        ours = {os.geteuid(), uid} if uid is not None else {os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
            raise SupervisorError(f"{path} belongs to another user (uid {status.st_uid})") from None
    path.chmod(mode)
    if uid is not None and is_root():
        os.chown(path, uid, uid)


def give_tree(folder: Path, uid: int) -> None:
    """Make ``uid`` the owner of a folder of ours and of all it holds."""
    os.chown(folder, uid, uid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)


def make_data_folder(settings: Settings) -> None:
    """Make the data folder and the folder of sockets.

    As root others may pass, not look, so that PostgreSQL's user gets to its own and a worker's user
    to its work; and Envoy's user may put its admin socket beside ours (sticky: it cannot remove them).
    """
    if not settings.data_dir.exists():
        make_folder(settings.data_dir, 0o711 if is_root() else 0o700)
    for name in ("blobs", "cache"):
        _close_folder(settings.data_dir / name, 0o700)
    _close_folder(settings.tmp_dir, 0o711 if is_root() else 0o700)
    make_folder(settings.run_dir, 0o1731 if is_root() else 0o700)
    if is_root():
        os.chown(settings.run_dir, 0, ENVOY_UID)


def _close_folder(path: Path, mode: int) -> None:
    """Make a folder of ours with this mode, or give it to one that is there. A link is the operator's."""
    if not path.is_symlink():
        make_folder(path, mode)
