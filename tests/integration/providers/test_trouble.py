"""Meshy's engines when something is in the way: refusals for the moment, lost answers, cancels, crashes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.errors import DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from maquette.runtime.remote.meshy import noted
from maquette.runtime.settings import MeshySettings
from maquette.runtime.structs import from_struct
from tests.integration.capability.conftest import Mesh, until
from tests.integration.providers.conftest import (
    image_request,
    meshy_engines,
    meshy_settings,
    node_with,
    run,
)
from tests.integration.providers.test_meshy import picture
from tests.support.meshy import IMAGE, KEY, FakeMeshy
from tests.support.provider import Answer, Fault

ENDLESS = [("PENDING", 0), *[("IN_PROGRESS", 50)] * 100_000]


async def polling(mesh: Mesh, fake: FakeMeshy, request: pb.RunRequest) -> Any:
    """Begin a run; return its call when the task at Meshy is being polled."""
    call = mesh.stub.Run(request)
    while not (await call.read()).progress.upstream_status:
        pass
    return call


async def idle(mesh: Mesh) -> None:
    """Wait until nothing runs."""
    await until(lambda: mesh.node.state().remote_busy == 0 and not mesh.node._attempts, 60)


async def test_what_fails_for_the_moment_is_tried_again_and_paid_for_once(
    node: Mesh, meshy: FakeMeshy
) -> None:
    for answer in (
        Answer(429, {"message": "RateLimitExceeded"}, {"Retry-After": "0"}),
        Answer(429, {"message": "NoMoreConcurrentTasks"}),
        Answer(500, {"message": "oops"}),
        Answer(503, b"<html>busy</html>"),
    ):
        meshy.faults.append(Fault("POST", IMAGE, answer))
        meshy.faults.append(Fault("GET", IMAGE, answer))
    meshy.faults.append(Fault("GET", IMAGE, Answer(504)))
    meshy.faults.append(Fault("GET", IMAGE, drop=True))
    meshy.faults.append(Fault("GET", "/files/", Answer(503)))
    meshy.faults.append(Fault("GET", "/files/", drop=True))
    events = await run(node, image_request(node, picture()))
    assert events[-1].HasField("result") and not meshy.faults
    assert meshy.count("POST", IMAGE) == 5 and len(meshy.made(IMAGE)) == 1


async def test_a_full_queue_is_waited_for_beyond_all_patience(meshy: FakeMeshy) -> None:
    meshy.most_open = 0
    settings = meshy_settings(meshy, patience_seconds=0.0)
    async with node_with(meshy_engines(settings)) as mesh:
        running = asyncio.create_task(run(mesh, image_request(mesh, picture())))
        await until(lambda: meshy.count("POST", IMAGE) > 3, 60)
        meshy.most_open = 10
        assert (await running)[-1].HasField("result")
        assert len(meshy.made(IMAGE)) == 1


async def test_a_task_is_asked_every_two_seconds_how_it_goes(meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = [("IN_PROGRESS", 5), ("SUCCEEDED", 100)]
    settings = MeshySettings(api_key=SecretStr(KEY), base_url=meshy.url)
    async with node_with(meshy_engines(settings)) as node:
        await run(node, image_request(node, picture()))
    first, second = meshy.seen("GET", IMAGE)
    assert second.at - first.at >= settings.poll_seconds == 2.0


async def test_the_providers_retry_after_is_honoured(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.retry_after = "1"
    meshy.steps[IMAGE] = [("IN_PROGRESS", 5), ("SUCCEEDED", 100)]
    await run(node, image_request(node, picture()))
    first, second = meshy.seen("GET", IMAGE)
    assert second.at - first.at >= 1.0


@pytest.mark.parametrize("fault", [Fault("POST", IMAGE, drop=True), Fault("POST", IMAGE, Answer(504))])
async def test_a_task_that_may_have_been_taken_is_not_sent_twice(
    node: Mesh, meshy: FakeMeshy, fault: Fault
) -> None:
    meshy.faults.append(fault)
    with pytest.raises(Internal, match="may be paid for") as caught:
        await run(node, image_request(node, picture()))
    assert caught.value.reason == "PROCESSING_FAILED" and meshy.count("POST") == 1


async def test_a_poll_without_an_answer_is_given_up_and_asked_again(meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = ENDLESS
    settings, hold = meshy_settings(meshy), threading.Event()
    async with node_with(meshy_engines(settings)) as mesh:
        running = asyncio.create_task(run(mesh, image_request(mesh, picture())))
        await until(lambda: meshy.count("GET", IMAGE), 60)
        # From now on: what makes the task must not run out of time on a slow machine.
        settings.request_seconds = 0.5
        held = Fault("GET", IMAGE, hold=hold)
        meshy.faults.append(held)
        await until(lambda: held not in meshy.faults, 60)
        meshy.made(IMAGE)[0].steps = [("SUCCEEDED", 100)]
        try:
            assert (await running)[-1].HasField("result")
        finally:
            hold.set()
        assert meshy.count("POST") == 1


async def test_patience_has_an_end(meshy: FakeMeshy) -> None:
    meshy.faults += [Fault("GET", IMAGE, Answer(503)) for _ in range(1000)]
    async with node_with(meshy_engines(meshy_settings(meshy, patience_seconds=0.2))) as mesh:
        with pytest.raises(Internal, match="HTTP 503"):
            await run(mesh, image_request(mesh, picture()))


async def test_an_expired_url_is_asked_for_anew(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.expired = 2
    events = await run(node, image_request(node, picture()))
    assert events[-1].HasField("result")
    meshy.expired = 1000
    with pytest.raises(Internal, match="HTTP 403"):
        await run(node, image_request(node, picture()))


async def test_a_file_that_is_no_model_is_not_delivered(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.faults.append(Fault("GET", "/files/", Answer(200, b"glTF, or so they say")))
    with pytest.raises(Internal) as caught:
        await run(node, image_request(node, picture()))
    assert caught.value.reason == "PROCESSING_FAILED" and "no usable model" in caught.value.message


async def test_an_url_that_leads_inside_is_not_followed(meshy: FakeMeshy) -> None:
    async def ask(host: str, port: int) -> list[str]:
        return ["93.184.215.14"] if host == "127.0.0.1" else ["10.0.0.7"]

    meshy.url, base = "https://files.test", meshy.url
    settings = meshy_settings(meshy, base_url=base)
    async with node_with(meshy_engines(settings, ask=ask)) as mesh:
        with pytest.raises(Internal, match="not public"):
            await run(mesh, image_request(mesh, picture()))
        assert not meshy.count("GET", "/files/")


async def test_the_next_attempt_goes_on_with_the_task_that_was_made(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = ENDLESS
    request = image_request(node, picture())
    call = node.stub.Run(request)
    while not (event := await call.read()).HasField("checkpoint"):
        pass
    state = from_struct(event.checkpoint.state)
    (task,) = meshy.made(IMAGE)
    assert noted(state) == {"task": (IMAGE, task.id)} and KEY not in str(state)
    call.cancel()
    await idle(node)
    assert not task.deleted, "a caller that breaks off gives nothing up"
    task.steps = [("SUCCEEDED", 100)]
    # A node that never heard of it.
    async with node_with(meshy_engines(meshy_settings(meshy))) as other:
        request.checkpoint.CopyFrom(event.checkpoint.state)
        request.inputs[0].digest = other.storage.add(picture())
        assert (await run(other, request))[-1].HasField("result")
    assert meshy.count("POST") == 1


async def test_the_node_remembers_what_its_caller_did_not_live_to_hear(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = ENDLESS
    hold = threading.Event()
    meshy.faults.append(Fault("POST", IMAGE, hold=hold))
    request = image_request(node, picture())
    call = node.stub.Run(request)
    assert (await call.read()).HasField("accepted")
    await until(lambda: meshy.count("POST"), 60)
    call.cancel()
    # The answer is on its way still: the next attempt must wait for it.
    await until(lambda: any(a.cancelled.is_set() for a in node.node._attempts.values()), 60)
    with pytest.raises(ResourceExhausted) as caught:
        await run(node, request)
    assert caught.value.reason == "NODE_BUSY"
    hold.set()
    await idle(node)
    (task,) = meshy.made(IMAGE)
    task.steps = [("SUCCEEDED", 100)]
    events = await run(node, request)
    assert events[-1].HasField("result")
    assert meshy.count("POST") == 1 and not meshy.count("DELETE")
    # And the next caller hears it: this node may be lost too.
    told = [from_struct(event.checkpoint.state) for event in events if event.HasField("checkpoint")]
    assert [noted(state) for state in told] == [{"task": (IMAGE, task.id)}]


async def test_a_job_that_was_cancelled_is_given_up_at_the_provider(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = ENDLESS
    request = image_request(node, picture())
    call = await polling(node, meshy, request)
    await node.stub.Discard(pb.DiscardRequest(task_id=request.task_id, engine_id=request.engine_id))
    call.cancel()
    await idle(node)
    assert meshy.count("DELETE") == 1 and meshy.made(IMAGE)[0].deleted
    assert not node.leftovers()


async def test_a_task_that_is_being_made_is_given_up_when_its_id_is_known(
    node: Mesh, meshy: FakeMeshy
) -> None:
    hold = threading.Event()
    meshy.faults.append(Fault("POST", IMAGE, hold=hold))
    request = image_request(node, picture())
    call = node.stub.Run(request)
    assert (await call.read()).HasField("accepted")
    await until(lambda: meshy.count("POST"), 60)
    await node.stub.Discard(pb.DiscardRequest(task_id=request.task_id, engine_id=request.engine_id))
    call.cancel()
    hold.set()
    await idle(node)
    assert meshy.made(IMAGE)[0].deleted


async def test_what_no_attempt_holds_any_more_is_given_up_by_its_checkpoint(
    node: Mesh, meshy: FakeMeshy
) -> None:
    meshy.steps[IMAGE] = ENDLESS
    request = image_request(node, picture())
    call = node.stub.Run(request)
    while not (event := await call.read()).HasField("checkpoint"):
        pass
    call.cancel()
    await idle(node)
    discard = pb.DiscardRequest(
        task_id="of another node", engine_id=request.engine_id, checkpoint=event.checkpoint.state
    )
    await node.stub.Discard(discard)
    assert meshy.made(IMAGE)[0].deleted


async def test_a_run_out_of_time_gives_up_what_it_made(meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = ENDLESS
    async with node_with(meshy_engines(meshy_settings(meshy, wait_seconds=0.2))) as mesh:
        with pytest.raises(DeadlineExceeded) as caught:
            await run(mesh, image_request(mesh, picture()))
    assert caught.value.reason == "TIMED_OUT" and meshy.made(IMAGE)[0].deleted


async def test_a_node_that_stops_leaves_the_task_to_the_next(node: Mesh, meshy: FakeMeshy) -> None:
    meshy.steps[IMAGE] = ENDLESS
    running = asyncio.create_task(run(node, image_request(node, picture())))
    await until(lambda: meshy.count("GET", IMAGE), 60)
    node.node.drain()
    await node.node.finish(0.0)
    with pytest.raises(Unavailable) as caught:
        await running
    assert caught.value.reason == "NODE_LOST" and not meshy.count("DELETE")


async def test_remote_runs_take_no_slot_of_the_workers_and_have_a_bound_of_their_own(
    meshy: FakeMeshy,
) -> None:
    meshy.steps[IMAGE] = ENDLESS
    async with node_with(meshy_engines(meshy_settings(meshy)), remote_slots=2) as mesh:
        calls = [await polling(mesh, meshy, image_request(mesh, picture())) for _ in range(2)]
        state = mesh.node.state()
        assert (state.remote_slots, state.remote_busy, state.slots, state.busy) == (2, 2, 1, 0)
        with pytest.raises(ResourceExhausted):
            await run(mesh, image_request(mesh, picture()))
        assert (await run(mesh, mesh.request("sleep_100ms", "test_sleep")))[-1].HasField("result")
        for call in calls:
            call.cancel()
        await idle(mesh)


async def test_a_run_that_waits_gives_signs_of_life(node: Mesh, meshy: FakeMeshy) -> None:
    hold = threading.Event()
    meshy.faults.append(Fault("POST", IMAGE, hold=hold))
    request = image_request(node, picture())
    request.heartbeat.FromMilliseconds(100)
    call = node.stub.Run(request)
    beats = 0
    while beats < 3:
        beats += (await call.read()).HasField("heartbeat")
    hold.set()
    while (event := await call.read()) is not grpc.aio.EOF:
        last = event
    assert last.HasField("result")


async def test_the_key_and_signed_urls_are_in_no_answer_and_no_log(
    node: Mesh, meshy: FakeMeshy, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    meshy.expired = 1
    said.append(await run(node, image_request(node, picture())))
    for answer in (
        Answer(400, {"message": f"the key {KEY} may not do this"}),
        Answer(403, {"message": f"the key {KEY} may not do this"}),
        Answer(500, KEY.encode()),
        Answer(200, KEY.encode()),
    ):
        meshy.faults.append(Fault("POST", IMAGE, answer))
        with pytest.raises(Exception) as caught:
            said.append(await run(node, image_request(node, picture())))
            raise RuntimeError("it was tried again")
        said.append([f"{caught.value!r} {caught.value}"])
    captured = capfd.readouterr()
    everything = f"{said} {captured.out} {captured.err} {caplog.text}"
    assert "run ended" in everything
    assert KEY not in everything and "s1gn4ture" not in everything
