"""The parent's half of one worker process: start it, call it, watch it, end it.

What callers can rely on:

- `call` returns or raises only when the process is idle again or gone;
- a process that is gone is gone with its whole group, and its folders are the pool's to remove;
- the parent trusts nothing in a message: sizes are bounded, and files a worker names are opened
  by :meth:`CallFolder.open_output`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maquette.runtime.errors import Cancelled, MaquetteError
from maquette.runtime.sandbox import jitcache
from maquette.runtime.sandbox.calls import Call, OnEvent, Outcome
from maquette.runtime.sandbox.errors import (
    OutOfMemory,
    TimedOut,
    WorkerCrashed,
    WorkerUnfit,
    describe_exit,
)
from maquette.runtime.sandbox.frames import FrameError, encode, read_frame
from maquette.runtime.sandbox.launch import launch
from maquette.runtime.sandbox.output import follow_output
from maquette.runtime.sandbox.spec import WorkerSpec, cores, readable_roots
from maquette.runtime.sandbox.workspace import CallFolder, Room
from maquette.runtime.telemetry import get_logger

_WATCH_SECONDS = 0.05
_START_SECONDS = 180.0
_REAP_SECONDS = 5.0
_MAX_EVENTS = 100_000
_PAGE = resource.getpagesize()

_log = get_logger()


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One worker process; made by :meth:`spawn`."""

    spec: WorkerSpec
    room: Room
    process: subprocess.Popen[bytes]
    _writer: asyncio.StreamWriter
    prepared: list[Any] = field(default_factory=list)
    """What the preparing steps returned so far."""
    held: Mapping[str, Any] = field(default_factory=dict)
    """How it is confined: `uid`, `seccomp`, `landlock` (ABI)."""
    calls: int = 0
    ready: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Resolves to the exit status."""
    _call: Call | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def spawn(
        cls, spec: WorkerSpec, room: Room, on_prepared: Callable[[str, Any], None] | None = None
    ) -> WorkerProcess:
        """Start a process, on the main thread; it is ready when :attr:`ready` is.

        ``on_prepared`` gets the target and the value of each preparing step. Raises OSError.
        """
        if spec.jit_cache is not None:
            await asyncio.to_thread(jitcache.check_out, spec.jit_cache, room.scratch / "jit")
        started = await launch(spec, room)
        worker = cls(spec, room, started.process, started.writer)
        worker._tasks = [
            asyncio.create_task(worker._listen(started.reader, on_prepared)),
            asyncio.create_task(follow_output(started.log, spec.name, started.process.pid)),
        ]
        worker._send(worker._configuration())
        return worker

    def _configuration(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "parent": os.getpid(),
            "uid": self.room.uid,
            "writable": [str(self.room.scratch), str(self.room.outputs)],
            "readable": [*readable_roots(spec), str(self.room.inputs)],
            "modules": list(spec.modules),
            "steps": [{"target": step.target, "payload": dict(step.payload)} for step in spec.steps],
            "require_confinement": spec.require_confinement,
            "processes": spec.processes,
            "max_file_mib": spec.max_file_mib,
        }

    @property
    def alive(self) -> bool:
        """Whether the process can take a call, now or when it is ready."""
        return not self.ended.done()

    async def call(
        self,
        target: str,
        payload: Mapping[str, Any],
        folder: CallFolder,
        *,
        timeout: float,
        memory_mib: int,
        grace: float = 0.0,
        reports: bool = False,
        on_event: OnEvent | None = None,
        cancelled: asyncio.Event | None = None,
    ) -> Outcome:
        """Run `module:function` with ``payload`` as keyword arguments, in ``folder``.

        ``timeout`` counts from now, with any wait for a process still starting. At its end, and
        when ``cancelled`` is set, the function is asked to stop (``reports`` functions hear it at
        their next report) and killed ``grace`` seconds later. Raises what `sandbox.errors` tells,
        :class:`Cancelled`, or the function's own MaquetteError. A cancelled caller kills at once.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self._until_ready(deadline, cancelled)
        self.calls += 1
        call = Call(self.calls, on_event, loop.create_future())
        self._call = call
        message = {
            "op": "call",
            "id": call.id,
            "target": target,
            "payload": dict(payload),
            "workdir": str(folder.outputs),
            "reports": reports,
            "memory_mib": memory_mib,
            "cpu_seconds": timeout * (cores()),
        }
        try:
            self._send(message)
            while not call.answer.done():
                self._watch(call, deadline, memory_mib, grace, cancelled)
                await asyncio.wait((call.answer,), timeout=_WATCH_SECONDS)
        except asyncio.CancelledError:
            self.kill()
            await asyncio.wait((self.ended,), timeout=_REAP_SECONDS)
            raise
        finally:
            self._call = None
        return call.outcome()

    async def _until_ready(self, deadline: float, cancelled: asyncio.Event | None) -> None:
        """Wait for a process that is starting. Raises as `call` does."""
        loop = asyncio.get_running_loop()
        while not self.ready.done():
            if cancelled is not None and cancelled.is_set():
                raise Cancelled("the task was cancelled")
            if loop.time() > deadline:
                raise TimedOut("the call ran longer than it may")
            await asyncio.wait((self.ready,), timeout=_WATCH_SECONDS)
        self.ready.result()
        if not self.alive:
            raise WorkerCrashed(f"worker process {describe_exit(self.ended.result())}")

    def _watch(
        self, call: Call, deadline: float, memory_mib: int, grace: float, cancelled: asyncio.Event | None
    ) -> None:
        now = asyncio.get_running_loop().time()
        resident = self.resident_mib()
        call.peak_mib = max(call.peak_mib, resident)
        if resident > memory_mib:
            call.verdict = OutOfMemory(
                f"the run used more than {memory_mib} MiB of memory",
                metadata={"limit_mib": str(memory_mib), "resident_mib": f"{resident:.0f}"},
            )
            self.kill()
        elif call.verdict is None and cancelled is not None and cancelled.is_set():
            self._ask_to_stop(call, Cancelled("the task was cancelled"), now + grace)
        elif call.verdict is None and now > deadline:
            self._ask_to_stop(call, TimedOut("the call ran longer than it may"), now + grace)
        if now >= call.kill_at:
            self.kill()

    def _ask_to_stop(self, call: Call, verdict: MaquetteError, kill_at: float) -> None:
        call.verdict, call.kill_at = verdict, kill_at
        self._send({"op": "cancel", "id": call.id})

    def resident_mib(self) -> float:
        """Return the resident memory of the process and of programs it started, MiB; 0 when it is gone."""
        mine = _resident_mib(self.process.pid)
        if not self.spec.processes:
            return mine
        return mine + sum(map(_resident_mib, _descendants(self.process.pid)))

    def kill(self) -> None:
        """Kill the process and all it started, at once."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def stop(self, grace: float = 1.0) -> None:
        """End an idle process: it leaves when its pipe closes. Returns when it is gone."""
        self._writer.close()
        await asyncio.wait((self.ended,), timeout=grace)
        self.kill()
        await asyncio.wait(self._tasks)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def _listen(
        self, reader: asyncio.StreamReader, on_prepared: Callable[[str, Any], None] | None
    ) -> None:
        watchdog = asyncio.get_running_loop().call_later(_START_SECONDS, self._too_slow)
        try:
            while (message := await read_frame(reader)) is not None:
                await self._hear(message, on_prepared)
        except (FrameError, KeyError, TypeError) as error:
            _log.warning("worker spoke nonsense", worker=self.spec.name, error=str(error))
        finally:
            watchdog.cancel()
            self.kill()
            await self._end()

    def _too_slow(self) -> None:
        if not self.ready.done():
            self._unfit(f"the worker was not ready after {_START_SECONDS:.0f} s")
            self.kill()

    async def _hear(self, message: dict[str, Any], on_prepared: Callable[[str, Any], None] | None) -> None:
        kind, call = message["op"], self._call
        if kind in ("progress", "log"):
            if call is not None and message["id"] == call.id and call.on_event is not None:
                call.events += 1
                if call.events > _MAX_EVENTS:
                    raise FrameError("more messages than a call may send")
                call.on_event(message)
        elif kind in ("result", "error"):
            if call is not None and message["id"] == call.id and not call.answer.done():
                call.answer.set_result(message)
        elif kind == "prepared" and not self.ready.done():
            self.prepared.append(message["value"])
            if on_prepared is not None:
                on_prepared(str(message["target"]), message["value"])
        elif kind == "ready" and not self.ready.done():
            self.held = message["held"]
            await self._publish()
            self.ready.set_result(None)
        elif kind == "unfit":
            self._unfit(f"{message['kind']}: {message['message']}")

    async def _publish(self) -> None:
        # Still before the first call: what lies in the folder was made by trusted code.
        jit = self.room.scratch / "jit"
        if self.spec.jit_cache is not None:
            await asyncio.to_thread(jitcache.publish, jit, self.spec.jit_cache)
        self.room.hand_over()

    def _unfit(self, message: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(WorkerUnfit(message))
            self.ready.exception()  # told to callers; nobody may be waiting

    async def _end(self) -> None:
        status = await asyncio.to_thread(self.process.wait)
        self._unfit(f"the worker {describe_exit(status)} while it started")
        self._writer.close()
        if not self.ended.done():
            self.ended.set_result(status)
        if self._call is not None and not self._call.answer.done():
            self._call.answer.set_result({"op": "ended", "status": status})


def _resident_mib(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) * _PAGE / (1 << 20)


def _descendants(pid: int) -> list[int]:
    """Return the pids of what a process has started, and what that has."""
    found: list[int] = []
    pending = [pid]
    while pending:
        parent = pending.pop()
        try:
            threads = [task.name for task in Path(f"/proc/{parent}/task").iterdir()]
            told = [Path(f"/proc/{parent}/task/{thread}/children").read_text() for thread in threads]
        except OSError:
            continue
        children = [int(child) for text in told for child in text.split()]
        found += children
        pending += children
    return found
