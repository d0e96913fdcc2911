"""Measure the skin on rigs with known weights, and its speed, and write quality/skinning.json.

Uses the rigs that lie beside the repository; says so and ends well where they are absent.

``l1`` is the mean over vertices of Σ|w − w′|, 0 to 2, given the true skeleton: once the joints that move
something (``l1``), once with the handles of the rig too (``l1_all_joints``). ``deform`` is how far
vertices lie from where the true weights put them, in % of the diagonal, over ten random poses in
which each joint turns about 20°.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton
from quality.true_rigs import RIGS, TrueRig, dense_weights, mean_l1, read_true_rig, there
from services.rigging.engines.limb_graph.skin import bind

RESULT = Path(__file__).resolve().parent / "skinning.json"
POSES, DEGREES = 10, 20.0
GROWTH = (("Horse", 1), ("Frog", 1), ("Casual", 2), ("Frog", 3), ("Casual", 3))
"""Rig and how often each face is split in four: about 4k, 10k, 50k, 156k and 199k points."""


def measure_rig(path: Path) -> dict[str, Any]:
    """Bind one rig to its own skeleton and compare with its maker's weights."""
    rig = read_true_rig(path)
    start = time.process_time()
    skin, warnings = bind(rig.vertices, rig.faces, rig.skeleton)
    seconds = time.process_time() - start
    whole = read_true_rig(path, all_joints=True)
    weights = dense_weights(skin, len(rig.skeleton.names))
    known = rig.weights.sum(axis=1) > 0.5
    return {
        "rig": path.stem,
        "vertices": len(rig.vertices),
        "joints": len(rig.skeleton.names),
        "l1": round(mean_l1(rig, skin), 4),
        "l1_all_joints": round(mean_l1(whole, bind(whole.vertices, whole.faces, whole.skeleton)[0]), 4),
        "same_strongest": round(
            float((weights.argmax(axis=1) == rig.weights.argmax(axis=1))[known].mean()), 4
        ),
        "deform": round(_deform(rig, weights), 4),
        "unweighted": int((skin.weights.sum(axis=1) < 0.5).sum()),
        "most_influences": int((skin.weights > 0).sum(axis=1).max()),
        "cpu_seconds": round(seconds, 2),
        "warnings": list(warnings),
    }


def _deform(rig: TrueRig, weights: NDArray[np.float64]) -> float:
    """Return the mean distance in % of the diagonal between both skins over random poses."""
    random = np.random.default_rng(0)
    known = rig.weights.sum(axis=1) > 0.5
    points = np.concatenate([rig.vertices, np.ones((len(rig.vertices), 1))], axis=1)[known]
    diagonal = float(np.linalg.norm(np.ptp(rig.vertices, axis=0)))
    off = []
    for _ in range(POSES):
        moves = _random_pose(rig.skeleton, random)[:, :3]
        difference = weights[known] - rig.weights[known]
        off.append(
            np.linalg.norm(np.einsum("nj,jab,nb->na", difference, moves, points, optimize=True), axis=1)
        )
    return float(np.mean(off) / diagonal * 100)


def _random_pose(skeleton: Skeleton, random: np.random.Generator) -> NDArray[np.float64]:
    moves = np.tile(np.eye(4), (len(skeleton.names), 1, 1))
    for joint, parent in enumerate(skeleton.parents.tolist()):
        turn = random.normal(size=3) * math.radians(DEGREES) / math.sqrt(3)
        local = np.eye(4)
        local[:3, :3] = _rotation(turn)
        local[:3, 3] = skeleton.heads[joint] - local[:3, :3] @ skeleton.heads[joint]
        moves[joint] = local if parent < 0 else moves[parent] @ local
    return moves


def _rotation(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of a turn about ``turn`` by its length (Rodrigues)."""
    angle = float(np.linalg.norm(turn))
    x, y, z = turn / max(angle, 1e-12)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * skew + (1 - math.cos(angle)) * skew @ skew)


def split_faces(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Split each triangle in four at the middles of its sides."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    ends, side = np.unique(sides, axis=0, return_inverse=True)
    ab, bc, ca = side.reshape(3, -1) + len(vertices)
    a, b, c = faces.T
    corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    middles = vertices[ends].mean(axis=1)
    return np.concatenate([vertices, middles]), np.concatenate([np.stack(row, axis=1) for row in corners])


def measure_growth(name: str, times: int) -> dict[str, Any]:
    """Time one bind of a split rig in a process of its own and read its peak memory."""
    run = subprocess.run(
        [sys.executable, "-m", "quality.skinning", name, str(times)],
        capture_output=True,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(run.stdout)
    return row


def time_split(name: str, times: int) -> dict[str, Any]:
    """Split a rig with its seams welded, bind it and time that."""
    rig = read_true_rig(RIGS / f"{name}.glb")
    places, number = np.unique(rig.vertices.round(6), axis=0, return_inverse=True)
    vertices, faces = places, number.ravel()[rig.faces]
    for _ in range(times):
        vertices, faces = split_faces(vertices, faces)
    wall, cpu = time.perf_counter(), time.process_time()
    bind(vertices, faces, rig.skeleton)
    return {
        "rig": name,
        "vertices": len(vertices),
        "faces": len(faces),
        "joints": len(rig.skeleton.names),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> int:
    """Measure every rig, print the means and write the result."""
    if not there():
        print("quality/skinning: the rigs and measures are not here; nothing measured")
        return 0
    rows = []
    for path in sorted(RIGS.glob("*.glb")):
        rows.append(measure_rig(path))
        print(f"{path.stem:18} l1 {rows[-1]['l1']:.3f}  deform {rows[-1]['deform']:.2f} %", flush=True)
    growth = [measure_growth(name, times) for name, times in GROWTH]
    small, large = growth[0], growth[-1]
    exponent = math.log(large["cpu_seconds"] / small["cpu_seconds"]) / math.log(
        large["vertices"] / small["vertices"]
    )
    means = {
        name: round(statistics.fmean(row[name] for row in rows), 4)
        for name in ("l1", "l1_all_joints", "same_strongest", "deform")
    }
    unweighted = sum(row["unweighted"] for row in rows)
    result = {
        "rigs": len(rows),
        "means": means,
        "unweighted": unweighted,
        "rows": rows,
        "growth": growth,
        "growth_exponent": round(exponent, 2),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"means": means, "unweighted": unweighted, "of": len(rows)}))
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(time_split(sys.argv[1], int(sys.argv[2]))))
    else:
        sys.exit(main())
