"""Capability nodes whose engines do the steps of a pipeline in a moment, each run unlike any other.

Started as ``python -m tests.chaos.pipeline_node rigging``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maquette.api.animation.v1 import animation_pb2  # noqa: F401 — registers the parameters' types
from maquette.api.meshgen.v1 import meshgen_pb2  # noqa: F401
from maquette.api.rigging.v1 import rigging_pb2  # noqa: F401
from maquette.runtime.capability.serve import serve_capability
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
from maquette.runtime.service import ServiceContext, run_service

SECONDS = 0.3
STEPS = 10
FEATURES = ("image_to_textured_mesh", "auto_rig", "animate")
UNRIGGABLE_HEIGHT = 99.0
"""A character of this height fails to be rigged."""
BROKEN_MOTION = "8"
"""This motion fails."""


class Step:
    """Writes what it read and a number of its own: two runs never make the same bytes."""

    def __init__(self, feature: str) -> None:
        self._feature = feature

    def describe(self) -> EngineDescription:
        """Describe the engine."""
        return EngineDescription(
            id=f"test_{self._feature}",
            kind=EngineKind.EMBEDDED,
            features=(self._feature,),
            input_formats=("png", "glb"),
            output_formats=("glb",),
            memory_mib=512,
            description="for tests",
        )

    def load(self) -> None:
        """Nothing to load."""

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Take a moment; fail softly where the parameters say so."""
        for step in range(STEPS):
            report("working", step / STEPS, f"step {step}")
            time.sleep(SECONDS / STEPS)
        if request.parameters.get("height_meters") == UNRIGGABLE_HEIGHT:
            raise InvalidArgument("Pose estimation failed", reason="RIGGING_FAILED")
        if BROKEN_MOTION in (request.parameters.get("motions") or ()):
            raise InvalidArgument("the motion is broken")
        made = {
            "feature": self._feature,
            "reads": [hashlib.sha256(file.path.read_bytes()).hexdigest() for file in request.inputs],
            "run": os.urandom(8).hex(),
        }
        path = request.workdir / "model.glb"
        path.write_text(json.dumps(made))
        return EngineResult((OutputFile("mesh", path, "model/gltf-binary"),))

    def unload(self) -> None:
        """Nothing to give back."""


def mesh_engines() -> tuple[Engine, ...]:
    """Return those of meshgen."""
    return (Step(FEATURES[0]),)


def rig_engines() -> tuple[Engine, ...]:
    """Return those of rigging."""
    return (Step(FEATURES[1]),)


def animation_engines() -> tuple[Engine, ...]:
    """Return those of animation."""
    return (Step(FEATURES[2]),)


ENGINES = {"meshgen": "mesh_engines", "rigging": "rig_engines", "animation": "animation_engines"}


@asynccontextmanager
async def build(context: ServiceContext) -> AsyncIterator[None]:
    """Serve test engines until the process is told to stop."""
    async with serve_capability(context, f"tests.chaos.pipeline_node:{ENGINES[context.name]}"):
        yield


if __name__ == "__main__":
    run_service(sys.argv[1], build)
