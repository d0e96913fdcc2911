"""Run a program so that it cannot outlive its parent: ``launch.py PARENT SIGNAL UID ALIAS PROGRAM ARG…``.

Runs as a file of its own, with a bare interpreter (``python -I -S``), between the supervisor's
spawn and the program: the supervisor has threads, so nothing of it may run after a fork.

``SIGNAL`` reaches the program when the process ``PARENT`` ends, however it ends. ``UID`` −1 keeps
the user; any other number becomes the only identity, with no further groups. ``PROGRAM`` is opened
before root is given up, so that it may lie in a folder only root can enter. ``ALIAS``, if not −1,
is the uid that the program sees as its own, in a user namespace: for programs that refuse to run
for a user without a name.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000


def main(arguments: list[str]) -> None:
    """Drop root, tie the life to the parent's, become the program."""
    parent, death_signal, uid, alias = (int(argument) for argument in arguments[:4])
    program, *_ = command = arguments[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    target: str | int = program
    if uid >= 0:
        target = os.open(program, os.O_RDONLY)
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.umask(0o077)
    if alias >= 0:
        _appear_as(libc, alias)
    # After the change of identity: that clears it.
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have gone before the signal was asked for.
    if os.getppid() != parent:
        sys.exit(1)
    os.execve(target, command, os.environ)  # noqa: S606 — no shell is the point


def _appear_as(libc: ctypes.CDLL, alias: int) -> None:
    """Enter a user namespace in which our user has another number (user_namespaces(7))."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        sys.exit(f"the user {uid} has no name, and this kernel lets nobody borrow one")
    maps = {"setgroups": "deny", "uid_map": f"{alias} {uid} 1", "gid_map": f"{alias} {gid} 1"}
    for name, text in maps.items():
        # Not pathlib: this runs before every process, and its import takes as long as all the rest.
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
