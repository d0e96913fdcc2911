"""Serving engines that read and write FBX, and installing Blender when the first run needs it.

Where Blender is, what is missing and what failed lies in the worker's folder, so it is the same for
every service and every replica on this machine, and outlives them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import grpc

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.capability.node import Node
from maquette.runtime.capability.serve import serve_capability
from maquette.runtime.errors import error_for
from maquette.runtime.remote.engine import RemoteEngine
from maquette.runtime.sandbox.spec import Step, code_root
from maquette.runtime.service import ServiceContext
from maquette.runtime.settings import FbxSettings
from maquette.runtime.telemetry import get_logger

_LINE = "make fbx"
_SCRIPT, _LOCK, _READY, _FAILED = "setup.sh", ".installing", ".venv/.ready", ".install-failed"
_LEAST_DISK = 3 << 30
_LOOK_SECONDS = 2.0
_TELL_SECONDS = 2.0
_END_SECONDS = 5.0
_MEDIA_TYPE = "model/fbx"
_log = get_logger()


@asynccontextmanager
async def serve_with_fbx(
    context: ServiceContext,
    package: str,
    *,
    first: Sequence[Step] = (),
    further: Sequence[Callable[[grpc.aio.Server, Node], str]] = (),
    remote: Sequence[RemoteEngine] = (),
) -> AsyncIterator[Node]:
    """Serve the engines of ``package`` (`package:engines`) with FBX where it can be had.

    Workers run `package:use_blender` before they ask for the engines, with the worker's ``folder`` and
    whether this process will ``install`` it. A run that needs FBX waits, without a slot, while Blender is
    installed; workers are renewed when it is there, whoever installed it, and when it failed. For the rest
    see :func:`maquette.runtime.capability.serve.serve_capability`.
    """
    settings = context.settings.fbx
    folder = fbx_folder(settings)
    fbx = FbxInstallation(settings)
    step = Step(f"{package}:use_blender", {"folder": str(folder), "install": fbx.can_install})
    async with serve_capability(
        context,
        f"{package}:engines",
        first=(*first, step),
        programs=_programs(folder) if fbx.installed or fbx.can_install else None,
        further=further,
        remote=remote,
        provision=fbx,
    ) as node:
        watching = asyncio.create_task(fbx.watch(node.renew), name="watch FBX")
        try:
            yield node
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await fbx.stop()


def fbx_folder(settings: FbxSettings) -> Path:
    """Return the folder of the Blender worker."""
    return settings.folder or code_root() / "workers" / "blender"


def _programs(folder: Path) -> tuple[Path, ...]:
    """Return the folders that a process which starts Blender must read."""
    interpreter = (folder / ".venv" / "bin" / "python").resolve()
    return folder, interpreter.parents[1]


class FbxInstallation:
    """Blender on this machine: brought once, when the first run needs it.

    It is a :class:`maquette.runtime.capability.provision.Provision`.
    """

    stage = "installing_blender"

    def __init__(self, settings: FbxSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._folder = fbx_folder(settings)
        self._clock = clock
        self._in_use = self.installed
        """The workers have it."""
        self._used = asyncio.Event()
        self._look = asyncio.Event()
        self._task: asyncio.Task[str] | None = None

    @property
    def installed(self) -> bool:
        """Tell whether Blender is there."""
        return (self._folder / _READY).is_file()

    @property
    def can_install(self) -> bool:
        """Tell whether this process may install it and has where."""
        script = self._folder / _SCRIPT
        return self._settings.install and script.is_file() and os.access(self._folder, os.W_OK)

    def needed(self, request: pb.RunRequest, parameters: Mapping[str, Any]) -> bool:
        """Tell whether a run reads or writes FBX and the workers cannot yet."""
        if self._in_use:
            return False
        return parameters.get("output_format") == "fbx" or any(
            file.media_type == _MEDIA_TYPE or PurePosixPath(file.filename).suffix.lower() == ".fbx"
            for file in request.inputs
        )

    async def bring(self, tell: Callable[[str], None]) -> None:
        """Install Blender, or wait for whoever does, until the workers have it.

        Raises MODEL_NOT_AVAILABLE with the reason and the line to run when it cannot be installed.
        """
        if failure := await self.install(tell):
            raise error_for("MODEL_NOT_AVAILABLE", not_installed(failure))
        tell("Blender is installed; the workers take it up")
        self._look.set()
        await self._used.wait()

    async def install(self, tell: Callable[[str], None]) -> str:
        """Install Blender, or wait for whoever does. Returns why it cannot be had; empty when it is there.

        Being cancelled does not stop what others wait for too: see :meth:`stop`.
        """
        began = time.monotonic()
        if self._task is None or (self._task.done() and not self._in_use):
            self._task = asyncio.create_task(self._install(), name="install Blender")
        waits: set[asyncio.Task[Any]] = {self._task}
        while not self._task.done():
            seconds = round(time.monotonic() - began)
            tell(f"Installing Blender for FBX, once (about 1 GB), {seconds} s so far")
            await asyncio.wait(waits, timeout=_TELL_SECONDS)
        return self._task.result()

    async def watch(self, renew: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Renew the workers when Blender has come, and when whether it can come has changed."""
        known = self._failure()
        while not self._in_use:
            self._look.clear()
            failure = self._failure()
            if self.installed or failure != known:
                there, known = self.installed, failure
                await renew()
                if there:
                    self._in_use = True
                    self._used.set()
                    return
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Give up what this process was installing; it is no failure, and the next run tries again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _failure(self) -> str:
        """Return why an installation failed, as long as it is not tried again."""
        try:
            until, _, reason = (self._folder / _FAILED).read_text().partition("\n")
            return reason.strip() if self._clock() < float(until) else ""
        except (OSError, ValueError):
            return ""

    async def _install(self) -> str:
        """Install Blender unless somebody else has or has just failed. Returns why not; empty if it is."""
        try:
            async with self._alone():
                if self.installed:
                    return ""
                failure = self._failure() or self._no_room() or await self._run()
                if failure and not self._failure():
                    until = self._clock() + self._settings.retry_seconds
                    (self._folder / _FAILED).write_text(f"{until}\n{failure}\n")
        except OSError as error:
            failure = f"the worker's folder cannot be written: {error.strerror}"
        self._look.set()
        return failure

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold the machine's lock; whoever comes second waits, and finds the work done."""
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.2)
            yield
        finally:
            os.close(descriptor)

    def _no_room(self) -> str:
        if shutil.disk_usage(self._folder).free < _LEAST_DISK:
            return f"less than {_LEAST_DISK >> 30} GB of disk are free"
        return ""

    async def _run(self) -> str:
        """Run the worker's set-up. Returns why it failed; empty when Blender is there."""
        _log.info("installing Blender for FBX", folder=str(self._folder))
        process = await asyncio.create_subprocess_exec(
            str(self._folder / _SCRIPT),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**_environment(), "MAQUETTE_PYTHON": sys.executable},
        )
        output = b""
        try:
            async with asyncio.timeout(self._settings.install_seconds):
                output, _ = await process.communicate()
        except TimeoutError:
            output = f"it took longer than {self._settings.install_seconds:.0f} s".encode()
        finally:
            await _end(process)
        lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
        _log.info("Blender's set-up ended", status=process.returncode, said=lines[-3:])
        if self.installed:
            return ""
        lines = [line for line in lines if line.lower().startswith("error: ")] or lines
        said = lines[-1] if lines else f"{_SCRIPT} ended with status {process.returncode}"
        return said.removeprefix("error: ").removeprefix("ERROR: ").rstrip(".")[:500]


def _environment() -> dict[str, str]:
    """Return what a package manager may need of our environment; our own settings hold secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAQUETTE_")}


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a set-up and all that it started; it may have ended already."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    except ProcessLookupError:
        await process.wait()


def not_installed(failure: str) -> str:
    """Say that Blender could not be installed, why, and the line that does it."""
    return f"FBX needs Blender, which could not be installed: {failure}. Install it with: {_LINE}."
