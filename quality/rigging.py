"""Measure the skeletons against those of the makers of characters, and write quality/rigging.json.

Uses the rigs and measures that lie beside the repository; says so and ends well where they are absent.

``cd_j2j`` is the symmetric chamfer distance between the joints in % of the longest side of the box,
``iou`` the share of joints that match one of the other skeleton within half the thickness of the body
there (RigNet 2020). ``main`` leaves out fingers, ears, hair and the like on both sides. Humanoids are
measured again with their arms lowered by their makers' own weights. Seconds are of the processor.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.ray.ray_pyembree import RayMeshIntersector

from quality.true_rigs import RIGS, SHARED, there
from services.rigging.engines.limb_graph.skeleton import Fitted, PoseEstimationFailed, fit_skeleton

RESULT = Path(__file__).resolve().parent / "rigging.json"
GROUPS = {
    "humanoid": ("Casual", "Casual_f", "Punk", "Suit", "KK_Knight", "KK_Mage", "RobotExpressive"),
    "quadruped": ("Alpaca", "Cow", "Fox", "Horse", "Husky"),
    "generic": ("Clownfish", "Frog", "Spider"),
}
ARMS_DOWN = ((30.0, 3.0), (45.0, 5.0), (60.0, 5.0))
"""Degrees the arms are lowered and the legs spread."""
_FIGURES = ("cd_j2j", "iou", "cd_j2j_main", "iou_main")


def measure_joints(measure: ModuleType, rig: Any, fitted: Fitted, *, main: bool) -> dict[str, float]:
    """Compare a skeleton with its maker's; the root on the ground moves nothing and is left out."""
    theirs = measure.clean(rig)
    parents = np.maximum(np.asarray(fitted.skeleton.parents[1:], int) - 1, -1)
    ours = (fitted.skeleton.heads[1:], parents, list(fitted.skeleton.names[1:]))
    if main:
        theirs, ours = measure.main_only(*theirs), measure.main_only(*ours)
    low, high = rig.V.min(axis=0), rig.V.max(axis=0)
    size = float((high - low).max())

    def scaled(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((points - (low + high) / 2) / size)

    a, b = scaled(theirs[0]), scaled(ours[0])
    radius = _thickness(a, theirs[1], scaled(rig.V), rig.F)
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    allowed = np.where(apart <= radius[:, None], apart, 1e3 + apart)
    row, column = measure.linear_sum_assignment(allowed)
    matched = int((apart[row, column] <= radius[row]).sum())
    ending = "_main" if main else ""
    return {
        f"cd_j2j{ending}": round(50 * float(apart.min(axis=0).mean() + apart.min(axis=1).mean()), 3),
        f"iou{ending}": round(2 * matched / (len(a) + len(b)), 3),
    }


def _thickness(
    joints: NDArray[np.float64],
    parents: NDArray[np.integer],
    vertices: NDArray[np.float64],
    faces: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Return the median distance to the surface across the bones at each joint, as the measure does."""
    surface = RayMeshIntersector(trimesh.Trimesh(vertices, faces, process=False))
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    found = np.full(len(joints), 0.02)
    for joint, place in enumerate(joints):
        bones = [joints[child] - place for child in np.flatnonzero(parents == joint)]
        if parents[joint] >= 0:
            bones.append(place - joints[parents[joint]])
        far: list[float] = []
        for bone in bones or [np.array([0.0, 1.0, 0.0])]:
            if np.linalg.norm(bone) < 1e-9:
                continue
            along = bone / np.linalg.norm(bone)
            side = np.cross(along, [1.0, 0.0, 0.0] if abs(along[0]) < 0.9 else [0.0, 1.0, 0.0])
            side /= np.linalg.norm(side)
            rays = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * np.cross(along, side)
            hits, _, _ = surface.intersects_location(np.tile(place, (12, 1)), rays, multiple_hits=False)
            far += np.linalg.norm(np.asarray(hits).reshape(-1, 3) - place, axis=1).tolist()
        if far:
            found[joint] = float(np.median(far))
    return found


def lower_arms(rig: Any, arms: float, legs: float) -> Any:
    """Turn the upper arms down and the legs out, in degrees, by the rig's own weights."""
    moves = np.tile(np.eye(4), (len(rig.J), 1, 1))
    joints, parents = rig.J.copy(), np.asarray(rig.parent)
    for joint, name in enumerate(rig.names):
        arm, leg = name.lower().startswith("upperarm"), name.lower().startswith("upperleg")
        if not (arm or leg):
            continue
        sign = 1.0 if rig.J[joint, 0] > 0 else -1.0
        turn = np.radians(-sign * arms if arm else sign * legs)
        move = np.eye(4)
        move[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        move[:3, 3] = rig.J[joint] - move[:3, :3] @ rig.J[joint]
        for below in _at_and_below(joint, parents):
            moves[below] = move @ moves[below]
            joints[below] = move[:3, :3] @ joints[below] + move[:3, 3]
    weights = rig.W / np.maximum(rig.W.sum(axis=1, keepdims=True), 1e-9)
    homogeneous = np.c_[rig.V, np.ones(len(rig.V))]
    moved = sum(
        weights[:, joint, None] * (homogeneous @ moves[joint].T)[:, :3] for joint in range(len(joints))
    )
    rig.V, rig.J = np.asarray(moved), joints
    return rig


def _at_and_below(joint: int, parents: NDArray[np.integer]) -> list[int]:
    found = [joint]
    for one in found:
        found += np.flatnonzero(parents == one).tolist()
    return found


def measure_rig(measure: ModuleType, name: str, kind: str, arms: float, legs: float) -> dict[str, Any]:
    """Fit one character and measure it."""
    rig = measure.load_rig(str(RIGS / f"{name}.glb"))
    if arms or legs:
        rig = lower_arms(rig, arms, legs)
    row: dict[str, Any] = {"rig": name, "type": kind, "arms_down": arms}
    start = time.process_time()
    try:
        fitted = fit_skeleton(rig.V, rig.F, character_type=kind)
    except PoseEstimationFailed as error:
        return row | {"failed": error.reason, "seconds": round(time.process_time() - start, 2)}
    row |= {
        "seconds": round(time.process_time() - start, 2),
        "template": fitted.template,
        "joints": len(fitted.skeleton.names),
        "pose": fitted.pose.kind,
        "confidence": fitted.confidence,
    }
    row |= measure_joints(measure, rig, fitted, main=False)
    return row | measure_joints(measure, rig, fitted, main=True)


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of the characters that were fitted, and how many were not."""
    fitted = [row for row in rows if "failed" not in row]
    means: dict[str, Any] = {
        name: round(statistics.fmean(row[name] for row in fitted), 3) for name in _FIGURES if fitted
    }
    return means | {"characters": len(rows), "failed": len(rows) - len(fitted)}


def main() -> int:
    """Measure every rig, print the means and write the result."""
    if not there():
        print("quality/rigging: the rigs and measures are not here; nothing measured")
        return 0
    sys.path.insert(0, str(SHARED / "metrics"))
    measure = importlib.import_module("rig_joints")
    rows = [measure_rig(measure, name, kind, 0.0, 0.0) for kind, names in GROUPS.items() for name in names]
    reposed = [
        measure_rig(measure, name, "humanoid", arms, legs)
        for arms, legs in ARMS_DOWN
        for name in GROUPS["humanoid"]
    ]
    means = {kind: _means([row for row in rows if row["type"] == kind]) for kind in GROUPS}
    for arms, _ in ARMS_DOWN:
        means[f"humanoid, arms {arms:.0f}° down"] = _means([r for r in reposed if r["arms_down"] == arms])
    for name, figures in means.items():
        print(f"rigging, {name}: {figures}")
    RESULT.write_text(
        json.dumps({"means": means, "rigs": rows, "reposed": reposed}, indent=1, ensure_ascii=False) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
