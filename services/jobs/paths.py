"""Name the paths that clients are given for the files a job made.

A job's mesh is ``/outputs/meshes/mesh_<job>.<ext>`` and its thumbnail
``/outputs/thumbnails/mesh_<job>_thumb.png``; every other file lies below ``/outputs/meshes/<job>/``.
A graph of tasks may make several meshes on its way: each has a path of its own from the start, and
the last one gets the main path when the job succeeds.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

MESH_ROLE = "mesh"
THUMBNAIL_ROLE = "thumbnail"


@dataclass(frozen=True, slots=True)
class IssuedPath:
    """Where a file is found: ``path`` now, ``main_path`` when its job succeeds with it."""

    path: str
    main_path: str | None


def issue_path(job_id: str, task: str, *, last: bool, role: str, ordinal: int, filename: str) -> IssuedPath:
    """Return the paths of one file.

    ``last`` tells that the task is the last of its job's graph; files of earlier tasks lie one
    folder deeper, so that two tasks may use the same file name.
    """
    name = safe_filename(filename) or f"{role}_{ordinal}"
    folder = f"/outputs/meshes/{job_id}" if last else f"/outputs/meshes/{job_id}/{task}"
    main_path = None
    if ordinal == 0 and role == MESH_ROLE:
        main_path = f"/outputs/meshes/mesh_{job_id}{posixpath.splitext(name)[1].lower()}"
    elif ordinal == 0 and role == THUMBNAIL_ROLE:
        main_path = f"/outputs/thumbnails/mesh_{job_id}_thumb.png"
    return IssuedPath(f"{folder}/{name}", main_path)


def safe_filename(filename: str) -> str:
    """Return a name without folders or control characters; empty when nothing is left."""
    base = filename.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in base if c.isprintable() and c not in '<>:"|?*')
    return "" if kept.strip(". ") == "" else kept[:200]
