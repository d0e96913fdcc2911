"""A figure on four legs, and how its legs meet the ground.

A dog of 0.6 m at the shoulder, its joints named as the rigs of bodies on four legs are. At rest
every joint's axes are the world's (+Y up, the face looks along +Z). Legs move in planes along the
body: two-bone inverse kinematics puts the paws, elbows bend backwards and knees forwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton

_MIDDLE = (
    ("hips", "", (0.0, 0.58, -0.35)),
    ("spine", "hips", (0.0, 0.02, 0.16)),
    ("chest", "spine", (0.0, -0.02, 0.19)),
    ("upperChest", "chest", (0.0, 0.0, 0.18)),
    ("neck1", "upperChest", (0.0, 0.06, 0.1)),
    ("neck2", "neck1", (0.0, 0.1, 0.08)),
    ("head", "neck2", (0.0, 0.09, 0.06)),
    ("tail1", "hips", (0.0, 0.02, -0.08)),
    ("tail2", "tail1", (0.0, -0.05, -0.11)),
    ("tail3", "tail2", (0.0, -0.07, -0.09)),
)
_SIDE = (
    ("FrontShoulder", "chest", (0.06, 0.02, 0.1)),
    ("FrontUpperLeg", "FrontShoulder", (0.03, -0.15, 0.08)),
    ("FrontLowerLeg", "FrontUpperLeg", (0.0, -0.14, -0.09)),
    ("FrontFoot", "FrontLowerLeg", (0.0, -0.27, 0.02)),
    ("BackHip", "hips", (0.05, -0.01, 0.0)),
    ("BackUpperLeg", "BackHip", (0.03, -0.05, 0.0)),
    ("BackLowerLeg", "BackUpperLeg", (0.0, -0.18, 0.09)),
    ("BackHock", "BackLowerLeg", (0.0, -0.16, -0.14)),
    ("BackFoot", "BackHock", (0.0, -0.14, 0.03)),
)
LEGS = ("leftBack", "leftFront", "rightBack", "rightFront")


def _build() -> Skeleton:
    names: list[str] = []
    parents: list[int] = []
    heads: list[NDArray[np.float64]] = []
    rows = list(_MIDDLE)
    own = {name for name, _, _ in _SIDE}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rows += [
            (side + name, side + parent if parent in own else parent, (sign * x, y, z))
            for name, parent, (x, y, z) in _SIDE
        ]
    for name, parent, offset in rows:
        above = names.index(parent) if parent else -1
        names.append(name)
        parents.append(above)
        heads.append(np.asarray(offset) + (heads[above] if parent else 0.0))
    rest = np.tile(np.eye(4), (len(names), 1, 1))
    rest[:, :3, 3] = heads
    return Skeleton(tuple(names), np.asarray(parents, dtype=np.int32), rest)


QUADRUPED: Skeleton = _build()
JOINTS: dict[str, int] = {name: index for index, name in enumerate(QUADRUPED.names)}
_OFFSETS = QUADRUPED.local[:, :3, 3]
_MOST_STRETCHED = 0.998
_LEAST_STRETCHED = 0.35


@dataclass(frozen=True, slots=True)
class Carriage:
    """How the body is held over time; every value ``(t,)``, degrees and metres.

    ``forward`` and ``up`` move the hips from their place at rest. The pitches turn their part
    nose down, ``look`` the head and ``wag`` the tail to the left.
    """

    forward: NDArray[np.float64]
    up: NDArray[np.float64]
    pitch: NDArray[np.float64]
    arch: NDArray[np.float64]
    neck: NDArray[np.float64]
    look: NDArray[np.float64]
    tail: NDArray[np.float64]
    wag: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QuadrupedMotion:
    """A motion of the four-legged figure at an even rate.

    ``rotations (t, j, 3, 3)`` turn each joint against its parent from rest, ``root (t, 3)`` is
    the place of the hips in metres, ``planted (t, 4)`` the paws that carry, in the order of
    ``LEGS``; ``points (t, j, 3)`` are the joints in the world.
    """

    fps: float
    rotations: NDArray[np.float64]
    root: NDArray[np.float64]
    planted: NDArray[np.bool_]
    points: NDArray[np.float64]


def solve(
    fps: float, body: Carriage, paws: NDArray[np.float64], hocks: NDArray[np.float64]
) -> QuadrupedMotion:
    """Pose the figure with its paws at ``paws (t, 4, 2)``, metres up and forward of their rest.

    ``hocks (t, 4)`` turn the back feet about the paw, degrees, heel up positive; front legs have none.
    """
    frames = len(body.up)
    pitch = np.zeros((frames, len(QUADRUPED.names)))
    yaw = np.zeros_like(pitch)
    for name, share in (("hips", -0.5), ("spine", 0.0), ("chest", 0.5), ("upperChest", 0.5)):
        pitch[:, JOINTS[name]] = body.pitch + share * body.arch
    for index, name in enumerate(("neck1", "neck2", "head")):
        pitch[:, JOINTS[name]] = body.pitch + body.neck * (index + 1) / 3.0
        yaw[:, JOINTS[name]] = body.look * (index + 1) / 3.0
    for index, name in enumerate(("tail1", "tail2", "tail3")):
        pitch[:, JOINTS[name]] = body.pitch + body.tail
        yaw[:, JOINTS[name]] = body.wag * (index + 1) / 3.0
    for side in ("left", "right"):
        pitch[:, JOINTS[f"{side}FrontShoulder"]] = body.pitch + 0.5 * body.arch
        pitch[:, JOINTS[f"{side}BackHip"]] = body.pitch - 0.5 * body.arch
    root = QUADRUPED.heads[0] + np.stack([np.zeros(frames), body.up, body.forward], axis=1)
    points = np.zeros((frames, len(QUADRUPED.names), 3))
    points[:, 0] = root
    chains = {f"{leg}UpperLeg": number for number, leg in enumerate(LEGS)}
    for joint in range(1, len(QUADRUPED.names)):
        above = int(QUADRUPED.parents[joint])
        points[:, joint] = points[:, above] + _turned(_OFFSETS[joint], pitch[:, above], yaw[:, above])
        number = chains.get(QUADRUPED.names[joint])
        if number is not None:
            _leg(LEGS[number], points[:, joint], paws[:, number], hocks[:, number], pitch)
    world = _matrix(pitch, yaw)
    local = world.copy()
    for joint in range(1, len(QUADRUPED.names)):
        local[:, joint] = np.swapaxes(world[:, QUADRUPED.parents[joint]], 1, 2) @ world[:, joint]
    return QuadrupedMotion(fps, local, root, _planted(paws, fps), points)


def _leg(
    leg: str,
    start: NDArray[np.float64],
    paw: NDArray[np.float64],
    hock: NDArray[np.float64],
    pitch: NDArray[np.float64],
) -> None:
    """Turn a leg's joints so that its paw is ``paw (t, 2)`` up and forward of its place at rest."""
    back = leg.endswith("Back")
    end = QUADRUPED.heads[JOINTS[f"{leg}Foot"], 1:] + paw
    if back:
        end = end - _turned(_OFFSETS[JOINTS[f"{leg}Foot"]], hock, 0.0 * hock)[:, 1:]
        pitch[:, JOINTS[f"{leg}Hock"]] = hock
    upper = _OFFSETS[JOINTS[f"{leg}LowerLeg"], 1:]
    lower = _OFFSETS[JOINTS[f"{leg}{'Hock' if back else 'Foot'}"], 1:]
    first, second = float(np.linalg.norm(upper)), float(np.linalg.norm(lower))
    span = end - start[:, 1:]
    reach = np.linalg.norm(span, axis=1).clip(
        _LEAST_STRETCHED * (first + second), _MOST_STRETCHED * (first + second)
    )
    inside = np.arccos(((first**2 + reach**2 - second**2) / (2 * first * reach)).clip(-1.0, 1.0))
    outside = np.arccos(((second**2 + reach**2 - first**2) / (2 * second * reach)).clip(-1.0, 1.0))
    along = np.arctan2(span[:, 1], span[:, 0])
    # Angles in the plane of up and forward; a leg hangs at 180°, so less is further forward.
    towards = -1.0 if back else 1.0
    for joint, offset, angle in (
        ("UpperLeg", upper, along + towards * inside),
        ("LowerLeg", lower, along - towards * outside),
    ):
        turn = np.degrees(angle - np.arctan2(offset[1], offset[0]))
        pitch[:, JOINTS[f"{leg}{joint}"]] = (turn + 180.0) % 360.0 - 180.0


def _planted(paws: NDArray[np.float64], fps: float) -> NDArray[np.bool_]:
    way = np.abs(np.diff(paws[..., 1], axis=0)) * fps
    speed = np.maximum(np.concatenate([way, way[-1:]]), np.concatenate([way[:1], way]))
    return np.asarray((paws[..., 0] < 0.01) & (speed < 0.1))


def _matrix(pitch: NDArray[np.float64], yaw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return yaw after pitch, ``(…, 3, 3)``; pitch turns up to forward, which is nose down."""
    down, left = np.radians(pitch), np.radians(yaw)
    cos, sin, zero, one = np.cos(down), np.sin(down), np.zeros_like(down), np.ones_like(down)
    nod = np.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=-1)
    cos, sin = np.cos(left), np.sin(left)
    turn = np.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], axis=-1)
    shape = (*down.shape, 3, 3)
    return np.asarray(turn.reshape(shape) @ nod.reshape(shape))


def _turned(
    offset: NDArray[np.float64], pitch: NDArray[np.float64], yaw: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(_matrix(pitch, yaw) @ offset)
