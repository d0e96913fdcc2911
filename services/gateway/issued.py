"""Files of results, found by the paths that were issued for them."""

from __future__ import annotations

from maquette.api.jobs.v1 import jobs_pb2
from maquette.api.storage.v1 import storage_pb2
from services.gateway.backends import Backends, call


async def find_issued(backends: Backends, account_id: str, path: str) -> jobs_pb2.Artifact:
    """Return the file that a path was issued for, about to become a job's input.

    Its bytes are held: deleting the result it belongs to, or forgetting its job, takes them no more
    before the new job refers to them. Raises NotFound for any other path, and when the bytes are gone.
    """
    ask = jobs_pb2.ResolvePathRequest(account_id=account_id, path=path)
    found = await call(backends.jobs.artifacts.ResolvePath, ask, backends.jobs.channel, safe=True)
    artifact: jobs_pb2.Artifact = found.artifact
    hold = storage_pb2.HoldBlobRequest(digest=artifact.digest)
    await call(backends.storage.HoldBlob, hold, backends.storage_channel, safe=True)
    return artifact
