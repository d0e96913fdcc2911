"""The dialect's words: states, the sentences of the document, and the bands of its phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maquette.api.jobs.v1 import jobs_pb2

NAME = "animate"
FEATURE = "image_to_animation"

STATUS: Mapping[int, str] = {
    jobs_pb2.STATE_QUEUED: "queued",
    jobs_pb2.STATE_RUNNING: "processing",
    jobs_pb2.STATE_SUCCEEDED: "completed",
    jobs_pb2.STATE_FAILED: "failed",
    # The dialect has no word for it; the message tells.
    jobs_pb2.STATE_CANCELLED: "failed",
}

STARTED = "🚀 3D generation started - will poll Meshy API for completion status"
QUEUED = "Job queued"
COMPLETED = "Job completed successfully"
COMPLETED_WITHOUT_RIG = "Job completed successfully (rigging failed, no animations created)"
CANCELLED = "Job was cancelled"

OWN_ENGINES = "The mesh is made by an engine of this server, not by Meshy; /status tells its own progress."
NO_CONFIRMATION = "Jobs run through: none waits for a confirmation."
NO_RETEXTURE = "use_retexture: no engine that paints meshes is there; the mesh keeps its texture."
NO_FBX = "No FBX files: {why}"

NOT_AN_IMAGE = "File must be an image"
BAD_IDS = "Invalid animation_ids format"
NOT_FOUND = "Job {job_id} not found"

MIN_SIDE = 128
"""Shortest side of a picture, pixels: a character below this has no limbs to find."""
USUAL_HEIGHT, MOST_HEIGHT = 1.75, 100.0
USUAL_FPS, MOST_FPS = 60, 240

# The published animation library: ids from 0 to 696, some of which were never given.
_NEVER_GIVEN = frozenset(
    (332, 373, 374, 380, 383, 400, 418, 423, 424, 443, 454, 469, 600, 602, 603, 614, 633, 634, 655)
)
ANIMATION_IDS = frozenset(range(697)) - _NEVER_GIVEN


@dataclass(frozen=True, slots=True)
class Phase:
    """What clients see of one phase. ``{item}`` in a text stands for the animation's id."""

    start: int
    """Progress when the phase begins, 0–100."""
    end: int
    weight: float
    """Share of the job, for those who read the ledger's own fraction; animations divide theirs."""
    label: str
    begins: str
    done: str


PHASES: Mapping[str, Phase] = {
    "mesh": Phase(
        10, 25, 25, "3D Generation", "Generating 3D model from image...", "3D Generation: SUCCEEDED (100%)"
    ),
    "upload": Phase(25, 30, 5, "Upload", "Uploading model to cloud storage...", "Model uploaded to S3"),
    "retexture": Phase(40, 40, 10, "Retexturing", "Enhancing textures...", "Retexturing: SUCCEEDED (100%)"),
    "rig": Phase(45, 60, 30, "Rigging", "Creating character rig...", "Rigging: SUCCEEDED (100%)"),
    "animation": Phase(
        70, 90, 30, "Animation {item}", "Creating animation {item}...", "Animation {item} completed"
    ),
}
"""In the order in which they follow each other. Steps of other phases (links, second forms) show nothing."""
