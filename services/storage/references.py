"""Asking `jobs` what it still refers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import grpc

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.rpc.channel import translated

BATCH = 1000
"""Most digests in one question."""
_TIMEOUT_SECONDS = 10.0


class References(Protocol):
    """Knows which blobs are in use outside storage."""

    async def referenced(self, digests: Sequence[str]) -> frozenset[str]:
        """Return those of at most `BATCH` digests that are referred to.

        Raises a MaquetteError when that cannot be known now; then nothing may be removed.
        """


class JobsReferences:
    """The ledger's artifacts and the inputs of its open tasks."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = jobs_pb2_grpc.ArtifactServiceStub(channel)

    async def referenced(self, digests: Sequence[str]) -> frozenset[str]:
        """Ask `jobs`."""
        request = jobs_pb2.FindReferencedBlobsRequest(digests=digests)
        async with translated():
            answer = await self._stub.FindReferencedBlobs(request, timeout=_TIMEOUT_SECONDS)
        return frozenset(answer.referenced)
