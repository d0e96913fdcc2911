"""A program that a worker may start has no more rights than the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from maquette.runtime.sandbox import OutOfMemory, SandboxPool, WorkerSpec
from tests.support.folders import open_folder

START = "tests.support.intruder:start"
SPEC = WorkerSpec("starter", modules=("tests.support.intruder",), processes=True)
_BASH = Path("/bin/bash")
pytestmark = pytest.mark.skipif(not _BASH.exists(), reason="needs bash")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder("starter") as folder:
        (folder / "secrets").mkdir(mode=0o700)
        (folder / "secrets" / "internal").write_text("secret")
        yield folder


async def started(folder: Path, script: str, memory_mib: int = 256) -> tuple[int, str]:
    async with SandboxPool.open(SPEC, workers=1, workspace=folder) as pool:
        command = {"command": [str(_BASH), "-c", script]}
        status, said = await pool.call(START, command, timeout=120, memory_mib=memory_mib)
        return status, said


def done(work: Coroutine[Any, Any, tuple[int, str]]) -> tuple[int, str]:
    return asyncio.run(work)


def test_it_runs_opens_no_connection_and_reads_no_secret(folder: Path) -> None:
    script = f"echo honest > mine && cat mine >&2; echo > /dev/tcp/127.0.0.1/9; cat {folder}/secrets/internal"
    status, said = done(started(folder, script))
    assert status != 0
    honest, connection, *_, secret = said.splitlines()
    assert honest == "honest"
    assert "Operation not permitted" in connection
    assert "Permission denied" in secret


def test_its_memory_counts_as_the_worker_s(folder: Path) -> None:
    with pytest.raises(OutOfMemory):
        done(started(folder, "head -c 300M /dev/zero | tail > /dev/null; :", memory_mib=128))
