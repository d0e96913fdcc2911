"""The supervisor itself is killed −9: nothing outlives it, and the next start goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.environment import settings_variables
from maquette.runtime.supervisor.mesh import read_state
from tests.chaos.doors import SECTIONS, open_doors, until
from tests.chaos.engines import bytes_for
from tests.chaos.invariants import check, states, wait_until_ended
from tests.chaos.scale import record, within
from tests.chaos.submitting import submit
from tests.support.folders import open_folder
from tests.support.mesh import RunningMesh
from tests.support.ports import free_port

_ROOT = Path(__file__).resolve().parents[2]
_JOBS = 20


@dataclass
class Supervisor:
    """`maquette up` as a user starts it."""

    settings: Settings
    process: subprocess.Popen[bytes]

    def is_ready(self) -> bool:
        """Tell whether every process is ready."""
        assert self.process.poll() is None, "the supervisor ended"
        state = read_state(self.settings.run_dir)
        return (
            state is not None
            and state.pid == self.process.pid
            and all(row["state"] == "ready" for row in state.processes.values())
        )


@contextmanager
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    """Start `maquette up`; end it in order if it is still there at the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAQUETTE_")}
    environment = {**inherited, **dict(settings_variables(settings)), "PYTHONPATH": str(_ROOT)}
    with (settings.data_dir.parent / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "maquette.cli", "up"],
            env={**environment, "MAQUETTE_CONFIG": os.devnull},
            cwd=settings.data_dir.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Supervisor(settings, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _nothing_left(settings: Settings) -> Iterator[None]:
    """Whatever the test finds, leave no process of its mesh behind."""
    try:
        yield
    finally:
        for process in _mesh_processes(settings):
            with suppress(psutil.Error):
                process.kill()


def _mesh_processes(settings: Settings) -> list[psutil.Process]:
    """Return every process that belongs to a data folder, whoever its parent is now."""
    mark, found = str(settings.data_dir), []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ() if process.uids().real == os.getuid() else {}
            if (
                mark in " ".join(process.cmdline())
                or environment.get("MAQUETTE_DATA_DIR") == mark
                or process.cwd().startswith(mark)
            ):
                found.append(process)
    return found


@pytest.mark.timeout(240)
async def test_nothing_outlives_a_killed_supervisor_and_the_next_start_finishes_its_jobs() -> None:
    sections: dict[str, Any] = {
        **SECTIONS,
        "capability": {**SECTIONS["capability"], "extra_engines": _ENGINES},
    }
    with open_folder("supervisor") as folder:
        settings = Settings(data_dir=folder / "data", port=free_port(), **sections)
        with _nothing_left(settings):
            with supervisor(settings) as first:
                await until(first.is_ready, "the first start to be ready", 90)
                async with _doors(settings) as doors:
                    job_ids = await asyncio.gather(
                        *(submit(doors, seed=number, seconds=0.5) for number in range(_JOBS))
                    )

                    async def some_done() -> bool:
                        return (await states(doors, job_ids))["SUCCEEDED"] >= 2

                    await until(some_done, "some jobs to be done", 90)
                family = psutil.Process(first.process.pid).children(recursive=True)
                assert len(family) >= 8
                first.process.kill()
                killed = time.monotonic()
                await until(lambda: not any(map(_lives, family)), "all children to be gone", within(15))
                gone = time.monotonic() - killed
                assert not _mesh_processes(settings)
            with supervisor(settings) as second:
                began = time.monotonic()
                await until(second.is_ready, "the next start to be ready", 90)
                ready = time.monotonic() - began
                async with _doors(settings) as doors:
                    await wait_until_ended(doors, job_ids)
                    contents = {job_id: bytes_for(number) for number, job_id in enumerate(job_ids)}
                    assert await check(doors, job_ids, contents=contents) == {"SUCCEEDED": _JOBS}
            await until(
                lambda: not _mesh_processes(settings), "everything to be gone after the stop", within(10)
            )
    record(
        "supervisor killed",
        jobs=_JOBS,
        seconds_until_all_gone=round(gone, 2),
        seconds_to_next_ready=round(ready, 2),
    )


_ENGINES = {"meshgen": [*SECTIONS["capability"]["extra_engines"]["meshgen"], "tests.chaos.engines:engines"]}


def _doors(settings: Settings):  # type: ignore[no-untyped-def]
    """Open doors to a mesh that another process supervises."""
    return open_doors(RunningMesh(settings, []))


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
