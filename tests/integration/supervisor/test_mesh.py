"""The mesh starts in order, keeps its processes up, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.errors import AlreadyRunning, PortInUse, StartFailed
from maquette.runtime.supervisor.mesh import Mesh, read_state
from maquette.runtime.supervisor.process import State
from tests.integration.supervisor.programs import BROKEN, STUBBORN, row, until
from tests.support.folders import open_folder
from tests.support.ports import free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("mesh") as path:
        yield path


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder / "data", port=free_port())


async def test_a_process_starts_after_those_it_needs_and_stops_before_them(
    folder: Path, settings: Settings
) -> None:
    table = [row(folder, "a"), row(folder, "b", after=("a",)), row(folder, "c", after=("b",))]
    mesh = Mesh(settings, table)
    stages = {stage.name: stage for stage in await mesh.start()}
    assert stages["a"].ready <= stages["b"].started < stages["b"].ready <= stages["c"].started
    pids = [process.pid for process in mesh.processes.values()]
    await mesh.stop()
    assert (folder / "order").read_text().split() == ["c", "b", "a"]
    assert not any(pid and psutil.pid_exists(pid) for pid in pids)
    assert read_state(settings.run_dir) is None


async def test_a_late_process_starts_after_all_others_and_nobody_waits_for_it(
    folder: Path, settings: Settings
) -> None:
    # Ready when the test says so.
    waits = replace(row(folder, "late", late=True), ready=row(folder, "go").ready)
    mesh = Mesh(settings, [waits, row(folder, "a"), row(folder, "b", after=("a",))])
    try:
        assert {stage.name for stage in await mesh.start()} == {"a", "b"}
        complete = asyncio.create_task(mesh.complete())
        await until(lambda: mesh.processes["late"].state is State.STARTING)
        assert not complete.done()
        (folder / "go").write_text("x")
        await complete
        stages = {stage.name: stage for stage in mesh.stages()}
        assert stages["b"].ready <= stages["late"].started
    finally:
        await mesh.stop()


async def test_a_killed_process_is_back_at_once_and_the_others_stay(folder: Path, settings: Settings) -> None:
    mesh = Mesh(settings, [row(folder, "a"), row(folder, "b", after=("a",))])
    await mesh.start()
    try:
        victim, other = mesh.processes["a"], mesh.processes["b"]
        before, other_before = victim.pid, other.pid
        assert before
        os.kill(before, signal.SIGKILL)
        await until(lambda: victim.state is State.READY and victim.pid not in (None, before))
        assert victim.restarts == 1
        assert victim.last_end == "was ended by SIGKILL"
        assert other.pid == other_before
    finally:
        await mesh.stop()


async def test_a_held_process_stays_away_until_it_is_released(folder: Path, settings: Settings) -> None:
    mesh = Mesh(settings, [row(folder, "a")])
    await mesh.start()
    try:
        process = mesh.processes["a"]
        process.hold()
        await until(lambda: process.state is State.HELD)
        assert process.pid is None
        process.release()
        await until(lambda: process.state is State.READY)
    finally:
        await mesh.stop()


async def test_a_process_that_does_not_listen_is_killed_at_its_deadline(
    folder: Path, settings: Settings
) -> None:
    mesh = Mesh(settings, [row(folder, "a", STUBBORN, stop_seconds=0.3)])
    await mesh.start()
    pid = mesh.processes["a"].pid
    assert pid
    await mesh.stop()
    assert not psutil.pid_exists(pid)


async def test_a_broken_process_fails_the_start_with_its_last_words(folder: Path, settings: Settings) -> None:
    mesh = Mesh(settings, [row(folder, "a"), row(folder, "b", BROKEN, after=("a",))])
    with pytest.raises(StartFailed, match=r"^b ended with status 1: the disk is made of cheese"):
        await mesh.start()
    assert mesh.processes["a"].pid is None


async def test_a_second_mesh_on_the_data_folder_is_told_of_the_first(
    folder: Path, settings: Settings
) -> None:
    mesh = Mesh(settings, [row(folder, "a")])
    await mesh.start()
    try:
        other = settings.model_copy(update={"port": free_port()})
        with pytest.raises(AlreadyRunning) as refused:
            await Mesh(other, [row(folder, "b")]).start()
        expected = f"Maquette is already running on {settings.base_url} (pid {os.getpid()})"
        assert str(refused.value) == expected
        state = read_state(settings.run_dir)
        assert state
        assert state.processes["a"]["state"] == "ready"
    finally:
        await mesh.stop()
    again = Mesh(settings, [row(folder, "a")])
    await again.start()
    await again.stop()


async def test_a_port_in_use_is_named_with_the_program_that_has_it(folder: Path, settings: Settings) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", settings.port))
        listener.listen()
        with pytest.raises(PortInUse, match=rf"^Port {settings.port} is in use by .*pid {os.getpid()}\)"):
            await Mesh(settings, [row(folder, "a")]).start()


async def test_a_start_that_is_cancelled_leaves_nothing(folder: Path, settings: Settings) -> None:
    mesh = Mesh(settings, [row(folder, "a"), row(folder, "b", "import time; time.sleep(60)")])
    starting = asyncio.create_task(mesh.start())
    await until(lambda: mesh.processes["b"].pid is not None)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert not any(process.pid for process in mesh.processes.values())


def test_children_end_with_a_supervisor_that_is_killed(folder: Path) -> None:
    script = f"""
import asyncio, sys
from pathlib import Path
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.mesh import Mesh
from tests.integration.supervisor.programs import STUBBORN, row
async def main():
    folder = Path({str(folder)!r})
    mesh = Mesh(Settings(data_dir=folder / "data", port={free_port()}), [row(folder, "a", STUBBORN)])
    await mesh.start()
    print(mesh.processes["a"].pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root) as supervisor:
        assert supervisor.stdout
        child = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
        child.wait(60)
