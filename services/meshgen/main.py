"""The composition root of `meshgen`: pictures in, meshes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.meshgen.v1 import meshgen_pb2  # noqa: F401 — registers the parameters' types
from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.service import ServiceContext, run_service
from services.meshgen.engines import remote_engines


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve the engines of meshgen until the process is told to stop."""
    remote = remote_engines(context.settings)
    async with serve_capability(context, "services.meshgen.engines:engines", remote=remote):
        yield


def main() -> None:
    """Run the service."""
    run_service("meshgen", build)


if __name__ == "__main__":
    main()
