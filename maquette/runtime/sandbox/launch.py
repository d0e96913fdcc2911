"""Starting the process of a worker, with three pipes and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from maquette.runtime.sandbox.spec import WorkerSpec, code_root, environment
from maquette.runtime.sandbox.workspace import Room

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from maquette.runtime.sandbox.child import main; main()"


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits for its configuration, and our ends of its pipes."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    log: int
    """Descriptor of its stdout and stderr; the caller closes it."""


async def launch(spec: WorkerSpec, room: Room) -> Launched:
    """Start the process. Call it on the main thread: it dies with the thread that started it.

    Raises OSError when no process or pipe can be had.
    """
    ours: list[int] = []
    theirs: list[int] = []
    process = None
    try:
        child_in, ours_out = os.pipe2(os.O_CLOEXEC)
        ours.append(ours_out)
        theirs.append(child_in)
        for _ in range(2):
            ours_in, child_out = os.pipe2(os.O_CLOEXEC)
            ours.append(ours_in)
            theirs.append(child_out)
        process = _start(spec, room, *theirs)
        return await _connect(process, ours)
    except BaseException:
        for fd in ours:
            os.close(fd)
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise
    finally:
        for fd in theirs:
            os.close(fd)


def _start(
    spec: WorkerSpec, room: Room, child_in: int, child_out: int, child_log: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOT, str(code_root()), str(child_in), str(child_out)],
        stdin=subprocess.DEVNULL,
        stdout=child_log,
        stderr=child_log,
        cwd="/",
        env=environment(spec, room.scratch),
        pass_fds=(child_in, child_out),
        start_new_session=True,
    )


async def _connect(process: subprocess.Popen[bytes], ours: list[int]) -> Launched:
    """Attach our ends to the event loop; those attached are taken off ``ours``."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours.pop(1), "rb", buffering=0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(ours.pop(0), "wb", buffering=0)
    )
    return Launched(process, reader, asyncio.StreamWriter(transport, protocol, None, loop), ours.pop())
