"""The composition root of `animation`: rigged characters in, the same characters with clips out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.animation.v1 import animation_pb2  # noqa: F401 — registers the parameters' types
from maquette.runtime.fbx import serve_with_fbx
from maquette.runtime.service import ServiceContext, run_service
from services.animation.engines import remote_engines
from services.animation.motions import LIST, MotionLibrary


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve the engines of animation and the library they play until the process is told to stop."""
    library = MotionLibrary(context.settings)
    remote = remote_engines(context.settings)
    async with serve_with_fbx(
        context, "services.animation.engines", first=(LIST,), further=(library.join,), remote=remote
    ):
        try:
            yield
        finally:
            await library.close()


def main() -> None:
    """Run the service."""
    run_service("animation", build)


if __name__ == "__main__":
    main()
