"""Run a mesh around something: until a signal, or while a function works."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from maquette.cli import screen
from maquette.cli.processes import process_table
from maquette.runtime.settings import Settings, load_settings
from maquette.runtime.supervisor.mesh import Mesh

T = TypeVar("T")


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


def settings_with(**given: Any) -> Settings:
    """Return the settings, with those given on the command line (not None) above all others."""
    wanted = {name: value for name, value in given.items() if value is not None}
    return Settings(**wanted) if wanted else load_settings()


def free_port(preferred: int) -> int:
    """Return ``preferred`` where nobody listens on it, else a free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port")


def run_until_stopped(settings: Settings, *, nodes: int) -> None:
    """Start a mesh and keep it up until SIGINT or SIGTERM. Raises SupervisorError."""
    asyncio.run(_run_until_stopped(settings, nodes))


async def _run_until_stopped(settings: Settings, nodes: int) -> None:
    mesh = Mesh(settings, process_table(settings, nodes=nodes), changed=screen.tell_change)
    stopping = _on_signals()
    if not await _start(mesh, stopping):
        return
    screen.show_started(mesh.stages(), mesh.processes, settings.base_url)
    await mesh.run(stopping)
    screen.console.print("Maquette has stopped.")


def run_while(settings: Settings, work: Callable[[], T]) -> T:
    """Start a mesh, do blocking ``work`` in a thread, stop. Raises SupervisorError or Interrupted."""
    return asyncio.run(_run_while(settings, work))


async def _run_while(settings: Settings, work: Callable[[], T]) -> T:
    mesh = Mesh(settings, process_table(settings), changed=screen.tell_change)
    stopping = _on_signals()
    with screen.console.status("Starting Maquette …"):
        if not await _start(mesh, stopping):
            raise Interrupted
    try:
        screen.console.print(f"[dim]Maquette is ready ({max(s.ready for s in mesh.stages()):.1f} s)[/dim]")
        working = asyncio.create_task(asyncio.to_thread(work))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not working.done():
            raise Interrupted
        return await working
    finally:
        await mesh.stop()


async def _start(mesh: Mesh, stopping: asyncio.Event) -> bool:
    """Start; False when a signal came first, with nothing left running."""
    starting = asyncio.create_task(mesh.start())
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def sample_picture() -> Path:
    """Return the picture the project brings."""
    return Path(__file__).resolve().parents[1] / "samples" / "figurine.png"


def sample_character() -> Path:
    """Return the picture of a character that the project brings."""
    return Path(__file__).resolve().parents[1] / "samples" / "character.png"
