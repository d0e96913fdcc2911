"""The filter as a program: what it answers on each machine, run in a small interpreter."""

from __future__ import annotations

import errno
import struct

import pytest

from maquette.runtime.sandbox import syscalls
from maquette.runtime.sandbox.seccomp import Refused, build_filter

ALLOW, KILL = 0x7FFF0000, 0x80000000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4242


def answer(machine: str, number: int, argument: int = 0, *, processes: bool = False, arch: int = 0) -> int:
    """Run the filter on one call, as the kernel does."""
    data = struct.pack("=iIQ6Q", number, arch or ARCH[machine], 0, argument, 0, 0, 0, 0, 0)
    code = build_filter(machine, PID, processes=processes)
    held, at = 0, 0
    while True:
        op, true, false, value = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if op == 0x20:
            (held,) = struct.unpack_from("=I", data, value)
        elif op == 0x06:
            return int(value)
        else:
            holds = {
                0x15: held == value,
                0x25: held > value,
                0x35: held >= value,
                0x45: bool(held & value),
            }[op]
            at += true if holds else false


def refused(error: int) -> int:
    return 0x00050000 | error


MACHINES = pytest.mark.parametrize("machine", syscalls.MACHINES)


@MACHINES
def test_every_named_call_is_refused(machine: str) -> None:
    for number in syscalls.numbers(syscalls.REFUSED, machine) + syscalls.numbers(
        syscalls.NEW_PROCESS, machine
    ):
        assert answer(machine, number) == refused(errno.EPERM)


@MACHINES
def test_reading_writing_and_mapping_pass(machine: str) -> None:
    column = syscalls.MACHINES.index(machine)
    for row in ((0, 63), (1, 64), (9, 222), (202, 98)):
        assert answer(machine, row[column]) == ALLOW


@MACHINES
def test_threads_pass_and_processes_do_not(machine: str) -> None:
    clone = syscalls.CLONE[syscalls.MACHINES.index(machine)]
    assert answer(machine, clone, 0x00010000 | 0x100) == ALLOW
    assert answer(machine, clone, 0x11) == refused(errno.EPERM)
    assert answer(machine, syscalls.CLONE3[0]) == refused(errno.ENOSYS)
    assert answer(machine, clone, 0x11, processes=True) == ALLOW


@MACHINES
def test_signals_reach_only_ourselves(machine: str) -> None:
    for number in syscalls.numbers(syscalls.ONLY_SELF, machine):
        assert answer(machine, number, PID) == ALLOW
        assert answer(machine, number, 1) == refused(errno.EPERM)
        assert answer(machine, number, 0xFFFFFFFF) == refused(errno.EPERM)


@MACHINES
def test_calls_newer_than_the_table_do_not_exist(machine: str) -> None:
    assert answer(machine, syscalls.NEWEST_KNOWN + 1) == refused(errno.ENOSYS)


def test_other_instruction_sets_are_no_way_around() -> None:
    assert answer("x86_64", 41, arch=0x40000003) == KILL
    assert answer("x86_64", 0x40000000 | 41) == refused(errno.EPERM)


def test_machine_without_a_table_is_refused() -> None:
    with pytest.raises(Refused):
        build_filter("riscv64", PID, processes=False)


def test_no_number_is_listed_twice() -> None:
    for machine in syscalls.MACHINES:
        tables = (syscalls.REFUSED, syscalls.NEW_PROCESS, syscalls.ONLY_SELF)
        every = [number for table in tables for number in syscalls.numbers(table, machine)]
        assert len(every) == len(set(every))
