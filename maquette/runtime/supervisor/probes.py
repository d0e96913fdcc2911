"""How a process is seen to be ready. Each probe answers once, soon, and never raises for "not yet"."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.postgres import LocalPostgres
from maquette.runtime.supervisor.process import Probe

_PATIENCE_SECONDS = 2.0


def _may_listen(target: str) -> bool:
    """Tell whether to try at all: a Unix socket that is not there needs no connection to be seen."""
    return not target.startswith("unix:") or Path(target.removeprefix("unix:")).exists()


def postgres_answers(server: LocalPostgres) -> Probe:
    """Return a probe for a PostgreSQL that takes connections."""

    async def probe() -> bool:
        return await asyncio.to_thread(server.is_ready)

    return probe


def grpc_serving(settings: Settings, target: str) -> Probe:
    """Return a probe for `grpc.health.v1`: the server as a whole is SERVING."""

    async def probe() -> bool:
        if not _may_listen(target):
            return False
        async with open_channel(settings, target) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=_PATIENCE_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def node_announced(settings: Settings, target: str) -> Probe:
    """Return a probe for a capability node: `jobs` knows it by its address and may send it work."""

    async def probe() -> bool:
        if not _may_listen(settings.address("jobs")) or not _may_listen(target):
            return False
        async with open_channel(settings, settings.address("jobs")) as channel:
            try:
                answer = await jobs_pb2_grpc.NodeServiceStub(channel).ListNodes(
                    jobs_pb2.ListNodesRequest(), timeout=_PATIENCE_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
        return any(node.address == target for node in answer.nodes)

    return probe


def http_answers(host: str, port: int, path: str) -> Probe:
    """Return a probe for a page that answers 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode()

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(request)
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return status.split()[1:2] == [b"200"]

    return probe
