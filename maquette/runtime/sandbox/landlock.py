"""Landlock: the folders a worker may read and write, whoever it runs as.

A second fence behind the uid: it also holds where we are an ordinary user and the secrets belong
to the same uid. Kernels without Landlock (before 5.13, or switched off) leave it out; the worker
says so. Source: `Documentation/userspace-api/landlock.rst`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# Rights on files and folders, as bits by name; the ABI that brought the later ones beside them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGES = sum(1 << bit for bit in range(4, 13))  # remove, make of every kind
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # ABI 2, ABI 3
_TCP = 0b11  # ABI 4: bind, connect
_SCOPES = 0b11  # ABI 6: abstract Unix sockets, signals

READ = _READ_FILE | _READ_DIR
LIST = _READ_DIR
WRITE = _READ_FILE | _WRITE_FILE | _READ_DIR | _CHANGES | _REFER | _TRUNCATE
DEVICE = _READ_FILE | _WRITE_FILE
# What a rule on something that is no folder may hold.
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("fd", ctypes.c_int32))


def restrict(rules: Iterable[tuple[Path, int]], *, execute: bool = False) -> int:
    """Allow this thread and all it starts only the rights named, each beneath its path.

    ``execute`` leaves starting programs open. Paths that do not exist are left out. Returns the
    kernel's Landlock ABI, 0 where it has none. Raises OSError when the kernel has it and refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if abi < 1:
        return 0
    handled = READ | _WRITE_FILE | _CHANGES | (0 if execute else _EXECUTE)
    handled |= (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    attributes = _Ruleset(handled, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _checked(libc, libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    try:
        for path, rights in rules:
            _allow(libc, ruleset, path, rights & handled)
        _checked(libc, libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc, libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return int(abi)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        rule = _PathBeneath(rights if path.is_dir() else rights & _ON_FILES, fd)
        if rule.access:
            _checked(libc, libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(fd)


def _checked(_libc: ctypes.CDLL, got: int) -> int:
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return got
