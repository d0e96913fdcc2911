"""Small programs to supervise, and the rows of the table that run them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from maquette.runtime.supervisor.process import Probe, ProcessSpec

# Says that it is there, and goes when it is told to.
POLITE = """
import pathlib, signal, sys, time
mark = pathlib.Path(sys.argv[1])
def leave(*_):
    with open(mark.parent / "order", "a") as order: order.write(mark.name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
mark.write_text("x")
while True: time.sleep(60)
"""

# Hears nothing but SIGKILL.
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("x")
while True: time.sleep(60)
"""

BROKEN = "import sys; sys.exit('the disk is made of cheese')"


def row(
    folder: Path,
    name: str,
    program: str = POLITE,
    *,
    after: tuple[str, ...] = (),
    late: bool = False,
    stop_seconds: float = 30.0,
) -> ProcessSpec:
    """Return a row whose process is ready once it has written the file of its name."""
    mark = folder / name
    return ProcessSpec(
        name=name,
        command=lambda: [sys.executable, "-I", "-c", program, str(mark)],
        ready=_exists(mark),
        address=str(mark),
        after=after,
        late=late,
        prepare=lambda: mark.unlink(missing_ok=True),
        stop_seconds=stop_seconds,
    )


def _exists(path: Path) -> Probe:
    async def probe() -> bool:
        return path.exists()

    return probe


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return once a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 — only the outside can tell
            await asyncio.sleep(0.02)
