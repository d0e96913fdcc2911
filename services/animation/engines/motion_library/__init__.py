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

    from maquette.geometry.codecs.fbx import FbxWorker

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
    """The embedded engine that always works: no captured data, no GPU.

    ``fbx`` is the Blender worker, for FBX; None does without.
    """

    def __init__(self, fbx: FbxWorker | None = None) -> None:
        self._fbx = fbx
        self._blender: Any = None
        self._pipeline: ModuleType | None = None

    def describe(self) -> EngineDescription:
        """Describe the engine without loading it."""
        missing = [package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None]
        no_fbx = self._fbx.missing() if self._fbx else "FBX needs the Blender worker, which is not here"
        fbx = () if no_fbx else ("fbx",)
        pending = self._fbx.pending() if self._fbx else ""
        return EngineDescription(
            id=ENGINE_ID,
            kind=EngineKind.EMBEDDED,
            features=(FEATURE,),
            input_formats=(*INPUT_FORMATS, *fbx),
            output_formats=(*OUTPUT_FORMATS, *fbx),
            memory_mib=2048,
            description="Plays motions of its library, or the client's own, on rigged characters.",
            unavailable=f"Missing Python packages: {', '.join(missing)}" if missing else "",
            missing_formats={"fbx": no_fbx} if no_fbx else {},
            pending_formats={"fbx": pending} if pending else {},
        )

    def load(self) -> None:
        """Import pipeline and library, and hold Blender open: later this process may not walk to it."""
        pipeline = importlib.import_module(f"{__name__}.pipeline")
        if self._blender is None and self._fbx is not None and self._fbx.installed():
            from maquette.geometry.codecs.fbx import Blender

            self._blender = Blender.open(self._fbx.folder)
        self._pipeline = pipeline

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Animate the input ``mesh``.

        Raises :class:`maquette.runtime.errors.InvalidArgument` for a file that cannot be used, for a
        motion that the library does not have, and for parameters out of range.
        """
        if self._pipeline is None:
            self.load()
        pipeline: Any = self._pipeline
        result: EngineResult = pipeline.run(request, report, self._blender)
        return result

    def unload(self) -> None:
        """Forget the pipeline; what its libraries hold goes with the process."""
        self._pipeline = None
