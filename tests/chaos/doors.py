"""The mesh that chaos tests kill, and a test's own connections to it."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import asyncpg
import httpx
import psutil

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.api.storage.v1 import storage_pb2_grpc
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.process import ProcessSpec, State
from tests.support.mesh import RunningMesh

LEASE_SECONDS = 2.0
NODES = ("meshgen", "meshgen-2")
SECTIONS: dict[str, Any] = {
    "jobs": {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.5},
    "capability": {
        "slots": 2,
        "threads_per_slot": 1,
        "extra_engines": {"meshgen": ["tests.support.engines:engines"]},
    },
}
"""Settings of a mesh for chaos: short leases, test engines."""


def with_test_node(row: ProcessSpec) -> ProcessSpec:
    """Let the capability nodes of a process table be those of `tests.chaos.node`."""
    if row.name not in NODES:
        return row
    return replace(row, command=lambda: [sys.executable, "-P", "-m", "tests.chaos.node"])


@dataclass(frozen=True)
class Doors:
    """A test's own connections to a mesh."""

    mesh: RunningMesh
    jobs: jobs_pb2_grpc.JobServiceAsyncStub
    nodes: jobs_pb2_grpc.NodeServiceAsyncStub
    storage: storage_pb2_grpc.StorageServiceAsyncStub
    http: httpx.AsyncClient

    async def sql(
        self, query: str, *values: object, role: Literal["jobs", "storage"] = "jobs"
    ) -> list[asyncpg.Record]:
        """Ask the ledger's tables (or those of role ``storage``) over a connection of its own."""
        connection = await asyncpg.connect(self.mesh.settings.dsn(role), timeout=30)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *values)
            return rows
        finally:
            await connection.close()

    def ready_for(self, name: str) -> float:
        """Return for how many seconds a process has been ready; negative when it is not."""
        process = self.mesh.mesh.processes[name]
        return time.monotonic() - process.ready_at if process.state is State.READY else -1.0

    def all_ready(self) -> bool:
        """Tell whether every process is ready."""
        return all(process.state is State.READY for process in self.mesh.mesh.processes.values())

    async def announced(self) -> dict[str, jobs_pb2.Node]:
        """Return the nodes that `jobs` knows, by the names of their processes."""
        settings = self.mesh.settings
        names = {settings.address("meshgen"): NODES[0], settings.socket(NODES[1]): NODES[1]}
        answer = await self.nodes.ListNodes(jobs_pb2.ListNodesRequest(), timeout=30, wait_for_ready=True)
        return {names[node.address]: node for node in answer.nodes if node.address in names}

    async def at_rest(self) -> bool:
        """Tell whether everything is ready, both nodes are known with their engines, and none is busy."""
        if not self.all_ready():
            return False
        nodes = await self.announced()
        return set(nodes) == set(NODES) and all(node.engines and not node.busy for node in nodes.values())

    def workers(self, name: str) -> list[psutil.Process]:
        """Return the worker processes of a node."""
        return psutil.Process(self.mesh.pid(name)).children(recursive=True)


@asynccontextmanager
async def open_doors(mesh: RunningMesh) -> AsyncIterator[Doors]:
    """Open the connections of one test."""
    settings: Settings = mesh.settings
    async with (
        open_channel(settings, settings.address("jobs"), privileged=True) as jobs,
        open_channel(settings, settings.address("storage"), privileged=True) as storage,
        httpx.AsyncClient(base_url=mesh.url, timeout=60.0, trust_env=False) as http,
    ):
        # The stubs' types know synchronous channels only.
        job_stub: Any = jobs_pb2_grpc.JobServiceStub(jobs)
        node_stub: Any = jobs_pb2_grpc.NodeServiceStub(jobs)
        storage_stub: Any = storage_pb2_grpc.StorageServiceStub(storage)
        yield Doors(mesh, job_stub, node_stub, storage_stub, http)


async def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Return the first true value of a condition, which may be awaitable."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        await asyncio.sleep(0.05)
