"""A run that goes well: what the caller sees, in which order."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.errors import Internal, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from maquette.runtime.rpc.channel import translated
from tests.integration.capability.conftest import Mesh, until


async def test_run_streams_accepted_progress_and_one_honest_result(mesh: Mesh) -> None:
    # Slowly: progress that comes faster than it is read is told as one.
    request = mesh.request("sleep_100ms", "test_sleep", b"picture", seconds=2.0)
    events = [event async for event in mesh.stub.Run(request)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "accepted" and kinds[-1] == "result" and kinds.count("result") == 1
    progress = [event.progress for event in events if event.HasField("progress")]
    assert [p.seq for p in progress] == list(range(1, len(progress) + 1)) and len(progress) >= 3
    assert sorted(p.fraction for p in progress) == [p.fraction for p in progress]
    assert progress[0].stage == "sleeping" and progress[0].HasField("eta")

    result = events[-1].result
    expected = hashlib.sha256(b"7" + b"picture").hexdigest().encode()
    assert (result.model_used, result.requested_model) == ("sleep_100ms", "wished_for")
    assert result.info["seed"] == 7 and list(result.warnings) == ["made by a test"]
    (output,) = result.outputs
    assert mesh.storage.blobs[output.digest] == expected, "the output is in storage before it is named"
    assert (output.role, output.filename, output.size, output.meta["size"]) == ("mesh", "out.bin", 64, 64)
    assert mesh.storage.grants == {"the-grant"}
    assert not mesh.leftovers()


async def test_outputs_in_folders_keep_role_and_order(mesh: Mesh) -> None:
    events = [event async for event in mesh.stub.Run(mesh.request("pair", "test_pair"))]
    outputs = events[-1].result.outputs
    assert [(o.role, o.filename, o.ordinal) for o in outputs] == [
        ("mesh", "out.bin", 0),
        ("texture", "base.png", 1),
    ]


async def test_heartbeats_arrive_while_an_engine_is_silent(hasty: Mesh) -> None:
    call = hasty.stub.Run(hasty.request("stubborn", "test_stubborn", heartbeat=0.1))
    seen = [(await call.read()).WhichOneof("event") for _ in range(4)]
    assert seen == ["accepted", "heartbeat", "heartbeat", "heartbeat"]
    call.cancel()
    await until(lambda: hasty.node.pool.busy == 0)


async def test_full_node_answers_busy_and_keeps_nobody_waiting(mesh: Mesh) -> None:
    calls = [mesh.stub.Run(mesh.request("spinner", "test_spin")) for _ in range(2)]
    for call in calls:
        assert (await call.read()).HasField("accepted")
    with pytest.raises(ResourceExhausted) as caught:
        async with translated():
            [_ async for _ in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep"))]
    assert caught.value.reason == "NODE_BUSY"
    for call in calls:
        call.cancel()
    await until(lambda: mesh.node.pool.busy == 0)
    assert [e async for e in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep"))][-1].HasField("result")


async def test_input_with_other_bytes_than_its_digest_is_refused(mesh: Mesh) -> None:
    mesh.storage.forge = True
    with pytest.raises(Internal, match="damaged"):
        async with translated():
            [_ async for _ in mesh.stub.Run(mesh.request("sleep_100ms", "test_sleep", b"picture"))]
    assert not mesh.leftovers() and mesh.node.pool.busy == 0


async def test_missing_input_fails_with_storages_own_reason(mesh: Mesh) -> None:
    request = mesh.request("sleep_100ms", "test_sleep", b"picture")
    mesh.storage.blobs.clear()
    with pytest.raises(NotFound):
        async with translated():
            [_ async for _ in mesh.stub.Run(request)]


@pytest.mark.parametrize(
    ("engine", "feature", "kind"),
    [
        ("nobody", "test_sleep", InvalidArgument),
        ("sleep_100ms", "test_crash", InvalidArgument),
        ("no_library", "test_sleep", Unavailable),
    ],
)
async def test_engine_that_cannot_serve_is_refused_before_a_slot_is_taken(
    mesh: Mesh, engine: str, feature: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        async with translated():
            [_ async for _ in mesh.stub.Run(mesh.request(engine, feature))]
    assert mesh.node.pool.busy == 0


async def test_describe_tells_states_and_what_to_install(mesh: Mesh) -> None:
    answer = await mesh.stub.Describe(pb.DescribeRequest())
    rows = {engine.id: engine for engine in answer.engines}
    assert answer.capability == "meshgen" and answer.slots == 2
    assert rows["sleep_100ms"].state == pb.ENGINE_STATE_LOADED
    assert rows["no_library"].state == pb.ENGINE_STATE_UNAVAILABLE
    assert "apt-get install libgl1" in rows["no_library"].reason


async def test_caller_without_the_secret_is_turned_away(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.settings.address("meshgen")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await type(mesh.stub)(channel).Describe(pb.DescribeRequest())
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_many_runs_over_two_slots_all_succeed(mesh: Mesh) -> None:
    async def one(number: int) -> str:
        while True:
            try:
                async with translated():
                    request = mesh.request("sleep_100ms", "test_sleep", str(number).encode())
                    events = [event async for event in mesh.stub.Run(request)]
                return events[-1].result.outputs[0].digest
            except ResourceExhausted:
                await asyncio.sleep(0.02)

    assert len(set(await asyncio.gather(*(one(n) for n in range(10))))) == 10
