"""What hostile code in a worker would try. Each attempt returns "did it" or the error it met."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
# io_uring_setup, bpf, userfaultfd, keyctl, ptrace, process_vm_readv, mount, unshare, clone3.
_NUMBERS = {
    "x86_64": (425, 321, 323, 250, 101, 310, 165, 272, 435),
    "aarch64": (425, 280, 282, 219, 117, 270, 40, 97, 435),
}


def _syscall(number: int, *arguments: Any) -> None:
    if _libc.syscall(number, *arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _socket(family: int, kind: int = socket.SOCK_STREAM) -> Callable[[], Any]:
    return lambda: socket.socket(family, kind)


def _try(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "did it"


def try_everything(paths: dict[str, str], parent: int) -> dict[str, str]:
    """Try every way out. ``paths`` name files to be read."""
    uring, bpf, fault, keyctl, ptrace, vm_read, mount, unshare, _ = _NUMBERS[platform.machine()]
    attempts: dict[str, Callable[[], Any]] = {
        "inet": _socket(socket.AF_INET),
        "inet6": _socket(socket.AF_INET6),
        "udp": _socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix": _socket(socket.AF_UNIX),
        "netlink": _socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": _socket(socket.AF_PACKET, socket.SOCK_RAW),
        "socketpair": socket.socketpair,
        "io_uring": lambda: _syscall(uring, 1, ctypes.create_string_buffer(120)),
        "bpf": lambda: _syscall(bpf, 0, None, 0),
        "userfaultfd": lambda: _syscall(fault, 1),
        "keyctl": lambda: _syscall(keyctl, 0, -3, 0),
        "ptrace": lambda: _syscall(ptrace, 16, parent, 0, 0),
        "process_vm_readv": lambda: _syscall(vm_read, parent, None, 0, None, 0, 0),
        "mount": lambda: _syscall(mount, b"none", b"/tmp", b"tmpfs", 0, None),
        "unshare": lambda: _syscall(unshare, 0x10000000),
        "fork": os.fork,
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "kill parent": lambda: os.kill(parent, 0),
        "kill all": lambda: os.kill(-1, 0),
        "become root": lambda: os.setresuid(0, 0, 0),
        "parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "parent's memory": lambda: Path(f"/proc/{parent}/mem").read_bytes(),
        "write to /tmp": lambda: Path("/tmp/intruder").write_text("x"),
        "write to code": lambda: Path(__file__).with_name("intruder.txt").write_text("x"),
        **{name: (lambda path=path: Path(path).read_bytes()) for name, path in paths.items()},
    }
    return {name: _try(attempt) for name, attempt in attempts.items()}


def look_around() -> dict[str, Any]:
    """Tell what a worker sees of itself."""
    done: list[int] = []
    threads = [threading.Thread(target=done.append, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    here = Path("scratch")
    here.write_text("ok")
    import xml.dom.minidom  # a late import of what nobody has imported yet

    return {
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "environment": dict(os.environ),
        "session": os.getsid(0) == os.getpid(),
        "threads": len(done),
        "cwd": str(Path.cwd()),
        "late": xml.dom.minidom.__name__,
        "descriptors": [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in _descriptors()],
    }


def _descriptors() -> list[int]:
    found = []
    for fd in range(64):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found


def read(path: str) -> str:
    """Return a file's text."""
    return Path(path).read_text()


def overwrite(path: str) -> str:
    """Try to change a file that was lent."""
    return _try(lambda: Path(path).write_text("changed"))


def echo(value: Any) -> Any:
    """Return the value."""
    return value


def grab(mib: int) -> int:
    """Take memory in one go."""
    return len(bytearray(mib << 20))


def die(signal: int) -> None:
    """Die of a signal."""
    os.kill(os.getpid(), signal)


def wait(seconds: float) -> None:
    """Do nothing."""
    time.sleep(seconds)


def flood(lines: int) -> int:
    """Write much to stdout."""
    for _ in range(lines):
        sys.stdout.write("x" * 100 + "\n")
    return lines


def huge() -> str:
    """Return more than a message may hold."""
    return "x" * (5 << 20)


def start(command: list[str]) -> tuple[int, str]:
    """Start a program and return its status and what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr
