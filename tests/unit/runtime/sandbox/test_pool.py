"""Calls into workers: what comes back, how they fail, and that nothing stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from maquette.runtime.errors import Unavailable
from maquette.runtime.sandbox import (
    OutOfMemory,
    RemoteFailure,
    SandboxPool,
    TimedOut,
    WorkerCrashed,
    WorkerSpec,
)
from maquette.runtime.sandbox.spec import Step, code_root
from maquette.runtime.sandbox.workspace import Workspace
from tests.support.folders import open_folder

AT = "tests.support.intruder"
SPEC = WorkerSpec("pool", modules=(AT,))
QUICK = {"timeout": 60.0, "memory_mib": 256}


@pytest.fixture
async def pool() -> AsyncIterator[SandboxPool]:
    with open_folder("pool") as folder:
        async with SandboxPool.open(SPEC, workers=1, workspace=folder) as running:
            yield running
        assert not list((folder / "work").iterdir())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 — a death has no event here
            await asyncio.sleep(0.01)


def pid(pool: SandboxPool) -> int:
    worker = pool.seats[0].worker
    assert worker is not None
    return worker.process.pid


async def test_plain_values_go_in_and_come_out(pool: SandboxPool) -> None:
    value = {"a": [1, 2.5, None, "ü"], "b": True}
    assert await pool.call(f"{AT}:echo", {"value": value}, **QUICK) == value


async def test_file_of_ours_is_read_but_not_changed(pool: SandboxPool, tmp_path: Path) -> None:
    # Pytest's folder is closed to other users, as the data folder of root may be.
    file = tmp_path / "upload"
    file.write_text("bytes")
    file.chmod(0o600)
    assert await pool.call(f"{AT}:read", {}, files={"path": file}, **QUICK) == "bytes"
    assert await pool.call(f"{AT}:overwrite", {}, files={"path": file}, **QUICK) == "PermissionError"
    assert file.read_text() == "bytes" and file.stat().st_nlink == 1


async def test_exception_comes_back_with_its_kind(pool: SandboxPool) -> None:
    with pytest.raises(RemoteFailure) as caught:
        await pool.call(f"{AT}:read", {"path": "/nowhere"}, **QUICK)
    assert caught.value.kind == "FileNotFoundError" and "/nowhere" in caught.value.message


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
async def test_death_is_told_and_the_next_call_works(pool: SandboxPool, name: str) -> None:
    with pytest.raises(WorkerCrashed, match=f"worker process died of {name}"):
        await pool.call(f"{AT}:die", {"signal": int(signal.Signals[name])}, **QUICK)
    assert await pool.call(f"{AT}:echo", {"value": 1}, **QUICK) == 1


async def test_memory_in_one_gulp_is_refused(pool: SandboxPool) -> None:
    with pytest.raises(OutOfMemory):
        await pool.call(f"{AT}:grab", {"mib": 2048}, **QUICK)
    assert await pool.call(f"{AT}:grab", {"mib": 50}, **QUICK) == 50 << 20


async def test_time_out_kills_at_once(pool: SandboxPool) -> None:
    with pytest.raises(TimedOut):
        await pool.call(f"{AT}:wait", {"seconds": 3600}, timeout=0.2, memory_mib=256)
    assert await pool.call(f"{AT}:echo", {"value": 1}, **QUICK) == 1


async def test_caller_that_goes_away_leaves_a_working_pool(pool: SandboxPool) -> None:
    call = asyncio.create_task(pool.call(f"{AT}:wait", {"seconds": 30}, **QUICK))
    await until(lambda: pool.seats[0].worker is not None and pool.seats[0].worker.calls > 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await pool.call(f"{AT}:echo", {"value": 1}, **QUICK) == 1


async def test_flood_of_output_and_huge_answers_do_no_harm(pool: SandboxPool) -> None:
    assert await pool.call(f"{AT}:flood", {"lines": 20_000}, **QUICK) == 20_000
    with pytest.raises(RemoteFailure) as caught:
        await pool.call(f"{AT}:huge", {}, **QUICK)
    assert caught.value.kind == "FrameError"


async def test_idle_worker_that_dies_is_replaced(pool: SandboxPool) -> None:
    await pool.call(f"{AT}:echo", {"value": 1}, **QUICK)
    first = pid(pool)
    os.kill(first, signal.SIGKILL)
    await until(lambda: pid(pool) != first)
    assert await pool.call(f"{AT}:echo", {"value": 2}, **QUICK) == 2


async def test_worker_that_cannot_start_says_why() -> None:
    with open_folder("unfit") as folder:
        spec = replace(SPEC, steps=(Step(f"{AT}:read", {"path": "/nowhere"}),))
        async with SandboxPool.open(spec, workers=1, workspace=folder) as pool:
            with pytest.raises(Unavailable, match="/nowhere"):
                await pool.call(f"{AT}:echo", {"value": 1}, **QUICK)
            assert "/nowhere" in pool.failure


def test_workers_die_with_a_parent_that_is_killed_and_its_folder_is_swept() -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from maquette.runtime.sandbox import SandboxPool, WorkerSpec\n"
        "async def main():\n"
        "    async with SandboxPool.open(WorkerSpec('x'), workers=1, workspace=Path(sys.argv[1])) as pool:\n"
        "        worker = await (await pool.acquire()).worker()\n"
        "        await worker.ready\n"
        "        print(worker.process.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with open_folder("orphan") as folder:
        parent = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=code_root(),
            text=True,
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        parent.stdout.close()
        end = time.monotonic() + 60
        while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
            assert time.monotonic() < end, "the worker outlived its parent"
            time.sleep(0.01)
        assert list((folder / "work").iterdir())
        Workspace(folder / "work", "next").close()
        assert not list((folder / "work").iterdir())
