"""A capability node with test engines only.

Everything but the engines is what a real node runs. It starts in about a second, and so has time to
work between two kills.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.meshgen.v1 import meshgen_pb2  # noqa: F401 — registers the parameters' types
from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.service import ServiceContext, run_service


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve test engines until the process is told to stop."""
    async with serve_capability(context, "tests.chaos.engines:engines"):
        yield


if __name__ == "__main__":
    run_service("meshgen", build)
