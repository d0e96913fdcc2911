"""Serving a capability: the one function a composition root calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from maquette.api.capability.v1.capability_pb2_grpc import add_CapabilityServiceServicer_to_server
from maquette.runtime.capability.announce import announced
from maquette.runtime.capability.node import DESCRIBE, LOAD, Node
from maquette.runtime.capability.provision import Provision
from maquette.runtime.capability.remotes import Remotes
from maquette.runtime.capability.servicer import SERVICE_NAME, CapabilityServicer
from maquette.runtime.capability.transfer import StorageBlobs
from maquette.runtime.remote.engine import RemoteEngine
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.sandbox.pool import SandboxPool
from maquette.runtime.sandbox.spec import Step, WorkerSpec, cores
from maquette.runtime.service import ServiceContext
from maquette.runtime.settings import CapabilitySettings, Settings


@asynccontextmanager
async def serve_capability(
    context: ServiceContext,
    engines: str,
    *,
    first: Sequence[Step] = (),
    programs: Sequence[Path] | None = None,
    further: Sequence[Callable[[grpc.aio.Server, Node], str]] = (),
    remote: Sequence[RemoteEngine] = (),
    provision: Provision | None = None,
) -> AsyncIterator[Node]:
    """Serve the engines that ``engines`` (`module:function`) returns, while the block runs.

    The module is imported by worker processes, never by this one; they run the steps ``first``
    before they ask for the engines. ``programs`` are folders of programs that the engines start,
    inside the worker's own limits; None leaves them unable to start any. Each of ``further`` adds
    a service to the node's server and returns its full name. ``remote`` engines run in this process,
    beside the workers' slots. Runs wait for ``provision`` where they need it. On leaving, the node is
    announced as draining, running tasks get `drain_seconds` to end, and then they are cancelled.
    """
    settings = context.settings
    async with open_channel(settings, settings.addresses.storage or settings.socket("storage")) as channel:
        node = Node(
            context.name,
            context.ids.uuid(),
            settings.address(context.name),
            settings.capability,
            context.clock,
            StorageBlobs(channel),
            Remotes(remote, settings.capability.remote_slots),
            provision,
        )
        extra = settings.capability.extra_engines.get(context.name, ())
        spec = _spec(settings, context.name, (engines, *extra), first, programs, remote)
        slots = slots_of(settings.capability)
        async with SandboxPool.open(
            spec, workers=slots, workspace=settings.tmp_dir, on_prepared=node.prepared
        ) as pool:
            node.use(pool)
            server = create_server(settings)
            add_CapabilityServiceServicer_to_server(CapabilityServicer(node, settings.capability), server)
            names = [SERVICE_NAME, *(add(server, node) for add in further)]
            running = await serve(server, settings.address(context.name), names, settings)
            async with announced(node, settings):
                try:
                    yield node
                finally:
                    node.drain()
                    await node.finish(settings.drain_seconds)
                    await asyncio.gather(*(engine.close() for engine in remote))
            await running.drain()


def slots_of(settings: CapabilitySettings, available: int | None = None) -> int:
    """Return how many tasks run at a time: what is set, else one for each two cores.

    Half of the cores, because each run is threaded in its heavy parts and serial in others: on two
    cores one run with two threads ends sooner than two with one, and holds half the memory.
    """
    return settings.slots or max(1, (available or cores()) // 2)


def _spec(
    settings: Settings,
    name: str,
    factories: Sequence[str],
    first: Sequence[Step],
    programs: Sequence[Path] | None,
    remote: Sequence[RemoteEngine],
) -> WorkerSpec:
    capability = settings.capability
    slots = slots_of(capability)
    return WorkerSpec(
        name=name,
        steps=(*first, Step(DESCRIBE, {"factories": list(factories)}), Step(LOAD)),
        # The local halves of remote engines lie beside them.
        packages=(*(factory.split(":")[0] for factory in factories), *(type(e).__module__ for e in remote)),
        threads=capability.threads_per_slot or max(1, cores() // slots),
        require_confinement=capability.require_confinement,
        processes=capability.allow_programs or programs is not None,
        readable=tuple(programs or ()),
        uid_base=capability.uid_base,
        recycle_after=capability.recycle_after,
        max_file_mib=capability.max_file_mib,
        jit_cache=settings.data_dir / "cache" / f"jit-{name}",
    )
