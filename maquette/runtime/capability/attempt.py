"""One attempt of one task on this node: inputs in, the engine's run, outputs out, result.

The attempt is a task of its own, not the RPC's: when the caller goes away it is told to stop, and
the slot stays taken until the worker is idle again or gone.
"""

from __future__ import annotations

import asyncio
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability.events import EventQueue
from maquette.runtime.capability.transfer import Blobs
from maquette.runtime.engine import EngineDescription
from maquette.runtime.errors import Cancelled, Internal, MaquetteError, Unavailable
from maquette.runtime.sandbox.calls import Outcome
from maquette.runtime.sandbox.errors import RemoteFailure, TimedOut
from maquette.runtime.sandbox.pool import Lease
from maquette.runtime.sandbox.worker import WorkerProcess
from maquette.runtime.sandbox.workspace import CallFolder
from maquette.runtime.structs import from_struct, to_struct
from maquette.runtime.telemetry import get_logger

_RUN = "maquette.runtime.capability.engines:run"
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_MAX_OUTPUTS = 256
_log = get_logger()
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Attempt(ABC):
    """One attempt. Run :meth:`run` as a task; read :attr:`events`; set :attr:`cancelled` to stop it."""

    request: pb.RunRequest
    engine: EngineDescription
    parameters: dict[str, Any]
    blobs: Blobs
    seconds: float
    """Time until the deadline."""
    grace: float
    """Seconds between being asked to stop and being killed."""
    worker_name: str
    events: EventQueue = field(default_factory=EventQueue)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    node_stops: bool = False
    """It is cancelled because the node goes: another node shall run the task."""
    discarded: bool = False
    """It is cancelled for good: no attempt of the task will follow."""
    failure: MaquetteError | None = None
    """How it ended, when it did not succeed; set before the events end."""
    outcome: str = ""
    """The reason of the failure, or "OK"."""
    peak_mib: float = 0.0

    async def run(self) -> None:
        """Do the attempt; never raises but for cancellation of the node itself."""
        accepted = pb.RunResponse.Accepted(engine_id=self.engine.id, worker=self.worker_name)
        self.events.put(pb.RunResponse(accepted=accepted))
        deadline = asyncio.get_running_loop().time() + self.seconds
        try:
            await self._work(deadline)
            self.outcome = "OK"
        except MaquetteError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 — an attempt's end is told, whatever it is
            _log.error("run failed in the node", task_id=self.request.task_id, exc_info=error)
            self._failed(Internal("internal error"))
        finally:
            self._release()
            self.events.close()

    @abstractmethod
    async def _work(self, deadline: float) -> None:
        """Do the work and put the result among the events. Raises what it failed with."""

    @abstractmethod
    def _release(self) -> None:
        """Give back the slot."""

    def _failed(self, error: MaquetteError) -> None:
        if isinstance(error, RemoteFailure):
            _log.warning(
                "run failed in the worker",
                task_id=self.request.task_id,
                kind=error.kind,
                error=error.message,
                traceback=error.trace,
            )
            plain = f"the {self.engine.id} engine failed ({error.kind})"
            error = RemoteFailure(error.kind, plain, error.trace)
        if isinstance(error, Cancelled) and self.node_stops:
            error = Unavailable("the node is stopping", reason="NODE_LOST")
        self.failure, self.outcome = error, error.reason

    async def _fetch(self, folder: Path) -> list[dict[str, Any]]:
        files = []
        for index, given in enumerate(self.request.inputs):
            # The client's name of a file is for people; the name on disk is ours.
            suffix = PurePosixPath(given.filename).suffix
            target = folder / f"{index}{suffix.lower() if _SUFFIX.fullmatch(suffix) else ''}"
            await self.blobs.fetch(self.request.grant, given.digest, given.size, target)
            files.append(
                {
                    "role": given.role,
                    "path": str(target),
                    "media_type": given.media_type,
                    "filename": given.filename,
                    "meta": from_struct(given.meta),
                }
            )
        return files

    async def _store(self, folder: CallFolder, value: Any) -> pb.RunResponse.Result:
        result = pb.RunResponse.Result(
            model_used=self.engine.id, requested_model=self.request.requested_model
        )
        try:
            result.info.CopyFrom(to_struct(dict(value["info"])))
            result.warnings.extend(str(warning)[:2000] for warning in value["warnings"])
            outputs = list(value["outputs"])[:_MAX_OUTPUTS]
            names = {Path(output["path"]).name for output in outputs}
            if len(names) != len(outputs) or len(outputs) != len(value["outputs"]):
                raise ValueError("file names of outputs must differ, and be 256 at most")
            for output in outputs:
                fd = folder.open_output(output["path"])
                try:
                    digest, size = await self.blobs.store(self.request.grant, fd, output["media_type"])
                finally:
                    os.close(fd)
                result.outputs.append(_output(output, digest, size))
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteFailure("BadResult", f"{type(error).__name__}: {error}") from error
        return result

    async def _unless_stopped(self, work: Coroutine[Any, Any, _T], deadline: float) -> _T:
        """Await ``work``; give it up when the attempt is cancelled or its time is over."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self.cancelled.wait())
        left = deadline - asyncio.get_running_loop().time()
        try:
            await asyncio.wait((task, stop), timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self.cancelled.is_set():
                raise Cancelled("the task was cancelled")
            raise TimedOut("the job ran longer than it may")
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))


@dataclass(slots=True, kw_only=True)
class LocalAttempt(Attempt):
    """An attempt whose engine runs in a worker of this node."""

    lease: Lease | None = None

    async def _work(self, deadline: float) -> None:
        lease = await self._slot(deadline)
        worker = await self._unless_stopped(lease.worker(), deadline)
        folder = await asyncio.to_thread(worker.room.call)
        try:
            inputs = await self._unless_stopped(self._fetch(folder.inputs), deadline)
            outcome = await self._call(worker, folder, inputs, deadline)
            self.peak_mib = outcome.peak_mib
            result = await self._unless_stopped(self._store(folder, outcome.value), deadline)
            self.events.put(pb.RunResponse(result=result))
        finally:
            await asyncio.to_thread(folder.remove)

    async def _slot(self, deadline: float) -> Lease:
        """Return the slot, which is taken before the attempt is made."""
        if self.lease is None:
            raise RuntimeError("a run without a slot")
        return self.lease

    async def _call(
        self, worker: WorkerProcess, folder: CallFolder, inputs: list[dict[str, Any]], deadline: float
    ) -> Outcome:
        payload = {
            "engine_id": self.engine.id,
            "feature": self.request.feature,
            "parameters": self.parameters,
            "inputs": inputs,
            "seed": self.request.seed,
        }
        return await worker.call(
            _RUN,
            payload,
            folder,
            timeout=deadline - asyncio.get_running_loop().time(),
            memory_mib=self.engine.memory_mib,
            grace=self.grace,
            reports=True,
            on_event=self.events.hear,
            cancelled=self.cancelled,
        )

    def _release(self) -> None:
        if self.lease is not None:
            self.lease.release()


def _output(output: dict[str, Any], digest: str, size: int) -> pb.TaskOutput:
    return pb.TaskOutput(
        role=output["role"],
        digest=digest,
        size=size,
        media_type=output["media_type"],
        filename=Path(output["path"]).name,
        ordinal=output["ordinal"],
        meta=to_struct(dict(output["meta"])),
    )
