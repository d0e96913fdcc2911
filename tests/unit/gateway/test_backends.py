"""The gateway asks every replica of `jobs`, and goes on while one is away."""

from __future__ import annotations

import asyncio

import grpc

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.settings import AddressSettings, Settings
from services.gateway.backends import call, open_backends


class Replica(jobs_pb2_grpc.JobServiceServicer):
    def __init__(self) -> None:
        self.asked = 0

    async def GetQueueStats(self, request, context):
        self.asked += 1
        return jobs_pb2.GetQueueStatsResponse()


async def test_unary_calls_go_to_every_replica_that_is_there(tmp_path):
    addresses = [f"unix:{tmp_path}/jobs-{name}.sock" for name in "ab"]
    settings = Settings(data_dir=tmp_path, drain_seconds=0, addresses=AddressSettings(jobs=addresses))
    replicas, servers = (Replica(), Replica()), []
    for replica, address in zip(replicas, addresses, strict=True):
        server = create_server(settings)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(replica, server)
        await serve(server, address, [], settings)
        servers.append(server)
    async with open_backends(settings) as backends:

        async def ask() -> None:
            jobs = backends.jobs
            await call(jobs.jobs.GetQueueStats, jobs_pb2.GetQueueStatsRequest(), jobs.channel)

        async with asyncio.timeout(20):
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
