"""The composition root of `animation`: rigged characters in, the same characters with clips out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.animation.v1 import animation_pb2  # noqa: F401 — registers the parameters' types
from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.service import ServiceContext, run_service


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve the engines of animation until the process is told to stop."""
    async with serve_capability(context, "services.animation.engines:engines"):
        yield


def main() -> None:
    """Run the service."""
    run_service("animation", build)


if __name__ == "__main__":
    main()
