"""FBX through a program of its own: Blender, in an environment and a process of its own.

The program is `workers/blender/convert.py`, under another licence than this package. It is started,
given files, and its files are read; nothing of it is imported here.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maquette.geometry.errors import MeshError, UnreadableMesh

INSTALL = "make fbx"
READY, FAILED = ".venv/.ready", ".install-failed"
"""What a finished and a failed installation leave in the worker's folder."""
_LIBRARIES: Mapping[str, str] = {
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXext.so.6": "libxext6",
}
"""What Blender loads from the system, and Debian's package of each."""
_BINARY_HEAD = b"Kaydara FBX Binary  \x00"
_LOOK_SECONDS = 0.05
_MAX_FACTS = 64 << 20


def missing_parts(folder: Path) -> str:
    """Tell what FBX needs that is not here, with the line that installs it; empty when all is.

    ``folder`` is `workers/blender`.
    """
    return _missing_program(folder) or _missing_libraries()


def _missing_program(folder: Path) -> str:
    if (folder / READY).is_file():
        return ""
    needs = "FBX needs Blender as a Python module"
    failed = failed_install(folder)
    if failed:
        return f"{needs}; it could not be installed by itself ({failed}); install it with: {INSTALL}"
    return f"{needs}; install it with: {INSTALL}"


def _missing_libraries() -> str:
    absent = [package for library, package in _LIBRARIES.items() if not _loads(library)]
    if absent:
        return f"FBX needs system libraries; install them with: apt-get install {' '.join(absent)}"
    return ""


def failed_install(folder: Path, now: Callable[[], float] = time.time) -> str:
    """Return why Blender was not installed by itself lately; empty when it may be tried.

    The file holds the moment (seconds since 1970) until which it is not tried again, and the reason.
    """
    try:
        until, _, reason = (folder / FAILED).read_text().partition("\n")
        return reason.strip() if now() < float(until) else ""
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True, slots=True)
class FbxWorker:
    """Where the Blender worker lies, and whether whoever runs this installs it when FBX is wanted."""

    folder: Path
    installs: bool = False

    def installed(self) -> bool:
        """Tell whether Blender can be started now."""
        return not missing_parts(self.folder)

    def missing(self) -> str:
        """Tell why FBX cannot be had, with the line that installs it.

        Empty when Blender is here, and when it will be installed as soon as somebody wants FBX.
        """
        if self.installs and not failed_install(self.folder):
            return _missing_libraries()
        return missing_parts(self.folder)

    def pending(self) -> str:
        """Tell what happens first when FBX is asked for; empty when it works at once or not at all."""
        if not self.offered() or self.installed():
            return ""
        return f"Blender (about 1 GB) is installed first, which takes minutes; or beforehand with: {INSTALL}"

    def offered(self) -> bool:
        """Tell whether FBX can be asked for."""
        return not self.missing()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def is_fbx(head: bytes) -> bool:
    """Tell an FBX file by its first bytes. Raises :class:`UnreadableMesh` for one written as text."""
    if head.lstrip().startswith(b"; FBX"):
        raise UnreadableMesh("The FBX file is written as text, which cannot be read; save it as binary FBX.")
    return head.startswith(_BINARY_HEAD)


@dataclass(frozen=True, slots=True)
class Blender:
    """The environment, held open, so that it can be started by a user who may not walk to it."""

    interpreter: int
    prefix: int
    packages: int
    program: int

    @classmethod
    def open(cls, folder: Path) -> Blender:
        """Open what is installed in `workers/blender`. Raises OSError when it is not there."""
        environment = folder / ".venv"
        interpreter = (environment / "bin" / "python").resolve(strict=True)
        packages = next((environment / "lib").glob("python*/site-packages"))
        return cls(
            interpreter=os.open(interpreter, os.O_RDONLY | os.O_CLOEXEC),
            prefix=os.open(interpreter.parents[1], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
            packages=os.open(packages, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
            program=os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
        )

    def to_glb(self, source: Path, target: Path, tick: Callable[[], None]) -> dict[str, Any]:
        """Write what an FBX file holds as GLB, each of its takes as an animation.

        Returns ``clips`` (``name``, ``seconds``, ``frames``, ``fps`` of each), ``clips_left_out``
        (names of those that are too long), and ``pictures_missing``, a count. ``tick`` is called all
        the while and may raise to stop the work. Raises :class:`UnreadableMesh` with Blender's own
        words.
        """
        return self._run("to-glb", source, target, tick)

    def motion_to_glb(self, source: Path, target: Path, tick: Callable[[], None]) -> dict[str, Any]:
        """Write the skeleton and the takes of an FBX file as GLB: skins and animations, no mesh.

        The file need not hold a mesh. As :meth:`to_glb`; a file without skeleton or takes is refused.
        """
        return self._run("motion-to-glb", source, target, tick)

    def to_fbx(self, source: Path, target: Path, tick: Callable[[], None]) -> dict[str, Any]:
        """Write a GLB as FBX, each of its animations as a take, and return what is in that file.

        That is ``bones``, ``vertex_count``, …, and ``clips`` and ``clips_left_out`` as of :meth:`to_glb`,
        which also tells of ``tick``; raises :class:`MeshError`.
        """
        return self._run("to-fbx", source, target, tick)

    def _run(self, job: str, source: Path, target: Path, tick: Callable[[], None]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="blender-", dir=target.parent) as home:
            facts = Path(home, "facts.json")
            with Path(home, "log").open("wb") as log:
                process = subprocess.Popen(
                    [*self._program(), job, str(source), str(target), str(facts)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment(home),
                    pass_fds=(self.interpreter, self.prefix, self.packages, self.program),
                    cwd=home,
                )
                _wait(process, tick)
            told = _read_facts(facts)
        if told.pop("ok", False) and target.is_file():
            return told
        target.unlink(missing_ok=True)
        reason = told.get("error") or f"the program ended with status {process.returncode}"
        kind, verb = (MeshError, "write") if job == "to-fbx" else (UnreadableMesh, "read")
        raise kind(f"Blender could not {verb} the FBX file: {reason}")

    def _program(self) -> list[str]:
        return [_place(self.interpreter), "-s", "-P", "-B", f"{_place(self.program)}/convert.py"]

    def _environment(self, home: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        return {
            **kept,
            "PYTHONHOME": _place(self.prefix),
            "PYTHONPATH": f"{_place(self.packages)}:{_place(self.program)}",
            "HOME": home,
            "TMPDIR": home,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            # Its own settings and add-ons of whoever uses Blender here stay out.
            "BLENDER_USER_RESOURCES": home,
        }


def _place(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
    try:
        while True:
            tick()
            try:
                process.wait(_LOOK_SECONDS)
                return
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_MAX_FACTS))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
