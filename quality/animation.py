"""Measure motions on rigs of other makers, with the measures beside the repository.

``python -m quality.animation`` writes ``quality/animation.json``.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.codecs import MeshLimits, decode, encode
from maquette.geometry.codecs.bvh import read_bvh
from maquette.geometry.codecs.gltf_character import read_character
from maquette.geometry.codecs.gltf_clips import world_poses, write_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.codecs.gltf_rig import read_rig
from maquette.geometry.codecs.gltf_rig_write import write_skeleton, write_skin
from maquette.geometry.rig import Skin
from maquette.runtime.engine import EngineRequest, InputFile
from quality.true_rigs import RIGS, SHARED
from services.animation.engines import engines
from services.animation.library import MOVES
from services.animation.library.quadrupeds import QUADRUPED_MOVES
from services.animation.motion.figure import FIGURE
from services.animation.retarget import (
    Retargeted,
    Take,
    flesh_of,
    map_bones,
    retarget,
    take_of_clip,
    take_of_motion,
)
from services.animation.retarget.four_legs import map_four_legs

RESULT = Path(__file__).parent / "animation.json"
METRICS = SHARED / "metrics" / "anim_metrics.py"
CAPTURED = SHARED / "data" / "animation"
TARGETS = ("Casual", "Casual_f", "Suit", "KK_Knight", "RobotExpressive")
SAMPLE = ("casual_walk", "march", "sneak", "brisk_walk")
CLIPS = ("bvhtoolbox_walk01", "cmu_02_01", "cmu_05_02")
RESTING = ("sleep", "push_up", "crawl", "handstand", "kneel", "die_forwards")
BEASTS = ("Husky", "Horse", "Cow", "Alpaca", "Fox")
FPS = 30.0
MOST = 1_500_000
LIMITS = MeshLimits(max_vertices=MOST)
_ROWS = (
    "foot_skate_pct",
    "skate_ratio",
    "penetration_pct",
    "bone_len_drift",
    "lknee_hyper",
    "rknee_hyper",
    "pose_err_deg",
    "pose_err",
)


def measure(take: Take, rig_name: str, name: str, reference: Path | None = None) -> dict[str, Any]:
    """Retarget one take to one rig and measure the file that comes of it."""
    data = (RIGS / f"{rig_name}.glb").read_bytes()
    start = time.perf_counter()
    document = GltfDocument(data, MOST)
    document.json.pop("animations", None)
    rig = read_rig(document)
    if rig is None:
        raise ValueError(rig_name)
    asset = decode(document.encode(), "glb", LIMITS)
    flesh = flesh_of(*Puppet(document, rig, asset, MOST).skin)
    ground = min(float(part.mesh.vertices[:, 1].min()) for part in asset.parts)
    result = retarget(take, rig.skeleton, name=name, ground=ground, flesh=flesh)
    write_clips(document, rig, [result.clip])
    written = document.encode()
    seconds = time.perf_counter() - start
    with tempfile.NamedTemporaryFile(suffix=".glb") as file:
        file.write(written)
        file.flush()
        options = [] if reference is None else ["--ref", str(reference)]
        run = subprocess.run(
            [sys.executable, str(METRICS), file.name, *options], capture_output=True, text=True, check=True
        )
    told = json.loads(run.stdout)
    row = {key: _rounded(told[key]) for key in _ROWS if told.get(key) is not None}
    clip = result.clip
    apart = np.abs((clip.rotations[0] * clip.rotations[-1]).sum(axis=1)).min()
    return {
        "rig": rig_name,
        "motion": name,
        **row,
        "held_skate_pct": round(held_skate(result, rig.skeleton), 4),
        "loop_apart_deg": round(float(np.degrees(2 * np.arccos(min(apart, 1.0)))), 3) if take.loop else None,
        "seconds": round(seconds, 2),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: round(float(part), 2) for key, part in value.items()}
    return round(float(value), 4)


def held_skate(result: Retargeted, skeleton: Any) -> float:
    """Return how far what carries a held foot slips, in % of the body's height a frame.

    That is the slower of its ankle and its toes, which stand while the other rolls.
    """
    roles = map_bones(skeleton).roles
    points = world_poses(skeleton, result.clip)[..., :3, 3]
    tall = float(np.ptp(skeleton.heads[:, 1]))
    slips = []
    for number, side in enumerate(("left", "right")):
        joints = [roles[f"{side}{part}"] for part in ("Foot", "Toes") if f"{side}{part}" in roles]
        steps = np.linalg.norm(np.diff(points[:, joints][..., [0, 2]], axis=0), axis=2).min(axis=1)
        slips += steps[result.standing[1:, number] & result.standing[:-1, number]].tolist()
    return float(np.mean(slips)) / tall * 100 if slips else 0.0


def measure_resting(rig_name: str, name: str) -> dict[str, Any]:
    """Retarget a motion on the floor; measure how deep and how high the lowest point of the skin gets."""
    document = GltfDocument((RIGS / f"{rig_name}.glb").read_bytes(), MOST)
    document.json.pop("animations", None)
    rig = read_rig(document)
    if rig is None:
        raise ValueError(rig_name)
    asset = decode(document.encode(), "glb", LIMITS)
    puppet = Puppet(document, rig, asset, MOST)
    heights = np.concatenate([part.mesh.vertices[:, 1] for part in asset.parts])
    ground, tall = float(heights.min()), float(np.ptp(heights))
    move = MOVES[name]
    take = take_of_motion(move.perform(15.0), loop=move.loop)
    lows = []
    for flesh in (None, flesh_of(*puppet.skin)):
        clip = retarget(take, rig.skeleton, name=name, ground=ground, flesh=flesh).clip
        posed = [puppet.pose(pose) for pose in world_poses(rig.skeleton, clip)]
        lows.append([min(float(part.mesh.vertices[:, 1].min()) for part in each.parts) for each in posed])
    before, after = ((np.array(each) - ground) / tall * 100 for each in lows)
    return {
        "rig": rig_name,
        "motion": name,
        "deepest_before_pct": round(max(-float(before.min()), 0.0), 2),
        "deepest_pct": round(max(-float(after.min()), 0.0), 2),
        "median_pct": round(float(np.median(after)), 2),
    }


def measure_beast(rig_name: str, name: str) -> dict[str, Any]:
    """Retarget a motion on four legs; measure how far paws that stand slip, in % of the height a frame."""
    rig = read_rig(GltfDocument((RIGS / f"{rig_name}.glb").read_bytes(), MOST))
    if rig is None:
        raise ValueError(rig_name)
    move = QUADRUPED_MOVES[name]
    done = retarget(take_of_motion(move.perform(FPS), loop=move.loop), rig.skeleton, name=name)
    paws = [leg[-1] for leg in map_four_legs(rig.skeleton).legs]
    points = world_poses(rig.skeleton, done.clip)[..., :3, 3][:, paws]
    steps = np.linalg.norm(np.diff(points[..., [0, 2]], axis=0), axis=2)
    still = done.standing[1:] & done.standing[:-1]
    slip = float(steps[still].mean()) / float(np.ptp(rig.skeleton.heads[:, 1])) * 100
    return {"rig": rig_name, "motion": name, "held_skate_pct": round(slip, 4)}


def time_large(vertices: int) -> tuple[float, float]:
    """Return the seconds of a whole run, pictures and all, for a ball of vertices at every joint.

    First those on the clock, then those that the processor worked.
    """
    side = math.ceil((vertices / len(FIGURE.names)) ** 0.5)
    along, around = np.meshgrid(np.linspace(0, np.pi, side), np.linspace(0, 2 * np.pi, side), indexing="ij")
    ball = 0.07 * np.stack(
        [np.sin(along) * np.cos(around), np.cos(along), np.sin(along) * np.sin(around)], axis=-1
    )
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    skin = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + side], axis=1),
            np.stack([corner + 1, corner + side + 1, corner + side], axis=1),
        ]
    )
    each = side * side
    owner = np.repeat(np.arange(len(FIGURE.names)), each)
    points = (FIGURE.heads[:, None] + ball.reshape(1, -1, 3)).reshape(-1, 3).astype(np.float32)
    faces = (skin + each * np.arange(len(FIGURE.names))[:, None, None]).reshape(-1, 3).astype(np.int32)
    asset = Asset("large", (Part("body", Mesh(points, faces), Material()),))
    document = GltfDocument(encode(asset, "glb")[0].data, MOST)
    character = read_character(document, MOST)
    count = len(character.vertices)
    joints, weights = np.zeros((count, 4), np.uint16), np.zeros((count, 4), np.float32)
    joints[:, 0], weights[:, 0] = owner, 1.0
    write_skin(document, character, write_skeleton(document, FIGURE), FIGURE.rest, Skin(joints, weights))
    (engine,) = engines()
    engine.load()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "large.glb")
        source.write_bytes(document.encode())
        given = {"motions": [SAMPLE[0]], "output_format": "glb"}
        inputs = (InputFile("mesh", source, "model/gltf-binary", source.name),)
        start, worked = time.perf_counter(), time.process_time()
        engine.run(EngineRequest("animate", given, inputs, Path(folder)), _quiet)
        return time.perf_counter() - start, time.process_time() - worked


def _quiet(stage: str, fraction: float, message: str = "", **more: Any) -> None:
    """Report to nobody."""


def main() -> int:
    """Measure the sample, print it and write the result."""
    if not METRICS.is_file() or not RIGS.is_dir():
        print("quality/animation: the rigs and measures are not here; nothing measured")
        return 0
    library, captured = [], []
    for name in SAMPLE:
        move = MOVES[name]
        take = take_of_motion(move.perform(FPS), loop=move.loop)
        library += [measure(take, rig, name) for rig in TARGETS]
    for name in CLIPS:
        path = CAPTURED / f"{name}.bvh"
        skeleton, clip = read_bvh(path.read_bytes(), max_seconds=600.0)
        take = take_of_clip(skeleton, clip, FPS)
        captured += [measure(take, rig, name, path) for rig in TARGETS]
    means = {
        "library": {key: _mean(library, key) for key in ("foot_skate_pct", "held_skate_pct", "seconds")},
        "captured": {
            key: _mean(captured, key)
            for key in ("foot_skate_pct", "held_skate_pct", "pose_err_deg", "seconds")
        },
    }
    resting = [measure_resting(rig, name) for name in RESTING for rig in TARGETS]
    beasts = [measure_beast(rig, name) for name in QUADRUPED_MOVES for rig in BEASTS]
    large, worked = (round(seconds, 2) for seconds in time_large(20_000))
    result = {
        "fps": FPS,
        "means": means,
        "seconds_20k": large,
        "processor_seconds_20k": worked,
        "library": library,
        "captured": captured,
        "resting": resting,
        "beasts": beasts,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"means": means, "seconds_20k": large, "processor_seconds_20k": worked}))
    return 0


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return round(statistics.fmean(row[key] for row in rows), 4)


if __name__ == "__main__":
    sys.exit(main())
