"""From rotations in the world to a clip: what each joint does against its parent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from maquette.geometry.rig import Clip, Skeleton
from services.animation.retarget.take import Vectors
from services.animation.retarget.tree import path_down


def build_clip(
    skeleton: Skeleton,
    name: str,
    times: Vectors,
    turns: Mapping[int, Vectors],
    hips: tuple[int, Vectors],
    carriers: Mapping[int, int],
) -> Clip:
    """Return the clip: rotations against the parents, and the places of joints that travel.

    ``turns`` are world rotations ``(t, 3, 3)`` by joint; all others follow their parent. ``hips`` is
    the joint that is led along a path ``(t, 3)``. ``carriers`` are joints that hang elsewhere than
    on what moves them, and what that is.
    """
    turned, places = placed(skeleton, turns, hips, carriers)
    rotations = np.empty((len(times), len(skeleton.names), 4))
    translations: dict[int, Vectors] = {0: places[:, 0]}
    for joint, parent in enumerate(skeleton.parents.tolist()):
        turn = turned[:, joint] if parent < 0 else np.swapaxes(turned[:, parent], 1, 2) @ turned[:, joint]
        rotations[:, joint] = _steady(Rotation.from_matrix(turn).as_quat())
        if joint in carriers:
            back = np.swapaxes(turned[:, parent], 1, 2)
            translations[joint] = np.einsum("tij,tj->ti", back, places[:, joint] - places[:, parent])
    return Clip(name, times, rotations, translations)


def placed(
    skeleton: Skeleton, turns: Mapping[int, Vectors], hips: tuple[int, Vectors], carriers: Mapping[int, int]
) -> tuple[Vectors, Vectors]:
    """Return the joints' rotations ``(t, j, 3, 3)`` and places ``(t, j, 3)`` in the world.

    The arguments are those of :func:`build_clip`.
    """
    parents, local = skeleton.parents.tolist(), skeleton.local
    frames, count = len(hips[1]), len(parents)
    world, places = np.empty((frames, count, 3, 3)), np.empty((frames, count, 3))
    for joint, parent in enumerate(parents):
        above = world[:, parent] if parent >= 0 else np.tile(np.eye(3), (frames, 1, 1))
        world[:, joint] = turns.get(joint, above @ local[joint, :3, :3])
        if parent < 0:
            places[:, joint] = _root_path(skeleton, turns, *hips)
        else:
            places[:, joint] = places[:, parent] + above @ local[joint, :3, 3]
    # What carries a joint may come after it; what hangs on a carried joint goes with it.
    for joint, carrier in carriers.items():
        span = skeleton.rest[carrier, :3, :3].T @ (skeleton.heads[joint] - skeleton.heads[carrier])
        places[:, joint] = places[:, carrier] + world[:, carrier] @ span
    moved = set(carriers)
    for joint, parent in enumerate(parents):
        if parent in moved and joint not in carriers:
            places[:, joint] = places[:, parent] + world[:, parent] @ local[joint, :3, 3]
            moved.add(joint)
    return world, places


def _root_path(skeleton: Skeleton, turns: Mapping[int, Vectors], hips: int, led: Vectors) -> Vectors:
    """Return the path of the first joint that puts the hips on theirs.

    It travels, and not the hips on their own: bones between both keep their length.
    """
    chain = path_down(skeleton.parents, 0, hips)
    path = led.copy()
    above = np.tile(np.eye(3), (len(led), 1, 1))
    worlds = []
    for joint in chain:
        above = turns.get(joint, above @ skeleton.local[joint, :3, :3])
        worlds.append(above)
    for joint, world in zip(chain[1:], worlds, strict=False):
        path -= world @ skeleton.local[joint, :3, 3]
    return path


def _steady(quaternions: Vectors) -> Vectors:
    """Return the same rotations with signs that do not jump."""
    jumps = (quaternions[1:] * quaternions[:-1]).sum(axis=1) < 0
    signs = np.concatenate([[1.0], np.where(np.cumsum(jumps) % 2, -1.0, 1.0)])
    return np.asarray(quaternions * signs[:, None])
