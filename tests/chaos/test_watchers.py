"""Watchers that go away and come back, and watchers that never read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import grpc
import httpx
import psutil
import pytest

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.rpc.channel import open_channel
from tests.chaos.doors import Doors, until
from tests.chaos.invariants import check
from tests.chaos.scale import chance, record
from tests.chaos.submitting import cancel, key_of, submit

_TERMINAL = {"succeeded", "failed", "cancelled"}
_STALLED = 200
_WARM = 20
_LIMIT_KIB = 64


@dataclass(frozen=True)
class Seen:
    """One event as a watcher got it."""

    seq: int
    type: str


def _check_order(events: list[Seen]) -> None:
    """Assert what every watcher is promised: rising numbers, the terminal event once and last."""
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers)), numbers
    assert [event.type in _TERMINAL for event in events] == [False] * (len(events) - 1) + [True], events


async def _watch(doors: Doors, job_id: str, from_seq: int) -> AsyncIterator[Seen]:
    request = jobs_pb2.WatchJobRequest(key=key_of(job_id), from_seq=from_seq)
    call = doors.jobs.WatchJob(request, timeout=90, wait_for_ready=True)
    try:
        async for answer in call:
            name = jobs_pb2.EventType.Name(answer.event.type).removeprefix("EVENT_TYPE_").lower()
            yield Seen(answer.event.seq, name)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
    finally:
        call.cancel()


async def _sse(doors: Doors, job_id: str, from_seq: int) -> AsyncIterator[Seen]:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(from_seq)} if from_seq else {})}
    with suppress(httpx.TransportError):
        async with doors.http.stream("GET", f"/v1/events/{job_id}", headers=headers, timeout=90) as answer:
            if answer.status_code >= 500:
                return
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    yield Seen(int(event["seq"]), event["type"])


async def _all(
    doors: Doors,
    job_id: str,
    *,
    over_rest: bool,
    at_a_time: int = 1_000_000,
    begun: asyncio.Event | None = None,
) -> list[Seen]:
    """Return every event of a job, going away after each ``at_a_time`` and resuming after the last."""
    seen: list[Seen] = []
    end = asyncio.get_running_loop().time() + 90
    while not (seen and seen[-1].type in _TERMINAL):
        assert asyncio.get_running_loop().time() < end, f"no terminal event after {seen[-3:]}"
        last = seen[-1].seq if seen else 0
        source = _sse(doors, job_id, last) if over_rest else _watch(doors, job_id, last)
        taken = 0
        async for event in source:
            seen.append(event)
            if begun is not None:
                begun.set()
            taken += 1
            if taken == at_a_time or event.type in _TERMINAL:
                break
        await source.aclose()  # type: ignore[attr-defined]
        if not taken:
            await asyncio.sleep(0.1)
    return seen


@pytest.mark.parametrize("over_rest", [False, True], ids=["WatchJob", "SSE"])
async def test_a_watcher_that_goes_and_resumes_sees_every_later_event_and_the_terminal_one(
    doors: Doors, over_rest: bool
) -> None:
    rng = chance("resuming")
    job_id = await submit(doors, seed=11, seconds=2.0)
    begun = asyncio.Event()
    watching = asyncio.create_task(_all(doors, job_id, over_rest=over_rest, begun=begun))
    # What the others see first, it must not have missed.
    await asyncio.wait((watching, asyncio.create_task(begun.wait())), return_when=asyncio.FIRST_COMPLETED)
    others = await asyncio.gather(
        *(_all(doors, job_id, over_rest=over_rest, at_a_time=rng.randint(1, 4)) for _ in range(5))
    )
    patient = await watching
    _check_order(patient)
    # Progress that comes faster than it is taken is told as one; most is not.
    assert len(patient) >= 5
    for events in others:
        _check_order(events)
        # The first may be a snapshot in place of what was before.
        assert events[1:] == [event for event in patient if event.seq > events[0].seq]
    await check(doors, [job_id])


@pytest.mark.parametrize("over_rest", [False, True], ids=["WatchJob", "SSE"])
async def test_a_watcher_sees_the_terminal_event_although_jobs_was_killed_meanwhile(
    doors: Doors, over_rest: bool
) -> None:
    job_id = await submit(doors, seed=12, seconds=2.0)
    watching = asyncio.create_task(_all(doors, job_id, over_rest=over_rest))
    await asyncio.sleep(0.5)
    doors.mesh.kill("jobs")
    events = await watching
    _check_order(events)
    assert events[-1].type == "succeeded"
    assert await check(doors, [job_id]) == {"SUCCEEDED": 1}


@pytest.mark.timeout(180)
async def test_a_stalled_watcher_costs_at_most_64_kib_in_jobs(doors: Doors) -> None:
    job_id = await submit(doors, "chaos_chatter", seconds=600)
    await _until_running(doors, job_id)
    jobs = psutil.Process(doors.mesh.pid("jobs"))
    with ExitStack() as stack:
        calls = []

        async def stall(count: int) -> None:
            settings = doors.mesh.settings
            for _ in range(count):
                # A channel each, as replicas of the gateway would: no window is shared.
                channel = open_channel(settings, settings.address("jobs"), privileged=True)
                stack.callback(channel.close)
                call = jobs_pb2_grpc.JobServiceStub(channel).WatchJob(
                    jobs_pb2.WatchJobRequest(key=key_of(job_id))
                )
                calls.append((channel, call))
                await call.read()

        cost = await _cost(stall, [jobs])
        for channel, call in calls:
            call.cancel()
            await channel.close()
        stack.pop_all()
    await cancel(doors, job_id)
    record("stalled WatchJob", watchers=_STALLED, kib_each=round(cost[0], 1))
    assert cost[0] <= _LIMIT_KIB


@pytest.mark.timeout(180)
async def test_a_stalled_watcher_of_the_rest_api_costs_at_most_64_kib_in_the_gateway(doors: Doors) -> None:
    job_id = await submit(doors, "chaos_chatter", seconds=600)
    await _until_running(doors, job_id)
    processes = [psutil.Process(doors.mesh.pid(name)) for name in ("gateway", "envoy")]
    port = doors.mesh.settings.port
    request = f"GET /v1/events/{job_id} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
    with ExitStack() as stack:

        async def stall(count: int) -> None:
            for _ in range(count):
                watcher = stack.enter_context(socket.socket())
                # A small window: what the client's kernel holds is not what is measured here.
                watcher.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                watcher.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(watcher, ("127.0.0.1", port))
                await loop.sock_sendall(watcher, request)
                assert (await loop.sock_recv(watcher, 15)).startswith(b"HTTP/1.1 200")

        gateway, envoy = await _cost(stall, processes)
    await cancel(doors, job_id)
    record(
        "stalled SSE", watchers=_STALLED, gateway_kib_each=round(gateway, 1), envoy_kib_each=round(envoy, 1)
    )
    assert gateway <= _LIMIT_KIB


async def _cost(stall, processes: list[psutil.Process]) -> list[float]:  # type: ignore[no-untyped-def]
    """Return by how many KiB each watcher made each process grow, once all of them stand still."""
    await stall(_WARM)
    before = await _settled(processes)
    await stall(_STALLED)
    after = await _settled(processes)
    return [(late - early) / 1024 / _STALLED for early, late in zip(before, after, strict=True)]


async def _settled(processes: list[psutil.Process]) -> list[int]:
    """Return the memory of processes after events went on for a while."""
    await asyncio.sleep(3.0)
    return [process.memory_info().rss for process in processes]


async def _until_running(doors: Doors, job_id: str) -> None:
    async def running() -> bool:
        answer = await doors.jobs.GetJob(jobs_pb2.GetJobRequest(key=key_of(job_id)), timeout=60)
        return bool(answer.job.progress.stage)

    await until(running, "the engine to chatter")
