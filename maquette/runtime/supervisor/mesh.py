"""The mesh on one machine: a table of processes, started in order, kept up, stopped in reverse."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.lock import check_ports, hold_data_folder, local_host
from maquette.runtime.supervisor.privileges import make_data_folder, make_folder
from maquette.runtime.supervisor.process import ManagedProcess, ProcessSpec, State

STATE_FILE = "mesh.json"
_FIRST_ATTEMPTS = 3
_START_SECONDS = 60.0

Changed = Callable[[ManagedProcess], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """When one process was started and ready, in seconds from the start of the mesh."""

    name: str
    started: float
    ready: float


class Mesh:
    """Runs a table of processes. One event loop; the loop's thread must outlive the mesh.

    A process that ends is started again, after 0.1 s the first time, later ones after up to 1 s.
    When this process ends, however it ends, the children end with it (`launch.py`).
    """

    def __init__(
        self, settings: Settings, table: Sequence[ProcessSpec], changed: Changed | None = None
    ) -> None:
        self.settings = settings
        self._told = changed
        self._logs = settings.data_dir / "logs"
        self._held = ExitStack()
        self._began = 0.0
        self._runs: dict[str, asyncio.Task[None]] = {}
        self.processes = {
            spec.name: ManagedProcess(spec, self._logs / f"{spec.name}.log", self._changed) for spec in table
        }

    async def start(self) -> list[Stage]:
        """Start everything; return once every process that is not late is ready.

        Raises SupervisorError (AlreadyRunning, PortInUse, StartFailed), with nothing left running.
        """
        self._began = time.monotonic()
        make_data_folder(self.settings)
        self._held.enter_context(hold_data_folder(self.settings))
        try:
            check_ports(self.settings)
            make_folder(self._logs, 0o700)
            self._runs = {
                name: asyncio.create_task(self._keep_up(process), name=name)
                for name, process in self.processes.items()
            }
            await self._until(asyncio.create_task(self._ready(late=False)))
        except BaseException:
            await self.stop(seconds=1.0)
            raise
        return self.stages()

    async def _keep_up(self, process: ManagedProcess) -> None:
        gate = self._gate(process.spec)
        await process.run(attempts=_FIRST_ATTEMPTS, timeout=_START_SECONDS, gate=gate)

    async def _gate(self, spec: ProcessSpec) -> None:
        for name in spec.after:
            await self.processes[name].is_ready.wait()
        if spec.late:
            await self._ready(late=False)

    async def complete(self) -> None:
        """Wait until the late processes are ready too. Raises what made one end for good."""
        await self._until(asyncio.create_task(self._ready(late=True)))

    async def _ready(self, *, late: bool) -> None:
        for process in self.processes.values():
            if late or not process.spec.late:
                await process.is_ready.wait()

    async def _until(self, event: asyncio.Task[None]) -> None:
        """Wait for an event; raise what made a process end for good before it."""
        try:
            done, _ = await asyncio.wait((event, *self._runs.values()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            event.cancel()
        for ended in done - {event}:
            ended.result()

    def stages(self) -> list[Stage]:
        """Return when each process that is ready was started and ready last."""
        began = self._began
        return [
            Stage(name, process.started_at - began, process.ready_at - began)
            for name, process in self.processes.items()
            if process.is_ready.is_set()
        ]

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep everything up until ``stopping`` is set; then stop. Raises what ended a process for good."""
        try:
            await self._until(asyncio.create_task(_wait(stopping)))
        finally:
            await self.stop()

    async def stop(self, seconds: float | None = None) -> None:
        """Stop in reverse order; each process gets ``seconds`` (its row's when None), then is killed."""
        for name in reversed(list(self.processes)):
            run = self._runs.get(name)
            if run is None:
                continue
            await self.processes[name].stop(seconds)
            if self.processes[name].pid is None and self.processes[name].state is State.WAITING:
                run.cancel()
            await asyncio.wait((run,), timeout=1.0)
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        self._runs = {}
        self._clear_sockets()
        self._held.close()

    def _clear_sockets(self) -> None:
        """Remove what listeners leave behind, so that a socket that is there is one that answers."""
        (self.settings.run_dir / STATE_FILE).unlink(missing_ok=True)
        for path in self.settings.run_dir.glob("*.sock"):
            path.unlink(missing_ok=True)

    def _changed(self, process: ManagedProcess) -> None:
        self._write_state()
        if self._told is not None:
            self._told(process)

    def _write_state(self) -> None:
        """Tell `maquette status` what runs."""
        rows = {
            name: {
                "pid": process.pid,
                "state": process.state.value,
                "restarts": process.restarts,
                "address": process.spec.address,
            }
            for name, process in self.processes.items()
        }
        local = f"http://{local_host(self.settings.bind)}:{self.settings.port}"
        state = MeshState(os.getpid(), self.settings.base_url, local, rows)
        path = self.settings.run_dir / STATE_FILE
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(state)))
        draft.replace(path)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


@dataclass(frozen=True, slots=True)
class MeshState:
    """What a running mesh tells about itself."""

    pid: int
    url: str
    local_url: str
    """Address on this machine, whatever the public one is."""
    processes: dict[str, dict[str, Any]]


def read_state(run_dir: Path) -> MeshState | None:
    """Return what a running mesh wrote about itself; None when none runs."""
    try:
        return MeshState(**json.loads((run_dir / STATE_FILE).read_text()))
    except FileNotFoundError:
        return None
