"""Look at pictures in the sandbox."""

from __future__ import annotations

from pathlib import Path

from maquette.runtime.errors import InvalidArgument
from maquette.runtime.sandbox import (
    OutOfMemory,
    RemoteFailure,
    SandboxPool,
    TimedOut,
    WorkerCrashed,
    WorkerSpec,
)
from maquette.runtime.settings import CapabilitySettings, GatewaySettings
from services.gateway.ingest import FileFacts

_TARGET = "maquette.geometry.inspect:inspect_image_file"
_MODULE = _TARGET.partition(":")[0]


def inspector_spec(settings: CapabilitySettings) -> WorkerSpec:
    """Return what the workers are: confined by the same settings as those of capabilities."""
    return WorkerSpec(
        "inspect",
        modules=(_MODULE,),
        require_confinement=settings.require_confinement,
        uid_base=settings.uid_base,
        recycle_after=200,
    )


class SandboxInspector:
    """An `ImageInspector` whose work happens in processes that cannot do harm."""

    def __init__(self, pool: SandboxPool, limits: GatewaySettings) -> None:
        self._pool = pool
        self._limits = limits

    async def inspect(self, path: Path) -> FileFacts:
        """Decode the whole picture. Raises `InvalidArgument` (INVALID_INPUT_FILE) with what is wrong."""
        try:
            try:
                return await self._look(path)
            except (TimedOut, WorkerCrashed):
                # A worker can die of something else: only a second one's end is the picture's fault.
                return await self._look(path)
        except (OutOfMemory, TimedOut, WorkerCrashed) as error:
            raise InvalidArgument(
                "The picture is damaged: reading it takes too much time or memory.",
                reason="INVALID_INPUT_FILE",
            ) from error

    async def _look(self, path: Path) -> FileFacts:
        limits = {"max_side": self._limits.max_image_side, "max_bytes": self._limits.max_image_mib << 20}
        try:
            facts = await self._pool.call(
                _TARGET,
                {"limits": limits},
                timeout=self._limits.inspect_seconds,
                memory_mib=self._limits.inspect_memory_mib,
                files={"path": path},
            )
        except RemoteFailure as error:
            if error.kind != "UnreadableImage":
                raise
            raise InvalidArgument(error.message, reason="INVALID_INPUT_FILE") from error
        return FileFacts(facts["format"], facts["media_type"], facts["width"], facts["height"])
