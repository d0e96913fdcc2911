"""What a node tells `jobs`, and that it obeys."""

from __future__ import annotations

import asyncio

import pytest

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import ResourceExhausted
from maquette.runtime.rpc.channel import translated
from tests.integration.capability.conftest import Mesh, mesh_in, until
from tests.support.folders import open_folder


async def test_node_announces_engines_slots_and_every_change_of_busy(mesh: Mesh) -> None:
    first = await until(lambda: next((s for s in mesh.jobs.states if s.engines), None))
    assert (first.capability, first.slots, first.address) == ("meshgen", 2, mesh.settings.address("meshgen"))
    assert first.id == mesh.node.id and first.HasField("start_time")
    call = mesh.stub.Run(mesh.request("spinner", "test_spin"))
    assert (await call.read()).HasField("accepted")
    await until(lambda: mesh.jobs.states[-1].busy == 1)
    call.cancel()
    await until(lambda: mesh.jobs.states[-1].busy == 0)


async def test_node_goes_on_announcing_when_nothing_changes(mesh: Mesh) -> None:
    await until(lambda: mesh.jobs.states)
    count = len(mesh.jobs.states)
    await until(lambda: len(mesh.jobs.states) > count + 2)


async def test_drained_node_takes_no_task(mesh: Mesh) -> None:
    await mesh.jobs.commands.put(jobs_pb2.AnnounceResponse(drain=jobs_pb2.AnnounceResponse.Drain()))
    await until(lambda: mesh.jobs.states and mesh.jobs.states[-1].draining)
    with pytest.raises(ResourceExhausted) as caught:
        async with translated():
            [_ async for _ in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep"))]
    assert caught.value.reason == "NODE_BUSY"


async def test_unloaded_engine_is_loaded_again_by_its_next_run(mesh: Mesh) -> None:
    def state() -> int:
        rows = {engine.id: engine.state for engine in mesh.jobs.states[-1].engines}
        return rows.get("sleep_100ms", 0)

    await until(lambda: mesh.jobs.states and state() == pb.ENGINE_STATE_LOADED)
    unload = jobs_pb2.AnnounceResponse.Unload(engine_id="sleep_100ms")
    await mesh.jobs.commands.put(jobs_pb2.AnnounceResponse(unload=unload))
    await until(lambda: state() == pb.ENGINE_STATE_AVAILABLE)
    await until(lambda: mesh.node.pool.busy == 0)
    events = [event async for event in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep"))]
    assert events[-1].HasField("result")
    await until(lambda: state() == pb.ENGINE_STATE_LOADED)


async def test_engines_that_cannot_be_made_are_told_and_the_others_serve() -> None:
    broken = ["tests.support.broken_engines:engines", "tests.support.absent:engines"]
    with open_folder("capability") as folder:
        async with mesh_in(folder, slots=1, extra_engines={"meshgen": broken}) as mesh:
            told = await until(lambda: {e.id: e for s in mesh.jobs.states for e in s.engines})
            reasons = {
                "unimportable": "tests.support.absent",
                "broken_engines": "KeyError: 'no such table'",
                "unloadable": "RuntimeError: the weights are of another model",
                "tests.support.absent:engines": "tests.support.absent",
            }
            for engine_id, why in reasons.items():
                assert told[engine_id].state == pb.ENGINE_STATE_UNAVAILABLE
                assert why in told[engine_id].reason
            async with translated():
                said = [r async for r in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep"))]
            assert said[-1].HasField("result")


async def test_renewed_workers_are_others_and_each_one_is(mesh: Mesh) -> None:
    before = {seat.index: seat.worker.process.pid for seat in mesh.node.pool.seats if seat.worker}
    events, renewing = [], None
    async for event in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep")):
        if event.HasField("accepted"):
            renewing = asyncio.create_task(mesh.node.renew())
        events.append(event)
    assert renewing is not None
    await renewing
    assert events[-1].HasField("result"), "the run at hand ends as it would have"

    def others() -> bool:
        workers = [(seat.index, seat.worker) for seat in mesh.node.pool.seats]
        return all(w and w.process.pid != before[i] and w.ready.done() for i, w in workers)

    await until(others)
    await until(lambda: mesh.node.pool.busy == 0)
    events = [event async for event in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep"))]
    assert events[-1].HasField("result")
