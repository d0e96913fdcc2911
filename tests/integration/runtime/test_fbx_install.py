"""Blender is installed once, when somebody wants FBX, by a script that tests replace by one of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.geometry.codecs import fbx as codec
from maquette.geometry.codecs.fbx import FbxWorker
from maquette.runtime.errors import MaquetteError
from maquette.runtime.fbx import FbxInstallation
from maquette.runtime.settings import FbxSettings
from tests.integration.capability.conftest import until
from tests.support.blender_setup import runs, script

WANTS = {"output_format": "fbx"}
SUCCEEDS = "until [[ -e go ]]; do sleep 0.02; done\nmkdir -p .venv && touch .venv/.ready\n"
FAILS = 'echo "Collecting bpy"\necho "ERROR: No matching distribution found for bpy"\nexit 1\n'


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this machine has Blender's libraries is not what is tested."""
    monkeypatch.setattr(codec, "_LIBRARIES", {"libc.so.6": "libc6"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


class Service:
    """One service's side of it: what its runs are told, and how often its workers are renewed."""

    def __init__(self, folder: Path, clock: list[float] | None = None, **settings: float) -> None:
        now = clock if clock is not None else [1e9]
        self.fbx = FbxInstallation(FbxSettings(folder=folder, **settings), lambda: now[0])
        self.told: list[str] = []
        self.renewed = 0

    async def renew(self) -> None:
        self.renewed += 1

    async def bring(self) -> None:
        await self.fbx.bring(self.told.append)


@asynccontextmanager
async def watched(*services: Service) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(service.fbx.watch(service.renew)) for service in services]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for service in services:
            await service.fbx.stop()


def needs(service: Service, parameters: dict[str, str], *inputs: pb.TaskInput) -> bool:
    return service.fbx.needed(pb.RunRequest(inputs=inputs), parameters)


async def test_many_runs_of_two_services_make_one_installation(folder: Path) -> None:
    script(folder, SUCCEEDS)
    first, second = Service(folder), Service(folder)
    async with watched(first, second):
        worker = FbxWorker(folder, installs=True)
        assert needs(first, WANTS) and worker.offered() and "installed first" in worker.pending()
        waiting = [asyncio.create_task(service.bring()) for service in (first, first, second)]
        await until(lambda: runs(folder) == 1)
        assert not any(task.done() for task in waiting)
        (folder / "go").touch()
        await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert runs(folder) == 1 and (first.renewed, second.renewed) == (1, 1)
    assert worker.installed() and worker.offered() and not worker.pending()
    assert not needs(first, WANTS) and not needs(second, WANTS)
    assert "about 1 GB" in first.told[0] and "installed" in first.told[-1]


async def test_a_run_without_fbx_waits_for_nothing(folder: Path) -> None:
    script(folder, SUCCEEDS)
    service = Service(folder)
    assert not needs(service, {"output_format": "glb"}, pb.TaskInput(filename="a.glb"))
    assert needs(service, {"output_format": "glb"}, pb.TaskInput(filename="A.FBX"))
    assert needs(service, {}, pb.TaskInput(media_type="model/fbx"))
    assert runs(folder) == 0


async def test_a_failure_is_told_with_the_line_and_not_tried_again_before_its_time(folder: Path) -> None:
    script(folder, FAILS)
    clock = [1e9]
    service, other = Service(folder, clock, retry_seconds=60), Service(folder, clock, retry_seconds=60)
    async with watched(service, other):
        for one in (service, service, other):
            with pytest.raises(MaquetteError, match=r"No matching distribution found.*make fbx") as failed:
                await one.bring()
            assert failed.value.reason == "MODEL_NOT_AVAILABLE"
        assert runs(folder) == 1, "no storm of installations"
        await until(lambda: service.renewed == other.renewed == 1, 30)
        assert codec.failed_install(folder, lambda: clock[0]).startswith("No matching distribution")
        clock[0] += 61
        with pytest.raises(MaquetteError):
            await service.bring()
    assert runs(folder) == 2


def test_what_failed_lately_is_not_offered_and_says_why(folder: Path) -> None:
    script(folder, FAILS)
    worker = FbxWorker(folder, installs=True)
    assert worker.offered() and not worker.installed()
    (folder / codec.FAILED).write_text("9999999999\nthe network is away\n")
    assert not worker.offered()
    assert "the network is away" in worker.missing() and "make fbx" in worker.missing()
    (folder / codec.FAILED).write_text("1000\nlong ago\n")
    assert worker.offered()


async def test_switched_off_nothing_is_installed_and_the_line_is_told(folder: Path) -> None:
    script(folder, SUCCEEDS)
    fbx = FbxInstallation(FbxSettings(folder=folder, install=False))
    assert not fbx.can_install
    assert "make fbx" in FbxWorker(folder, fbx.can_install).missing()


async def test_libraries_that_are_missing_are_told_before_a_gigabyte_is_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(folder, SUCCEEDS)
    monkeypatch.setattr(codec, "_LIBRARIES", {"libnobodyhas.so.9": "libnobodyhas9"})
    assert FbxWorker(folder, installs=True).missing().endswith("apt-get install libnobodyhas9")


async def test_a_run_that_is_cancelled_does_not_stop_what_others_wait_for(folder: Path) -> None:
    script(folder, SUCCEEDS)
    service = Service(folder)
    async with watched(service):
        cancelled, waiting = asyncio.create_task(service.bring()), asyncio.create_task(service.bring())
        await until(lambda: runs(folder) == 1)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        (folder / "go").touch()
        await asyncio.wait_for(waiting, 30)
    assert runs(folder) == 1


async def test_a_service_that_stops_ends_its_script_and_that_is_no_failure(folder: Path) -> None:
    script(folder, SUCCEEDS)
    service = Service(folder)
    async with watched(service):
        waiting = asyncio.create_task(service.bring())
        await until(lambda: runs(folder) == 1)
    assert (await asyncio.gather(waiting, return_exceptions=True)) != [None]
    assert not (folder / codec.FAILED).exists() and not (folder / codec.READY).exists()
    next_one = Service(folder)
    (folder / "go").touch()
    async with watched(next_one):
        await asyncio.wait_for(next_one.bring(), 30)


async def test_what_a_person_installs_is_taken_up_while_the_service_runs(folder: Path) -> None:
    script(folder, FAILS)
    service = Service(folder)
    async with watched(service):
        (folder / ".venv").mkdir()
        (folder / codec.READY).touch()
        await until(lambda: service.renewed == 1, 30)
    assert not needs(service, WANTS) and runs(folder) == 0


async def test_an_installation_that_takes_too_long_is_ended_and_told(folder: Path) -> None:
    script(folder, SUCCEEDS)
    service = Service(folder, install_seconds=0.3)
    async with watched(service):
        with pytest.raises(MaquetteError, match="longer than 0 s"):
            await service.bring()
    assert not (folder / codec.READY).exists()
