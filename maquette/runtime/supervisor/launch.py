"""Run a program so that it cannot outlive its parent: ``launch.py PARENT SIGNAL UID PROGRAM ARG…``.

Runs as a file of its own, with a bare interpreter (``python -I -S``), between the supervisor's
spawn and the program: the supervisor has threads, so nothing of it may run after a fork.

``SIGNAL`` reaches the program when the process ``PARENT`` ends, however it ends. ``UID`` −1 keeps
the user; any other number becomes the only identity, with no further groups. ``PROGRAM`` is opened
before root is given up, so that it may lie in a folder only root can enter.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Drop root, tie the life to the parent's, become the program."""
    parent, death_signal, uid = (int(argument) for argument in arguments[:3])
    program, *_ = command = arguments[3:]
    target: str | int = program
    if uid >= 0:
        target = os.open(program, os.O_RDONLY)
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.umask(0o077)
    # After the change of identity: that clears it.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have gone before the signal was asked for.
    if os.getppid() != parent:
        sys.exit(1)
    os.execve(target, command, os.environ)  # noqa: S606 — no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
