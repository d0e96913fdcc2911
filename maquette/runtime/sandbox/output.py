"""What a worker writes to stdout and stderr: bounded, and into our log."""

from __future__ import annotations

import asyncio
import os

from maquette.runtime.telemetry import get_logger

_LINE_BYTES = 2000
_LINES_EACH_SECOND = 100
_log = get_logger()


async def follow_output(fd: int, worker: str, pid: int) -> None:
    """Log the lines that arrive on a pipe until it ends; long ones are cut, floods dropped."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 16)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    second, lines, dropped, rest = 0, 0, 0, b""
    try:
        while part := await reader.read(1 << 14):
            *whole, rest = (rest + part).split(b"\n")
            rest = rest[:_LINE_BYTES]
            for line in whole:
                now = int(loop.time())
                if now != second:
                    second, lines = now, 0
                lines += 1
                if lines > _LINES_EACH_SECOND:
                    dropped += 1
                elif line.strip():
                    text = line[:_LINE_BYTES].decode(errors="replace")
                    _log.info("worker output", worker=worker, pid=pid, line=text)
        if rest.strip():
            _log.info("worker output", worker=worker, pid=pid, line=rest.decode(errors="replace"))
        if dropped:
            _log.warning("worker output dropped", worker=worker, pid=pid, lines=dropped)
    finally:
        transport.close()
