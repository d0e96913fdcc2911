"""A rigged character to a moving one: motions of the library or the client's own, retargeted.

The heavy libraries are imported by :meth:`MotionLibrary.load`, not before.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from maquette.runtime.engine import EngineDescription, EngineKind, EngineRequest, EngineResult, Report

if TYPE_CHECKING:
    from types import ModuleType

ENGINE_ID = "motion_library"
FEATURE = "animate"
INPUT_FORMATS = ("glb", "gltf", "bvh")
OUTPUT_FORMATS = ("glb",)

_NEEDS = {
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "embreex": "embreex",
}


class MotionLibrary:
    """The embedded engine that always works: no captured data, no GPU."""

    def __init__(self) -> None:
        self._pipeline: ModuleType | None = None

    def describe(self) -> EngineDescription:
        """Describe the engine without loading it."""
        missing = [package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None]
        return EngineDescription(
            id=ENGINE_ID,
            kind=EngineKind.EMBEDDED,
            features=(FEATURE,),
            input_formats=INPUT_FORMATS,
            output_formats=OUTPUT_FORMATS,
            memory_mib=2048,
            description="Plays motions of its library, or the client's own, on rigged characters.",
            unavailable=f"Missing Python packages: {', '.join(missing)}" if missing else "",
        )

    def load(self) -> None:
        """Import the pipeline and the library."""
        self._pipeline = importlib.import_module(f"{__name__}.pipeline")

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Animate the input ``mesh``.

        Raises :class:`maquette.runtime.errors.InvalidArgument` for a file that cannot be used, for a
        motion that the library does not have, and for parameters out of range.
        """
        if self._pipeline is None:
            self.load()
        pipeline: Any = self._pipeline
        result: EngineResult = pipeline.run(request, report)
        return result

    def unload(self) -> None:
        """Forget the pipeline; what its libraries hold goes with the process."""
        self._pipeline = None
