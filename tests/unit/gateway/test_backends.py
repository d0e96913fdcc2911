"""The gateway asks every replica of `jobs`, and goes on while one is away."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.errors import Unavailable
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.settings import AddressSettings, Settings
from services.gateway.backends import call, open_backends


class Replica(jobs_pb2_grpc.JobServiceServicer):
    def __init__(self, answers: bool = True) -> None:
        self.asked = 0
        self.answers = answers

    async def GetQueueStats(self, request, context):
        self.asked += 1
        if not self.answers:
            await asyncio.Event().wait()
        return jobs_pb2.GetQueueStatsResponse()


async def serve_replica(settings: Settings, replica: Replica, address: str) -> grpc.aio.Server:
    server = create_server(settings)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(replica, server)
    await serve(server, address, [], settings)
    return server


@pytest.mark.parametrize("safe", [True, False])
async def test_a_call_whose_replica_dies_is_made_again_only_when_that_is_safe(tmp_path, safe):
    addresses = [f"unix:{tmp_path}/jobs-{name}.sock" for name in "ab"]
    settings = Settings(data_dir=tmp_path, drain_seconds=0, addresses=AddressSettings(jobs=addresses))
    silent, other = Replica(answers=False), Replica()
    dying = await serve_replica(settings, silent, addresses[0])
    async with open_backends(settings) as backends, asyncio.timeout(60):
        jobs = backends.jobs
        request = jobs_pb2.GetQueueStatsRequest()
        asking = asyncio.create_task(call(jobs.jobs.GetQueueStats, request, jobs.channel, safe=safe))
        while not silent.asked:  # noqa: ASYNC110 — what is awaited has no event of its own
            await asyncio.sleep(0.01)
        server = await serve_replica(settings, other, addresses[1])
        await dying.stop(0)
        if safe:
            assert await asking == jobs_pb2.GetQueueStatsResponse()
        else:
            with pytest.raises(Unavailable):
                await asking
        assert (silent.asked, other.asked) == (1, int(safe))
        await server.stop(None)


async def test_what_a_service_answers_is_not_asked_for_again(tmp_path):
    settings = Settings(data_dir=tmp_path, drain_seconds=0)
    replica = Replica()
    replica.GetQueueStats = refusing(replica)
    server = await serve_replica(settings, replica, settings.socket("jobs"))
    async with open_backends(settings) as backends:
        jobs = backends.jobs
        with pytest.raises(Unavailable, match="database"):
            await call(jobs.jobs.GetQueueStats, jobs_pb2.GetQueueStatsRequest(), jobs.channel, safe=True)
    assert replica.asked == 1
    await server.stop(None)


def refusing(replica: Replica):
    async def refuse(request, context):
        replica.asked += 1
        raise Unavailable("the database is away")

    return refuse


async def test_unary_calls_go_to_every_replica_that_is_there(tmp_path):
    addresses = [f"unix:{tmp_path}/jobs-{name}.sock" for name in "ab"]
    settings = Settings(data_dir=tmp_path, drain_seconds=0, addresses=AddressSettings(jobs=addresses))
    replicas, servers = (Replica(), Replica()), []
    for replica, address in zip(replicas, addresses, strict=True):
        servers.append(await serve_replica(settings, replica, address))
    async with open_backends(settings) as backends:

        async def ask() -> None:
            jobs = backends.jobs
            await call(jobs.jobs.GetQueueStats, jobs_pb2.GetQueueStatsRequest(), jobs.channel)

        async with asyncio.timeout(60):
            while not all(replica.asked for replica in replicas):
                await ask()
            await servers[0].stop(None)
            gone = backends.replicas[0].channel
            while gone.get_state() is grpc.ChannelConnectivity.READY:
                await gone.wait_for_state_change(grpc.ChannelConnectivity.READY)
            left = replicas[0].asked
            for _ in range(20):
                await ask()
        assert replicas[0].asked == left
    await servers[1].stop(None)
