"""Code that runs in a worker has no way out: no connection, no other process, no secret."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maquette.runtime.sandbox import SandboxPool, WorkerSpec
from tests.support.folders import open_folder

INTRUDER = "tests.support.intruder"
SPEC = WorkerSpec("intruder", modules=(INTRUDER,))

WAYS_OUT = [
    *("inet", "inet6", "udp", "unix", "netlink", "packet", "socketpair", "io_uring"),
    *("bpf", "userfaultfd", "keyctl", "ptrace", "process_vm_readv", "mount", "unshare"),
    *("fork", "spawn", "exec"),
]
REACHES = [
    "kill parent",
    "kill all",
    "parent's environment",
    "parent's memory",
    "write to /tmp",
    "write to code",
    "secret",
    "neighbour's input",
]


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What one worker could do while another held a file; gathered once."""
    with open_folder("intruder") as folder:
        yield asyncio.run(_gather(folder))


async def _gather(folder: Path) -> dict[str, Any]:
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "internal").write_text("secret")
    (secrets / "internal").chmod(0o600)
    async with SandboxPool.open(SPEC, workers=2, workspace=folder) as pool:
        first, second = await pool.acquire(), await pool.acquire()
        worker, neighbour = await first.worker(), await second.worker()
        room = neighbour.room.call()
        held = room.lend(secrets / "internal", "held")
        await worker.ready
        mine = worker.room.call()
        asked = {"paths": {"secret": str(secrets / "internal"), "neighbour's input": str(held)}}
        tried = await worker.call(
            f"{INTRUDER}:try_everything",
            {**asked, "parent": os.getpid()},
            mine,
            timeout=120,
            memory_mib=512,
        )
        around = await worker.call(f"{INTRUDER}:look_around", {}, mine, timeout=120, memory_mib=512)
        result = {**tried.value, "around": around.value, "held": dict(worker.held), "out": str(mine.outputs)}
        first.release()
        second.release()
    return result


@pytest.mark.parametrize("way", WAYS_OUT)
def test_worker_has_no_way_out(seen: dict[str, Any], way: str) -> None:
    assert seen[way] == "PermissionError"


@pytest.mark.parametrize("reach", REACHES)
def test_worker_reaches_nothing_of_others(seen: dict[str, Any], reach: str) -> None:
    if os.getuid() != 0 and not seen["held"]["landlock"]:
        pytest.skip("an ordinary user's worker is held back by Landlock, which this kernel lacks")
    assert seen[reach] in ("PermissionError", "ProcessLookupError")


def test_worker_of_root_is_nobody(seen: dict[str, Any]) -> None:
    if os.getuid() != 0:
        pytest.skip("we are not root")
    assert seen["around"]["uid"] == seen["held"]["uid"] >= 61200
    assert seen["around"]["groups"] == []
    assert seen["become root"] == "PermissionError"


def test_worker_inherits_no_environment_and_no_descriptor(seen: dict[str, Any]) -> None:
    around = seen["around"]
    assert not {name for name in around["environment"] if name.startswith(("MAQUETTE", "PYTEST", "AWS"))}
    assert around["cwd"] == seen["out"]
    kinds = {name.split(":")[0] for name in around["descriptors"]}
    allowed = {"pipe", "/dev/null"}
    assert all(kind in allowed or Path(kind).is_dir() for kind in kinds), kinds


def test_worker_can_still_do_honest_work(seen: dict[str, Any]) -> None:
    around = seen["around"]
    assert around["threads"] == 4 and around["session"] and around["late"] == "xml.dom.minidom"
    assert seen["held"]["seccomp"] is True
