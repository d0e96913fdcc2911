"""A character mesh to a rigged one without weights: its limbs, found in its solid.

The heavy libraries are imported by :meth:`LimbGraph.load`, not before.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from maquette.runtime.engine import EngineDescription, EngineKind, EngineRequest, EngineResult, Report

if TYPE_CHECKING:
    from types import ModuleType

    from maquette.geometry.codecs.fbx import FbxWorker

ENGINE_ID = "limb_graph"
FEATURE = "auto_rig"
INPUT_FORMATS = ("glb", "gltf", "obj", "ply", "stl")
OUTPUT_FORMATS = ("glb", "obj")
RIG_MODES = ("skeleton", "skin", "full")
CHARACTER_TYPES = ("auto", "humanoid", "quadruped", "generic")

_NEEDS = {
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "embreex": "embreex",
}


class LimbGraph:
    """The embedded engine that always works: no weights, no GPU.

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
            description="Finds the limbs of a character mesh, fits a skeleton to them and binds the skin.",
            unavailable=f"Missing Python packages: {', '.join(missing)}" if missing else "",
            missing_formats={"fbx": no_fbx} if no_fbx else {},
            pending_formats={"fbx": pending} if pending else {},
        )

    def load(self) -> None:
        """Import the pipeline, and hold Blender open: later this process may not walk to it."""
        pipeline = importlib.import_module(f"{__name__}.pipeline")
        if self._blender is None and self._fbx is not None and self._fbx.installed():
            from maquette.geometry.codecs.fbx import Blender

            self._blender = Blender.open(self._fbx.folder)
        self._pipeline = pipeline

    def run(self, request: EngineRequest, report: Report) -> EngineResult:
        """Rig the input ``mesh``.

        Raises :class:`maquette.runtime.errors.InvalidArgument` for a file that cannot be used, for
        parameters out of range, and with RIGGING_FAILED for a mesh that is no character.
        """
        if self._pipeline is None:
            self.load()
        pipeline: Any = self._pipeline
        result: EngineResult = pipeline.run(request, report, self._blender)
        return result

    def unload(self) -> None:
        """Forget the pipeline; what its libraries hold goes with the process."""
        self._pipeline = None
