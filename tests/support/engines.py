"""Engines that let tests see how a node copes: quick ones, and ones that misbehave on purpose."""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from maquette.runtime.engine import (
    Engine,
    EngineDescription,
    EngineKind,
    EngineRequest,
    EngineResult,
    OutputFile,
    Report,
)
from maquette.runtime.errors import InvalidArgument

_Run = Callable[[EngineRequest, Report], EngineResult]


def write_output(request: EngineRequest, name: str = "out.bin") -> EngineResult:
    """Write a small file whose bytes follow from the inputs and the seed."""
    hasher = hashlib.sha256(str(request.seed).encode())
    for file in request.inputs:
        hasher.update(file.path.read_bytes())
    path = request.workdir / name
    path.write_bytes(hasher.hexdigest().encode())
    output = OutputFile("mesh", path, "application/octet-stream", meta={"size": path.stat().st_size})
    return EngineResult((output,), info={"seed": request.seed}, warnings=("made by a test",))


def sleep(request: EngineRequest, report: Report) -> EngineResult:
    """Take 100 ms (or `seconds`) in ten steps with progress."""
    seconds = float(request.parameters.get("seconds", 0.1))
    for step in range(10):
        report("sleeping", step / 10, f"step {step}", eta=seconds * (10 - step) / 10)
        time.sleep(seconds / 10)
    return write_output(request)


def crash(request: EngineRequest, report: Report) -> EngineResult:
    """Die of SIGSEGV when a parameter or an input says so."""
    report("crashing", 0.5)
    if request.parameters.get("crash") or any(b"CRASH" in f.path.read_bytes() for f in request.inputs):
        ctypes.string_at(0)
    return write_output(request)


def devour(request: EngineRequest, report: Report) -> EngineResult:
    """Take memory until somebody stops it, slowly enough to be seen."""
    held = []
    while True:
        report("devouring", 0.1)
        held.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.01)


def ignore(request: EngineRequest, report: Report) -> EngineResult:
    """Say nothing and hear nothing for `seconds`."""
    time.sleep(float(request.parameters.get("seconds", 30)))
    return write_output(request)


def spin(request: EngineRequest, report: Report) -> EngineResult:
    """Go on until cancelled, and leave scratch files about."""
    (request.workdir / "scratch").mkdir()
    (request.workdir / "scratch" / "half-written").write_bytes(b"x")
    while True:
        report("spinning", 0.5)
        time.sleep(0.01)


def refuse(request: EngineRequest, report: Report) -> EngineResult:
    """Refuse the input."""
    raise InvalidArgument("the picture is empty", reason="INVALID_INPUT_FILE", metadata={"field": "image"})


def fail(request: EngineRequest, report: Report) -> EngineResult:
    """Fail as a bug does."""
    raise ZeroDivisionError("a secret detail")


def lie(request: EngineRequest, report: Report) -> EngineResult:
    """Name a file that it did not make: `path`, or a link to it."""
    path = request.workdir / "link"
    path.symlink_to(str(request.parameters["path"]))
    named = request.workdir / str(request.parameters["path"]) if request.parameters.get("plain") else path
    return EngineResult((OutputFile("mesh", named, "text/plain"),))


def two_outputs(request: EngineRequest, report: Report) -> EngineResult:
    """Make two files, one in a folder."""
    first = write_output(request).outputs[0]
    (request.workdir / "textures").mkdir()
    second = request.workdir / "textures" / "base.png"
    second.write_bytes(b"png")
    return EngineResult((first, OutputFile("texture", second, "image/png", ordinal=1)))


@dataclass
class TestEngine:
    """An engine around one function."""

    id: str
    feature: str
    function: _Run
    memory_mib: int = 512
    rank: int = 0
    missing: str = ""
    loads: list[float] = field(default_factory=list)

    __test__ = False

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id=self.id,
            kind=EngineKind.EMBEDDED,
            features=(self.feature,),
            input_formats=("bin",),
            output_formats=("bin",),
            memory_mib=self.memory_mib,
            description=f"for tests: {self.feature}",
            rank=self.rank,
        )

    def load(self) -> None:
        """Fail as an import does when a system library is missing."""
        if self.missing:
            raise ImportError(f"{self.missing}: cannot open shared object file: No such file or directory")
        self.loads.append(time.time())

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Run the function."""
        return self.function(request, report)

    def unload(self) -> None:
        """Forget."""
        self.loads.clear()


def engines() -> tuple[Engine, ...]:
    """Return the engines."""
    return (
        TestEngine("sleep_100ms", "test_sleep", sleep),
        TestEngine("crasher", "test_crash", crash),
        TestEngine("oom", "test_oom", devour, memory_mib=256),
        TestEngine("stubborn", "test_stubborn", ignore),
        TestEngine("spinner", "test_spin", spin),
        TestEngine("picky", "test_refuse", refuse),
        TestEngine("broken", "test_fail", fail),
        TestEngine("liar", "test_lie", lie),
        TestEngine("pair", "test_pair", two_outputs),
        TestEngine("no_library", "test_sleep", sleep, missing="libGL.so.1"),
    )
