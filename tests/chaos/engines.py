"""Quick engines behind the features that the REST API offers, so that tests may come in by the front door."""

from __future__ import annotations

import hashlib
import time

from maquette.runtime.engine import (
    Engine,
    EngineDescription,
    EngineKind,
    EngineRequest,
    EngineResult,
    OutputFile,
    Report,
)

SECONDS = 0.1
MODEL = "chaos_sleep"
SLOW_MODEL = "chaos_slow_sleep"
SLOW_SECONDS = 3.0
FEATURES = ("image_to_raw_mesh", "image_to_textured_mesh")


def bytes_for(seed: int) -> bytes:
    """Return what a run with this seed delivers: another job's result is recognised by it."""
    return hashlib.sha256(str(seed).encode()).hexdigest().encode()


class Sleeper:
    """Sleeps in ten steps with progress and delivers a few bytes that follow from the seed."""

    def __init__(self, engine_id: str, features: tuple[str, ...], seconds: float) -> None:
        self._id = engine_id
        self._features = features
        self._seconds = seconds

    def describe(self) -> EngineDescription:
        """Describe the engine; everything else is preferred to it."""
        return EngineDescription(
            id=self._id,
            kind=EngineKind.EMBEDDED,
            features=self._features,
            input_formats=("png",),
            output_formats=("glb",),
            memory_mib=512,
            description="for tests",
            rank=-100,
        )

    def load(self) -> None:
        """Nothing to load."""

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Take `seconds` (this engine's own unless given)."""
        seconds = float(request.parameters.get("seconds") or self._seconds)
        for step in range(10):
            report("sleeping", step / 10, f"step {step}")
            time.sleep(seconds / 10)
        path = request.workdir / "model.glb"
        path.write_bytes(bytes_for(request.seed))
        return EngineResult((OutputFile("mesh", path, "model/gltf-binary"),), info={"seed": request.seed})

    def unload(self) -> None:
        """Nothing to give back."""


class Chatterer(Sleeper):
    """Reports all the time: what a watcher who does not read would have to hold."""

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Report some hundred times a second for `seconds`."""
        end = time.monotonic() + float(request.parameters.get("seconds") or self._seconds)
        began = time.monotonic()
        while (now := time.monotonic()) < end:
            report("chattering", (now - began) / (end - began), "x" * 200)
            time.sleep(0.005)
        return super().run(request, lambda *_args, **_more: None)


def engines() -> tuple[Engine, ...]:
    """Return the engines."""
    return (
        Sleeper(MODEL, FEATURES, SECONDS),
        Sleeper(SLOW_MODEL, FEATURES, SLOW_SECONDS),
        Sleeper("chaos_task", ("chaos_sleep",), SECONDS),
        Chatterer("chaos_chatter", ("chaos_chatter",), 5.0),
    )
