"""Where the Blender worker lies, and installing it while a service runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from maquette.runtime.sandbox.spec import code_root
from maquette.runtime.settings import FbxSettings
from maquette.runtime.telemetry import get_logger

_log = get_logger()


def fbx_folder(settings: FbxSettings) -> Path:
    """Return the folder of the Blender worker."""
    return settings.folder or code_root() / "workers" / "blender"


def fbx_is_installed(settings: FbxSettings) -> bool:
    """Tell whether Blender is there."""
    return (fbx_folder(settings) / ".venv" / ".ready").is_file()


def fbx_programs(settings: FbxSettings) -> tuple[Path, ...] | None:
    """Return the folders that a process which starts Blender must read; None where it never will."""
    if not settings.install and not fbx_is_installed(settings):
        return None
    folder = fbx_folder(settings)
    interpreter = folder / ".venv" / "bin" / "python"
    return folder, interpreter.resolve().parents[1]


async def install_fbx(settings: FbxSettings, then: Callable[[], None]) -> None:
    """Run the worker's own set-up and call ``then`` when Blender is there."""
    folder = fbx_folder(settings)
    _log.info("installing Blender for FBX", folder=str(folder))
    process = await asyncio.create_subprocess_exec(
        str(folder / "setup.sh"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    words = output.decode(errors="replace").strip().splitlines()
    _log.info("Blender's set-up ended", status=process.returncode, said=words[-1] if words else "")
    if fbx_is_installed(settings):
        then()
