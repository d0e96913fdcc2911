"""Engines that stand in for work: they wait, tell the time, or write a large file.

Registered through the setting `capability.extra_engines`; asked for by `model_preference`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from maquette.runtime.engine import (
    Engine,
    EngineDescription,
    EngineKind,
    EngineRequest,
    EngineResult,
    OutputFile,
    Report,
)

FEATURE = "image_to_raw_mesh"
LARGE_BYTES = 200_000_000
TICKS = 40
TICK_SECONDS = 0.05
_BLOCK = 1 << 20


def hold(request: EngineRequest, report: Report) -> EngineResult:
    """Keep the slot until cancelled, so that later jobs stay queued."""
    while True:
        report("holding", 0.5)
        time.sleep(1.0)


def stamp(request: EngineRequest, report: Report) -> EngineResult:
    """Tell the time at which the run began as a stage, in ns since 1970."""
    report(str(time.time_ns()), 0.1)
    return _small(request)


def tick(request: EngineRequest, report: Report) -> EngineResult:
    """Tell the time of each event in its stage."""
    # The watcher has to be there first.
    time.sleep(1.0)
    for number in range(TICKS):
        report(str(time.time_ns()), number / TICKS)
        time.sleep(TICK_SECONDS)
    return _small(request)


def large(request: EngineRequest, report: Report) -> EngineResult:
    """Write a mesh file of :data:`LARGE_BYTES`."""
    path = request.workdir / "mesh.bin"
    block = request.seed.to_bytes(8, "little") * (_BLOCK // 8)
    with path.open("wb") as file:
        for at in range(0, LARGE_BYTES, _BLOCK):
            file.write(block[: LARGE_BYTES - at])
    return EngineResult((OutputFile("mesh", path, "model/gltf-binary"),))


def _small(request: EngineRequest) -> EngineResult:
    path = request.workdir / "mesh.bin"
    path.write_bytes(b"done")
    return EngineResult((OutputFile("mesh", path, "model/gltf-binary"),))


@dataclass(frozen=True, slots=True)
class BenchEngine:
    """An engine around one function."""

    id: str
    function: Callable[[EngineRequest, Report], EngineResult]

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id=self.id,
            kind=EngineKind.EMBEDDED,
            features=(FEATURE,),
            input_formats=("png",),
            output_formats=("glb",),
            memory_mib=512,
            description="for benchmarks",
            rank=-100,
        )

    def load(self) -> None:
        """Need nothing."""

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Run the function."""
        return self.function(request, report)

    def unload(self) -> None:
        """Hold nothing."""


def engines() -> tuple[Engine, ...]:
    """Return the engines."""
    functions = {"bench_hold": hold, "bench_stamp": stamp, "bench_tick": tick, "bench_large": large}
    return tuple(BenchEngine(name, function) for name, function in functions.items())
