"""The dialect's words: states, features, models, formats, and the sentences of the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maquette.api.jobs.v1 import jobs_pb2

NAME = "aigc"
TITLE = "3D Generative Models API"
VERSION = "1.0.0"
DESCRIPTION = "Makes 3D models of pictures, tells how it goes, and keeps the results."

STATUS: Mapping[int, str] = {
    jobs_pb2.STATE_QUEUED: "queued",
    jobs_pb2.STATE_RUNNING: "processing",
    jobs_pb2.STATE_SUCCEEDED: "completed",
    jobs_pb2.STATE_FAILED: "failed",
    # The dialect has no word for it; the error text tells.
    jobs_pb2.STATE_CANCELLED: "failed",
}

STATES_OF: Mapping[str, tuple[jobs_pb2.State.ValueType, ...]] = {
    "queued": (jobs_pb2.STATE_QUEUED,),
    "processing": (jobs_pb2.STATE_RUNNING,),
    "completed": (jobs_pb2.STATE_SUCCEEDED,),
    "failed": (jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED),
}

CANCELLED_TEXT = "Job was cancelled"


@dataclass(frozen=True, slots=True)
class Feature:
    """One kind of job."""

    name: str
    queued_message: str
    models: tuple[str, ...]
    """Model ids that the document and its known clients use for this feature."""


IMAGE_TO_RAW_MESH = Feature(
    "image_to_raw_mesh",
    "Image-to-mesh generation job queued successfully",
    (
        "trellis_image_to_raw_mesh",
        "hunyuan3dv20_image_to_raw_mesh",
        "hunyuan3dv21_image_to_raw_mesh",
        "partpacker_image_to_raw_mesh",
    ),
)
IMAGE_TO_TEXTURED_MESH = Feature(
    "image_to_textured_mesh",
    "Image-to-textured-mesh generation job queued successfully",
    (
        "trellis_image_to_textured_mesh",
        "hunyuan3dv20_image_to_textured_mesh",
        "hunyuan3dv21_image_to_textured_mesh",
    ),
)
AUTO_RIG = Feature("auto_rig", "Auto-rigging job queued successfully", ("unirig_auto_rig",))
MESH_GENERATION = (IMAGE_TO_RAW_MESH, IMAGE_TO_TEXTURED_MESH)

RIG_MODES = ("skeleton", "skin", "full")
CHARACTER_TYPES = ("auto", "humanoid", "quadruped", "generic")
RIG_INPUTS = ("obj", "glb", "fbx", "gltf", "ply", "stl")
"""Formats a mesh to be rigged can come in, in the document's order."""
RIG_OUTPUTS = ("fbx", "glb", "obj")
RIG_UPLOADS = ("obj", "glb", "fbx")
"""Formats that the upload route of auto-rigging takes."""

MESH_FORMATS = ("glb", "obj", "ply", "stl")
"""Formats a mesh can be asked for in."""
QUALITIES = ("low", "medium", "high")

VIEWS = (
    "front",
    "right",
    "back",
    "left",
    "top",
    "bottom",
    "front_right",
    "back_right",
    "back_left",
    "front_left",
    "three_quarter",
)
"""Where a picture was taken from; degrees to the right of the front are taken, too."""

IMAGE_FORMATS = ("png", "jpg", "jpeg", "webp", "bmp", "tiff")
"""Formats of pictures, in the document's order."""
UPLOAD_IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tiff")
UPLOAD_MESH_EXTENSIONS = (".glb", ".obj", ".fbx", ".ply", ".stl", ".gltf")
RETENTION_HOURS = 24

MESH_TYPES: Mapping[str, str] = {
    "glb": "model/gltf-binary",
    "obj": "application/wavefront-obj",
    "fbx": "model/fbx",
    "ply": "model/ply",
    "stl": "model/stl",
    "gltf": "model/gltf+json",
}
IMAGE_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
}
