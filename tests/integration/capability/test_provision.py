"""A run that needs something brought first waits for it, and others do not wait with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability import provision as provisions
from maquette.runtime.errors import MaquetteError, error_for
from maquette.runtime.rpc.channel import translated
from tests.integration.capability.conftest import Mesh, mesh_in, until
from tests.support.folders import open_folder


class Delivery:
    """A provision that comes when the test lets it, or fails."""

    stage = "fetching"

    def __init__(self) -> None:
        self.come = asyncio.Event()
        self.failure: MaquetteError | None = None

    def needed(self, request: pb.RunRequest, parameters: Mapping[str, Any]) -> bool:
        return bool(parameters.get("wants")) and not self.come.is_set()

    async def bring(self, tell: Callable[[str], None]) -> None:
        tell("it comes")
        await self.come.wait()
        if self.failure is not None:
            raise self.failure


async def run(mesh: Mesh, **parameters: Any) -> list[pb.RunResponse]:
    async with translated():
        request = mesh.request("sleep_100ms", "test_sleep", **parameters)
        return [event async for event in mesh.stub.Run(request)]


async def test_the_one_slot_works_for_others_while_a_run_waits() -> None:
    delivery = Delivery()
    with open_folder("provision") as folder:
        async with mesh_in(folder, slots=1, provision=delivery) as mesh:
            waiting = asyncio.create_task(run(mesh, wants=True))
            await until(lambda: mesh.jobs.states and mesh.jobs.states[-1].busy == 1)
            state = mesh.jobs.states[-1]
            assert (state.slots, state.busy) == (2, 1), "what waits takes no slot of the others"
            other = await run(mesh)
            assert other[-1].HasField("result") and not waiting.done()
            delivery.come.set()
            events = await waiting
            assert events[-1].HasField("result")
            told = [event.progress for event in events if event.HasField("progress")]
            assert (told[0].stage, told[0].message, told[0].fraction) == ("fetching", "it comes", 0.0)
            await until(lambda: (1, 0) in [(state.slots, state.busy) for state in mesh.jobs.states[-1:]])


async def test_a_run_fails_with_the_reason_when_it_does_not_come() -> None:
    delivery = Delivery()
    delivery.failure = error_for("MODEL_NOT_AVAILABLE", "it is sold out")
    with open_folder("provision") as folder:
        async with mesh_in(folder, slots=1, provision=delivery) as mesh:
            waiting = asyncio.create_task(run(mesh, wants=True))
            await until(lambda: mesh.jobs.states and mesh.jobs.states[-1].busy == 1)
            delivery.come.set()
            with pytest.raises(MaquetteError, match="sold out") as failed:
                await waiting
            assert failed.value.reason == "MODEL_NOT_AVAILABLE"
            assert (await run(mesh))[-1].HasField("result")


async def test_a_cancelled_wait_takes_nothing_with_it() -> None:
    with open_folder("provision") as folder:
        async with mesh_in(folder, slots=1, provision=Delivery()) as mesh:
            call = mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep", wants=True))
            await call.read()
            call.cancel()
            await until(lambda: (1, 0) in [(state.slots, state.busy) for state in mesh.jobs.states[-1:]])
            assert (await run(mesh))[-1].HasField("result")


async def test_only_so_many_wait_and_the_rest_go_back_to_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maquette.runtime.capability.node.MOST_WAITING", 1)
    assert provisions.MOST_WAITING > 1
    delivery = Delivery()
    with open_folder("provision") as folder:
        async with mesh_in(folder, slots=1, provision=delivery) as mesh:
            first = asyncio.create_task(run(mesh, wants=True))
            await until(lambda: mesh.jobs.states and mesh.jobs.states[-1].busy == 1)
            with pytest.raises(MaquetteError) as refused:
                await run(mesh, wants=True)
            assert refused.value.reason == "NODE_BUSY"
            delivery.come.set()
            assert (await first)[-1].HasField("result")
