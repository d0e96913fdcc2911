"""One attempt of one task at a remote provider.

The provider's engine runs in this process's event loop, on a slot of the remote kind; a worker is
leased only for the moments in which bytes are read: what is sent is made of the client's files there,
and what came back is parsed there.

What the provider made is given up where no attempt follows (cancelled for good, out of time), and
nowhere else: a node that stops, or a caller that breaks off, leaves it to the next attempt.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability.attempt import Attempt
from maquette.runtime.engine import InputFile, Report
from maquette.runtime.errors import Cancelled, Internal, MaquetteError
from maquette.runtime.remote.engine import LocalStep, Made, RemoteEngine, RemoteRequest
from maquette.runtime.sandbox.calls import Outcome
from maquette.runtime.sandbox.errors import RemoteFailure, TimedOut
from maquette.runtime.sandbox.pool import SandboxPool
from maquette.runtime.sandbox.workspace import CallFolder
from maquette.runtime.structs import from_struct
from maquette.runtime.telemetry import get_logger

_STEP = "_step"
"""Key of a checkpoint under which its number stands."""
_DISCARD_SECONDS = 20.0
_MAX_FILES = 64
_CHUNK = 1 << 20
_log = get_logger()


@dataclass(slots=True, kw_only=True)
class RemoteAttempt(Attempt):
    """An attempt whose engine is at a provider."""

    provider: RemoteEngine
    pool: SandboxPool
    earlier: Mapping[str, Any]
    """What an earlier attempt noted."""
    noted: Callable[[Mapping[str, Any]], None]
    """Hears what this attempt notes, before anybody else."""
    free: Callable[[], None]
    """Gives back the slot."""
    desk: _Desk | None = None

    async def _work(self, deadline: float) -> None:
        place = await asyncio.to_thread(self._folder)
        desk = self.desk = _Desk(self, place / "files", deadline, dict(self.earlier))
        if self.earlier.get(_STEP) != from_struct(self.request.checkpoint).get(_STEP):
            # What the ledger did not live to hear: should this node be lost too, nobody would know.
            self.events.note(self.earlier)
        try:
            inputs = await self._unless_stopped(self._fetch(place), deadline)
            files = tuple(InputFile(**{**entry, "path": Path(entry["path"])}) for entry in inputs)
            request = RemoteRequest(self.request.feature, self.parameters, files, self.request.seed)
            step = await self._unless_stopped(self.provider.run(request, desk), deadline)
            await self._deliver(step, deadline)
        except (Cancelled, TimedOut):
            await self._give_up(desk)
            raise
        except MaquetteError as error:
            if error.reason == "TIMED_OUT":
                await self._give_up(desk)
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def _folder(self) -> Path:
        place = Path(tempfile.mkdtemp(prefix="remote-", dir=self.pool.folder))
        (place / "files").mkdir()
        return place

    async def _deliver(self, step: LocalStep, deadline: float) -> None:
        """Make the result of what came back."""
        async with self._bench(step, deadline) as (folder, outcome):
            result = await self._unless_stopped(self._store(folder, outcome.value), deadline)
        self.events.put(pb.RunResponse(result=result))

    @asynccontextmanager
    async def _bench(self, step: LocalStep, deadline: float) -> AsyncIterator[tuple[CallFolder, Outcome]]:
        """Do a step in a free worker; its folder is there while the block runs."""
        lease = await self._unless_stopped(self.pool.acquire(), deadline)
        try:
            worker = await self._unless_stopped(lease.worker(), deadline)
            folder = await asyncio.to_thread(worker.room.call)
            try:
                arguments = dict(step.payload)
                for name, path in step.files.items():
                    arguments[name] = str(await asyncio.to_thread(folder.lend, path, path.name))
                outcome = await worker.call(
                    step.target,
                    arguments,
                    folder,
                    timeout=deadline - asyncio.get_running_loop().time(),
                    memory_mib=step.memory_mib,
                    grace=self.grace,
                    reports=True,
                    on_event=self.events.hear,
                    cancelled=self.cancelled,
                )
                self.peak_mib = max(self.peak_mib, outcome.peak_mib)
                yield folder, outcome
            finally:
                await asyncio.to_thread(folder.remove)
        finally:
            lease.release()

    async def local(self, step: LocalStep, place: Path, deadline: float) -> Made:
        """Do a step whose files come to ``place``; see :class:`maquette.runtime.remote.engine.Desk`."""
        async with self._bench(step, deadline) as (folder, outcome):
            if not isinstance(outcome.value, dict):
                raise RemoteFailure("BadResult", "the step returned no object")
            files = await asyncio.to_thread(_bring, folder, outcome.value.get("files", {}), place)
        return Made(outcome.value, files)

    async def _give_up(self, desk: _Desk) -> None:
        if self.cancelled.is_set() and not self.discarded:
            return
        await discard(self.provider, self.engine.id, desk.checkpoint)

    def _release(self) -> None:
        self.free()


async def discard(provider: RemoteEngine, engine_id: str, checkpoint: Mapping[str, Any]) -> None:
    """Give up what was noted, within a bound of time."""
    if not checkpoint:
        return
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            await provider.discard(checkpoint)
    except TimeoutError:
        _log.warning("a remote task may go on", engine=engine_id, why="the provider did not answer")
    except Exception as error:  # noqa: BLE001 — the task has ended, whatever becomes of this
        _log.error("a remote task may go on", engine=engine_id, exc_info=error)


def newer(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the checkpoint that was noted later."""
    return max((one, other), key=lambda state: state.get(_STEP, 0) if state else -1)


@dataclass(slots=True)
class _Desk:
    """The :class:`maquette.runtime.remote.engine.Desk` of one attempt."""

    attempt: RemoteAttempt
    folder: Path
    deadline: float
    checkpoint: Mapping[str, Any]
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        self.report = self._report

    def _report(
        self,
        stage: str,
        fraction: float,
        message: str = "",
        *,
        eta: float | None = None,
        upstream_status: str = "",
    ) -> None:
        self.attempt.events.hear(
            {
                "op": "progress",
                "stage": stage,
                "fraction": fraction,
                "message": message,
                "eta": eta,
                "upstream_status": upstream_status,
            }
        )

    def note(self, state: Mapping[str, Any]) -> None:
        """Keep something for the next attempt: first here, then in the ledger."""
        self.checkpoint = {**state, _STEP: int(self.checkpoint.get(_STEP, 0)) + 1}
        self.attempt.noted(self.checkpoint)
        self.attempt.events.note(self.checkpoint)

    async def local(self, step: LocalStep) -> Made:
        """Do a step in a worker."""
        return await self.attempt.local(step, self.folder, self.deadline)


def _bring(folder: CallFolder, named: Any, place: Path) -> dict[str, Path]:
    """Copy files that a worker made to a folder of ours, by the names it gave them."""
    if not isinstance(named, dict) or len(named) > _MAX_FILES:
        raise RemoteFailure("BadResult", "the step named no files")
    found = {}
    for number, (name, path) in enumerate(named.items()):
        source = folder.open_output(str(path))
        target = place / f"made-{number}{Path(str(path)).suffix[:8]}"
        try:
            with os.fdopen(source, "rb") as given, target.open("xb") as kept:
                shutil.copyfileobj(given, kept, _CHUNK)
        except OSError as error:
            raise Internal(f"a file could not be kept: {error.strerror}") from error
        found[str(name)] = target
    return found
