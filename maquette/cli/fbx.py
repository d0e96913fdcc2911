"""`maquette fbx`: Blender, installed before it is needed."""

from __future__ import annotations

import asyncio
import logging

import structlog

from maquette.cli import screen
from maquette.geometry.codecs.fbx import FbxWorker
from maquette.runtime.fbx import FbxInstallation, fbx_folder, not_installed
from maquette.runtime.settings import FbxSettings


def install_fbx(settings: FbxSettings) -> str:
    """Install Blender unless it is there. Returns why FBX cannot be had, with the line that helps; else "".

    An installation that failed lately is not tried again before its time.
    """
    # People are told here; the log is for services.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    installation = FbxInstallation(settings)
    worker = FbxWorker(fbx_folder(settings), installation.can_install)
    if worker.pending() and (failure := asyncio.run(_install(installation))):
        return not_installed(failure)
    return worker.missing()


async def _install(installation: FbxInstallation) -> str:
    try:
        with screen.passing_text() as tell:
            return await installation.install(tell)
    finally:
        await installation.stop()
