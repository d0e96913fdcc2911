"""A seccomp filter that takes connections and other processes out of a worker's reach.

The filter is a classic BPF program over `struct seccomp_data` (Linux
`Documentation/userspace-api/seccomp_filter.rst`). Refused calls answer EPERM, so that a library
that merely tries sees an ordinary error; `clone3` answers ENOSYS, because its flags lie in memory
that a filter cannot read, and the C library then uses `clone`, whose flags it can.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from maquette.runtime.sandbox import syscalls

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000
_TSYNC = 1
_SET_MODE_FILTER = 1
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Offsets into struct seccomp_data; arguments are little-endian u64 on both machines.
_NR, _ARCHITECTURE, _ARG0_LOW = 0, 4, 16
# BPF opcodes: load word, jump if equal, greater, greater or equal, any bit set, return.
_LD, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06

PR_SET_NO_NEW_PRIVS = 38


class Refused(OSError):
    """The kernel does not take the filter."""


def _op(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


def _answer(error: int) -> bytes:
    return _op(_RET, _ERRNO | error)


def build_filter(machine: str, pid: int, *, processes: bool) -> bytes:
    """Return the BPF program for a process.

    ``pid`` is the process the filter is for: it may signal itself only. ``processes`` leaves
    `fork` and `execve` allowed. Raises Refused for a machine without a table.
    """
    if machine not in syscalls.MACHINES:
        raise Refused(errno.ENOSYS, f"no system call table for {machine}")
    column = syscalls.MACHINES.index(machine)
    program = [_op(_LD, _ARCHITECTURE), _op(_JEQ, _ARCH[machine], 1, 0), _op(_RET, _KILL_PROCESS)]
    program.append(_op(_LD, _NR))
    if machine == "x86_64":
        program += [_op(_JGE, _X32_BIT, 0, 1), _answer(errno.EPERM)]
    program += [_op(_JGT, syscalls.NEWEST_KNOWN, 0, 1), _answer(errno.ENOSYS)]
    refused = syscalls.numbers(syscalls.REFUSED, machine)
    if not processes:
        refused += syscalls.numbers(syscalls.NEW_PROCESS, machine)
    for number in refused:
        program += [_op(_JEQ, number, 0, 1), _answer(errno.EPERM)]
    for number in syscalls.numbers(syscalls.ONLY_SELF, machine):
        program += _only_self(number, pid)
    if not processes:
        program += [_op(_JEQ, syscalls.CLONE3[column], 0, 1), _answer(errno.ENOSYS)]
        program += [
            _op(_JEQ, syscalls.CLONE[column], 0, 4),
            _op(_LD, _ARG0_LOW),
            _op(_JSET, _CLONE_THREAD, 1, 0),
            _answer(errno.EPERM),
            _op(_RET, _ALLOW),
        ]
    program.append(_op(_RET, _ALLOW))
    return b"".join(program)


def _only_self(number: int, pid: int) -> list[bytes]:
    # prlimit64 names its own process as 0 too; a kill of 0 (our group) reaches nobody else,
    # since every worker leads a group of its own.
    return [
        _op(_JEQ, number, 0, 5),
        _op(_LD, _ARG0_LOW),
        _op(_JEQ, pid, 2, 0),
        _op(_JEQ, 0, 1, 0),
        _answer(errno.EPERM),
        _op(_RET, _ALLOW),
    ]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(*, processes: bool = False) -> None:
    """Confine this process, every thread of it, for good. Raises Refused."""
    machine = platform.machine()
    code = build_filter(machine, os.getpid(), processes=processes)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise Refused(ctypes.get_errno(), "the kernel refuses no_new_privs")
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    number = syscalls.SECCOMP[syscalls.MACHINES.index(machine)]
    got = libc.syscall(number, _SET_MODE_FILTER, _TSYNC, ctypes.byref(program))
    if got != 0:
        code_number = ctypes.get_errno() if got < 0 else errno.EAGAIN
        raise Refused(code_number, f"the kernel refuses seccomp filters: {os.strerror(code_number)}")
