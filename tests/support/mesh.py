"""A whole mesh of real processes, for tests that go in at the front door and pull plugs.

The supervisor runs in a thread of the test process, so that a test can hold a process down, look
at pids and read settings; everything else are child processes as in `maquette up`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from maquette.cli.client import Client
from maquette.cli.processes import process_table
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.mesh import Mesh, Stage
from maquette.runtime.supervisor.process import ProcessSpec, State, tail
from tests.support.folders import open_folder
from tests.support.ports import free_port

T = TypeVar("T")


class RunningMesh:
    """A mesh that runs, and what a test may do to it. Names are those of the process table:

    ``postgres``, ``storage``, ``jobs``, ``meshgen``, ``meshgen-2``, …, ``rigging``, ``gateway``, ``envoy``.
    """

    def __init__(self, settings: Settings, table: Sequence[ProcessSpec]) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self.http = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)
        self.stages: list[Stage] = []
        self._table = table
        self._mesh: Mesh | None = None
        self._loop = asyncio.new_event_loop()
        # Children die with the thread that started them (PR_SET_PDEATHSIG): it lives as long as they.
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh", daemon=True)

    @property
    def mesh(self) -> Mesh:
        """The supervisor; touch it from its own loop only."""
        assert self._mesh is not None, "the mesh was not started"
        return self._mesh

    def client(self) -> Client:
        """Return the command line's client, with timeouts and errors of its own."""
        return Client(self.url)

    def start(self) -> None:
        """Start everything; return when all is ready."""
        self._thread.start()
        self._run(self._start())

    async def _start(self) -> None:
        self._mesh = Mesh(self.settings, self._table)
        await self._mesh.start()
        await self._mesh.complete()
        self.stages = self._mesh.stages()

    def stop(self) -> None:
        """Stop everything in order."""
        self.http.close()
        if self._mesh is not None:
            self._run(self._mesh.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 90.0) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def pids(self) -> dict[str, int]:
        """Return the pids of the processes that run now, by name."""
        return {name: process.pid for name, process in self.mesh.processes.items() if process.pid}

    def pid(self, name: str) -> int:
        """Return the pid of a process. Raises KeyError while it does not run."""
        return self.pids()[name]

    def restarts(self, name: str) -> int:
        """Return how often a process was started again."""
        return self.mesh.processes[name].restarts

    def log(self, name: str, size: int = 65536) -> str:
        """Return the end of a process's log."""
        return tail(self.mesh.processes[name].log_file, size)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process; return the pid it went to. The supervisor starts it again."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def hold(self, name: str) -> None:
        """Kill −9 a process and keep it down."""
        self._loop.call_soon_threadsafe(self.mesh.processes[name].hold)
        self.until(lambda: self.mesh.processes[name].state is State.HELD, f"{name} to be down")

    def release(self, name: str) -> None:
        """Let a held process start again."""
        self._loop.call_soon_threadsafe(self.mesh.processes[name].release)

    def kill_and_wait(self, name: str, timeout: float = 60.0) -> float:
        """Kill −9 a process; return the seconds until another one is ready in its place."""
        began = time.monotonic()
        before = self.kill(name)
        self.wait_ready(name, timeout, other_than=before)
        return time.monotonic() - began

    def wait_ready(self, name: str, timeout: float = 60.0, *, other_than: int | None = None) -> None:
        """Return once a process is ready (one with another pid than ``other_than``)."""
        process = self.mesh.processes[name]
        self.until(
            lambda: process.state is State.READY and process.pid not in (None, other_than),
            f"{name} to be ready",
            timeout,
        )

    @staticmethod
    def until(condition: Callable[[], object], what: str, timeout: float = 60.0) -> None:
        """Return once a condition holds; fail the test when it does not in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
            time.sleep(0.02)


@contextmanager
def running_mesh(
    *,
    nodes: int = 1,
    data_dir: Path | None = None,
    adapt: Callable[[ProcessSpec], ProcessSpec] = lambda row: row,
    without: Collection[str] = (),
    also: Callable[[Settings], Sequence[ProcessSpec]] = lambda settings: (),
    **overrides: Any,
) -> Iterator[RunningMesh]:
    """Run a mesh with ``nodes`` meshgen nodes on a free port; it goes with its folder at the end.

    ``overrides`` are settings, sections as dicts: ``running_mesh(nodes=2, jobs={"lease_seconds": 2})``.
    ``adapt`` changes rows of the process table; those named in ``without`` are left out,
    and the rows that ``also`` makes come on top.
    """
    with open_folder("mesh") as folder:
        # No test asks the network for Blender.
        usual = {"port": free_port(), "fbx": {"install": False}}
        settings = Settings(**{"data_dir": data_dir or folder / "data", **usual, **overrides})
        table = [adapt(row) for row in process_table(settings, nodes=nodes) if row.name not in without]
        table += also(settings)
        mesh = RunningMesh(settings, table)
        try:
            mesh.start()
            yield mesh
        finally:
            mesh.stop()
