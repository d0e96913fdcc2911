"""Capability nodes with the quick engines of pipelines, and with the remote engines of their service.

Started as ``python -m tests.chaos.provider_node rigging``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.service import ServiceContext, run_service
from tests.chaos.pipeline_node import ENGINES


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve the engines until the process is told to stop."""
    remote = importlib.import_module(f"services.{context.name}.engines").remote_engines(context.settings)
    local = f"tests.chaos.pipeline_node:{ENGINES[context.name]}"
    async with serve_capability(context, local, remote=remote):
        yield


if __name__ == "__main__":
    run_service(sys.argv[1], build)
