"""The composition root of `rigging`: meshes in, the same meshes with skeletons and weights out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.rigging.v1 import rigging_pb2  # noqa: F401 — registers the parameters' types
from maquette.runtime.fbx import serve_with_fbx
from maquette.runtime.service import ServiceContext, run_service
from services.rigging.engines import remote_engines


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve the engines of rigging until the process is told to stop."""
    remote = remote_engines(context.settings)
    async with serve_with_fbx(context, "services.rigging.engines", remote=remote):
        yield


def main() -> None:
    """Run the service."""
    run_service("rigging", build)


if __name__ == "__main__":
    main()
