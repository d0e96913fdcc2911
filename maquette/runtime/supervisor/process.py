"""One child process: how it is started, seen to be ready, started again, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from maquette.runtime.supervisor.errors import StartFailed

_LAUNCH = Path(__file__).with_name("launch.py")
_READY_POLL_SECONDS = 0.03
_FIRST_DELAY_SECONDS = 0.1
# However often something kills it, a process is back within seconds.
_LONGEST_DELAY_SECONDS = 1.0
# A process that lived this long starts again without a wait.
_SETTLED_SECONDS = 10.0
_LOG_LIMIT_BYTES = 32 << 20

Probe = Callable[[], Awaitable[bool]]


def launch_command(
    command: list[str],
    *,
    uid: int | None = None,
    alias: int | None = None,
    death_signal: int = signal.SIGKILL,
) -> list[str]:
    """Wrap a command so that it runs as ``uid`` and gets ``death_signal`` when this process ends.

    ``alias`` is the uid it takes itself for, where that is not its own.
    """
    users = (-1 if number is None else number for number in (uid, alias))
    parameters = (os.getpid(), int(death_signal), *users)
    return [sys.executable, "-I", "-S", str(_LAUNCH), *(str(value) for value in parameters), *command]


class State(Enum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    HELD = "held"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One row of the process table."""

    name: str
    command: Callable[[], list[str]]
    ready: Probe
    address: str
    """For people."""
    after: tuple[str, ...] = ()
    """Processes that must be ready before this one starts."""
    late: bool = False
    """It starts when all that are not late are ready, and the mesh counts as started without it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    """Blocking work before each start; runs in a thread, without waiting for ``after``."""
    when_ready: Callable[[], None] | None = None
    uid: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 4.0


class ManagedProcess:
    """Keeps one row of the table running."""

    def __init__(self, spec: ProcessSpec, log_file: Path, changed: Callable[[ManagedProcess], None]) -> None:
        self.spec = spec
        self.log_file = log_file
        self.state = State.WAITING
        self.restarts = 0
        self.last_end = ""
        self.started_at = 0.0
        self.ready_at = 0.0
        self.is_ready = asyncio.Event()
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None between two runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self, *, attempts: int, timeout: float, gate: Awaitable[object]) -> None:
        """Start, and start again whenever the process ends, until `stop`.

        Before it was ready once, ``attempts`` ends or ``timeout`` seconds raise StartFailed.
        """
        prepared = asyncio.create_task(self._prepare())
        try:
            await gate
            await prepared
        finally:
            prepared.cancel()
        delay, was_ready = 0.0, False
        while not self._stopping:
            if was_ready or self.restarts:
                await asyncio.sleep(delay)
                await self._wanted.wait()
                await self._prepare()
                if self._stopping:
                    break
            begun = time.monotonic()
            await self._run_once(None if was_ready else timeout)
            was_ready = was_ready or bool(self.ready_at)
            if self._stopping:
                break
            self.restarts += 1
            if not was_ready and self.restarts >= attempts:
                raise StartFailed(f"{self.spec.name} {self.last_end}{self._last_words()}")
            settled = time.monotonic() - begun > _SETTLED_SECONDS
            delay = _FIRST_DELAY_SECONDS if settled or not delay else min(delay * 2, _LONGEST_DELAY_SECONDS)
            self._set(State.RESTARTING if self._wanted.is_set() else State.HELD)
        self._set(State.STOPPED)

    async def _prepare(self) -> None:
        if self.spec.prepare is not None:
            await asyncio.to_thread(self.spec.prepare)

    async def _run_once(self, timeout: float | None) -> None:
        """Run one child from spawn to end."""
        self.started_at = time.monotonic()
        _roll(self.log_file)
        with self.log_file.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *launch_command(self.spec.command(), uid=self.spec.uid, death_signal=self.spec.death_signal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.environment),
                # Ctrl-C at the terminal is for us: we stop the children in order.
                start_new_session=True,
            )
        self._set(State.STARTING)
        if self._stopping:
            process.send_signal(signal.SIGKILL)
        watching = asyncio.create_task(self._watch_readiness())
        try:
            async with asyncio.timeout(timeout) as limit:
                waiting = asyncio.create_task(process.wait())
                await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
                # Ready in time: from here it may run as long as it likes.
                limit.reschedule(None)
                status = await waiting
        except TimeoutError:
            process.kill()
            await process.wait()
            raise StartFailed(
                f"{self.spec.name} was not ready after {timeout:g} s{self._last_words()}"
            ) from None
        finally:
            watching.cancel()
            self.is_ready.clear()
        self.last_end = _describe(status)

    async def _watch_readiness(self) -> None:
        while not await self.spec.ready():  # noqa: ASYNC110 — only the outside can tell
            await asyncio.sleep(_READY_POLL_SECONDS)
        if self.spec.when_ready is not None:
            self.spec.when_ready()
        self.ready_at = time.monotonic()
        self.is_ready.set()
        self._set(State.READY)

    def _set(self, state: State) -> None:
        self.state = state
        self._changed(self)

    def _last_words(self) -> str:
        lines = [line for line in tail(self.log_file).splitlines() if line.strip()]
        return f": {lines[-1]} (log: {self.log_file})" if lines else ""

    def send_signal(self, number: int) -> None:
        """Send a signal to the running child; none running is no error."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def hold(self) -> None:
        """Kill −9 and do not start again before `release`."""
        self._wanted.clear()
        self.send_signal(signal.SIGKILL)

    def release(self) -> None:
        """Start again after `hold`."""
        self._wanted.set()

    async def stop(self, seconds: float | None = None) -> None:
        """Ask the child to end; kill it after ``seconds`` (the table's when None)."""
        self._stopping = True
        self._wanted.set()
        self.send_signal(self.spec.stop_signal)
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(self.spec.stop_seconds if seconds is None else seconds):
                await process.wait()
        except TimeoutError:
            # Not SIGKILL for everybody: a killed PostgreSQL would leave its own children behind.
            self.send_signal(self.spec.death_signal)
            await process.wait()


def tail(path: Path, size: int = 4096) -> str:
    """Return the end of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _roll(path: Path) -> None:
    """Set a log file that has grown large aside; the one before it goes."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".1.log"))


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
