"""The composition root of `rigging`: meshes in, the same meshes with skeletons and weights out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.rigging.v1 import rigging_pb2  # noqa: F401 — registers the parameters' types
from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.fbx import fbx_folder, fbx_is_installed, fbx_programs, install_fbx
from maquette.runtime.sandbox.spec import Step
from maquette.runtime.service import ServiceContext, run_service

_ENGINES = "services.rigging.engines"


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve the engines of rigging until the process is told to stop."""
    settings = context.settings.fbx
    first = Step(f"{_ENGINES}:use_blender", {"folder": str(fbx_folder(settings))})
    async with serve_capability(
        context, f"{_ENGINES}:engines", first=(first,), programs=fbx_programs(settings)
    ) as node:
        installing = None
        if settings.install and not fbx_is_installed(settings):
            installing = asyncio.create_task(install_fbx(settings, node.renew))
        try:
            yield
        finally:
            if installing is not None:
                installing.cancel()
                await asyncio.gather(installing, return_exceptions=True)


def main() -> None:
    """Run the service."""
    run_service("rigging", build)


if __name__ == "__main__":
    main()
