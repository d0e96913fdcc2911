"""Runs that go wrong: the task fails with its reason, the node and the neighbours go on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from maquette.runtime.errors import DeadlineExceeded, Internal, InvalidArgument
from maquette.runtime.rpc.channel import translated
from tests.integration.capability.conftest import Mesh, gone, mesh_in, until
from tests.support.folders import open_folder


async def run(mesh: Mesh, *args: object, **kwargs: object) -> None:
    async with translated():
        async for _ in mesh.stub.Run(mesh.request(*args, **kwargs)):  # type: ignore[arg-type]
            pass


async def test_crash_of_a_worker_names_the_signal_and_leaves_the_neighbour_alone(mesh: Mesh) -> None:
    neighbour = mesh.stub.Run(mesh.request("spinner", "test_spin"))
    seat = mesh.node.pool.seats[int((await neighbour.read()).accepted.worker.rpartition("-")[2])]
    while not (await neighbour.read()).HasField("progress"):
        pass
    pid = seat.worker.process.pid  # type: ignore[union-attr]
    with pytest.raises(Internal) as caught:
        await run(mesh, "crasher", "test_crash", b"a CRASH picture")
    assert caught.value.reason == "WORKER_CRASHED"
    assert "SIGSEGV" in caught.value.message
    await until(lambda: mesh.node.pool.busy == 1)
    neighbour.cancel()
    await until(lambda: mesh.node.pool.busy == 0)
    assert seat.worker.process.pid == pid  # type: ignore[union-attr]
    # A fresh worker takes the slot.
    await run(mesh, "crasher", "test_crash", b"a calm picture")
    assert not mesh.leftovers()


async def test_run_that_devours_memory_is_killed_with_its_reason(mesh: Mesh) -> None:
    with pytest.raises(Internal) as caught:
        await run(mesh, "oom", "test_oom")
    assert caught.value.reason == "OUT_OF_MEMORY"
    await run(mesh, "sleep_100ms", "test_sleep")
    assert not mesh.leftovers()


async def test_deadline_ends_a_run_that_does_not_stop_by_itself(hasty: Mesh) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await run(hasty, "stubborn", "test_stubborn", deadline_in=0.3)
    assert caught.value.reason == "TIMED_OUT"


async def test_cancel_stops_a_cooperative_run_and_keeps_its_worker(mesh: Mesh) -> None:
    before = {seat.worker.process.pid for seat in mesh.node.pool.seats if seat.worker}
    call = mesh.stub.Run(mesh.request("spinner", "test_spin", b"in"))
    while not (await call.read()).HasField("progress"):
        pass
    call.cancel()
    await until(lambda: mesh.node.pool.busy == 0)
    assert {seat.worker.process.pid for seat in mesh.node.pool.seats if seat.worker} == before
    assert not mesh.leftovers()


async def test_cancel_kills_a_stubborn_worker_and_all_it_held(hasty: Mesh) -> None:
    mesh = hasty
    call = mesh.stub.Run(mesh.request("stubborn", "test_stubborn", b"in"))
    accepted = (await call.read()).accepted
    await until(lambda: any(s.worker and s.worker.calls for s in mesh.node.pool.seats))
    pid = mesh.node.pool.seats[int(accepted.worker.rpartition("-")[2])].worker.process.pid  # type: ignore[union-attr]
    began = time.monotonic()
    call.cancel()
    await until(lambda: gone(pid))
    assert time.monotonic() - began >= 0.4, "it was asked first"
    await until(lambda: mesh.node.pool.busy == 0)
    await run(mesh, "sleep_100ms", "test_sleep")
    assert not mesh.leftovers()


async def test_engines_own_error_passes_with_reason_and_metadata(mesh: Mesh) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await run(mesh, "picky", "test_refuse")
    assert caught.value.reason == "INVALID_INPUT_FILE"
    assert caught.value.message == "the picture is empty"
    assert caught.value.metadata["field"] == "image"


async def test_a_bug_in_an_engine_tells_no_detail(mesh: Mesh) -> None:
    with pytest.raises(Internal) as caught:
        await run(mesh, "broken", "test_fail")
    assert caught.value.reason == "PROCESSING_FAILED"
    assert "secret detail" not in caught.value.message and "broken" in caught.value.message


@pytest.mark.parametrize("plain", [True, False])
async def test_worker_cannot_make_the_node_upload_what_is_not_its_own(mesh: Mesh, plain: bool) -> None:
    secret = mesh.settings.secrets_dir / "internal"
    held = set(mesh.storage.blobs)
    with pytest.raises(Internal) as caught:
        await run(mesh, "liar", "test_lie", path=str(secret), plain=plain)
    assert caught.value.reason == "PROCESSING_FAILED"
    assert set(mesh.storage.blobs) == held


async def test_cancels_racing_completion_leave_nothing_open(mesh: Mesh) -> None:
    await run(mesh, "sleep_100ms", "test_sleep", b"warm", seconds=0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(40):
        call = mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep", b"in", seconds=0))
        assert (await call.read()).HasField("accepted")
        for _ in range(number % 5):
            await call.read()
        call.cancel()
        await until(lambda: mesh.node.pool.busy == 0)
    assert not mesh.leftovers()
    assert all(seat.restarts == 0 for seat in mesh.node.pool.seats)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4


async def test_worker_is_replaced_after_its_share_of_runs() -> None:
    with open_folder("recycle") as folder:
        async with mesh_in(folder, slots=1, recycle_after=2) as mesh:
            seat = mesh.node.pool.seats[0]
            assert seat.worker is not None
            first = seat.worker.process.pid
            for _ in range(3):
                await run(mesh, "sleep_100ms", "test_sleep", seconds=0.01)
            assert seat.worker.process.pid != first
            await until(lambda: gone(first))


async def test_workers_die_with_the_node() -> None:
    with open_folder("orphans") as folder:
        async with mesh_in(folder) as mesh:
            pids = [seat.worker.process.pid for seat in mesh.node.pool.seats if seat.worker]
            call = mesh.stub.Run(mesh.request("spinner", "test_spin"))
            assert (await call.read()).HasField("accepted")
        assert all(gone(pid) for pid in pids)
        assert not list(Path(folder, "tmp", "work").iterdir())
