"""One picture to a closed mesh without weights: camera and solid are guessed from the silhouette.

The heavy libraries are imported by :meth:`ShapeFromSilhouette.load`, not before.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from maquette.runtime.engine import EngineDescription, EngineKind, EngineRequest, EngineResult, Report

if TYPE_CHECKING:
    from types import ModuleType

ENGINE_ID = "shape_from_silhouette"
FEATURES = ("image_to_raw_mesh", "image_to_textured_mesh")
INPUT_FORMATS = ("png", "jpg", "webp", "bmp", "tiff")
OUTPUT_FORMATS = ("glb", "obj", "ply", "stl")

_NEEDS = {
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "embreex": "embreex",
}


class ShapeFromSilhouette:
    """The embedded engine that always works: no weights, no GPU."""

    def __init__(self) -> None:
        self._pipeline: ModuleType | None = None

    def describe(self) -> EngineDescription:
        """Describe the engine without loading it."""
        missing = [package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None]
        return EngineDescription(
            id=ENGINE_ID,
            kind=EngineKind.EMBEDDED,
            features=FEATURES,
            input_formats=INPUT_FORMATS,
            output_formats=OUTPUT_FORMATS,
            memory_mib=1024,
            description="Finds object, camera and shape in a picture by rules, and makes a closed mesh.",
            unavailable=f"Missing Python packages: {', '.join(missing)}" if missing else "",
        )

    def load(self) -> None:
        """Import the pipeline and run it once on a small disc, so that the first job is not slow."""
        pipeline = importlib.import_module(f"{__name__}.pipeline")
        pipeline.warm_up()
        self._pipeline = pipeline

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Make a mesh of the input ``image``.

        Raises :class:`maquette.runtime.errors.InvalidArgument` for a picture that cannot be
        used and for parameters out of range.
        """
        if self._pipeline is None:
            self.load()
        pipeline: Any = self._pipeline
        result: EngineResult = pipeline.run(request, report)
        return result

    def unload(self) -> None:
        """Forget the pipeline; what its libraries hold goes with the process."""
        self._pipeline = None
