"""A take: one motion of any skeleton in the world, at an even rate, ready to be taken over by another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip, Skeleton
from services.animation.motion.figure import FIGURE
from services.animation.motion.pose import Motion, place_joints
from services.animation.motion.quadruped import QUADRUPED, QuadrupedMotion

Vectors = NDArray[np.float64]
LEAST_FPS, MOST_FPS = 1.0, 240.0
MOST_SECONDS = 600.0
_MOST_FRAMES = 72_000


@dataclass(frozen=True, slots=True)
class Take:
    """``turns (t, j, 3, 3)`` and ``points (t, j, 3)``: the joints' rotations and places in the world.

    ``planted (t, 2)`` tells when the left and right foot carry weight, None where nobody knows; of the
    figure on four legs ``(t, 4)``, in the order of its legs.
    ``skeleton`` is in its rest pose. ``loop`` means that the last pose is the first again, moved on.
    """

    skeleton: Skeleton
    fps: float
    turns: Vectors
    points: Vectors
    planted: NDArray[np.bool_] | None = None
    loop: bool = False

    @property
    def frames(self) -> int:
        """How many poses."""
        return len(self.points)


def check_fps(fps: float) -> None:
    """Raise :class:`MeshError` for a rate that no clip is made at."""
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise MeshError(f"Clips are made at {LEAST_FPS:g} to {MOST_FPS:g} frames per second, not {fps:g}.")


def take_of_motion(motion: Motion | QuadrupedMotion, *, loop: bool) -> Take:
    """Return a motion of one of our own figures as a take."""
    if isinstance(motion, QuadrupedMotion):
        turns = motion.rotations.copy()
        for joint in range(1, len(QUADRUPED.names)):
            turns[:, joint] = turns[:, QUADRUPED.parents[joint]] @ motion.rotations[:, joint]
        return Take(QUADRUPED, motion.fps, turns, motion.points, motion.planted, loop)
    points, turns = place_joints(motion)
    return Take(FIGURE, motion.fps, turns, points, motion.planted, loop)


def take_of_clip(skeleton: Skeleton, clip: Clip, fps: float) -> Take:
    """Sample a clip at an even rate: rotations by slerp, places linearly.

    Raises :class:`MeshError` for a rate out of range and for a clip that is too long.
    """
    check_fps(fps)
    if clip.seconds > MOST_SECONDS:
        raise MeshError(
            f"The clip is {clip.seconds:.0f} seconds long; at most {MOST_SECONDS:.0f} can be used."
        )
    # A small excess over a whole frame is rounding, not another frame.
    frames = int(np.floor(clip.seconds * fps + 1e-3)) + 1
    if frames > _MOST_FRAMES:
        raise MeshError(f"The clip would have {frames:,} frames; at most {_MOST_FRAMES:,} can be used.")
    times = np.minimum(clip.times[0] + np.arange(frames) / fps, clip.times[-1])
    local = _sampled_turns(clip, times)
    count = len(skeleton.names)
    rest = skeleton.local
    turns, points = np.empty((frames, count, 3, 3)), np.empty((frames, count, 3))
    for joint, parent in enumerate(skeleton.parents.tolist()):
        place = np.tile(rest[joint, :3, 3], (frames, 1))
        if joint in clip.translations:
            path = clip.translations[joint]
            place = np.stack([np.interp(times, clip.times, path[:, axis]) for axis in range(3)], axis=1)
        if parent < 0:
            turns[:, joint], points[:, joint] = local[:, joint], place
            continue
        turns[:, joint] = turns[:, parent] @ local[:, joint]
        points[:, joint] = points[:, parent] + np.einsum("tij,tj->ti", turns[:, parent], place)
    return Take(skeleton, fps, turns, points)


def _sampled_turns(clip: Clip, times: Vectors) -> Vectors:
    frames, count = len(times), clip.rotations.shape[1]
    if len(clip.times) == 1:
        return np.tile(Rotation.from_quat(clip.rotations[0]).as_matrix(), (frames, 1, 1, 1))
    turns = np.empty((frames, count, 3, 3))
    for joint in range(count):
        turns[:, joint] = Slerp(clip.times, Rotation.from_quat(clip.rotations[:, joint]))(times).as_matrix()
    return turns


def repeated(take: Take) -> Take:
    """Return three rounds of a loop, each moved on by what the one before has travelled.

    The middle round begins at frame ``take.frames - 1``.
    """
    period = take.frames - 1
    turn = take.turns[-1, 0] @ take.turns[0, 0].T
    shift = take.points[-1, 0] - turn @ take.points[0, 0]
    back, back_shift = turn.T, -turn.T @ shift
    turns = [back @ take.turns[:period], take.turns[:period], turn @ take.turns]
    points = [
        take.points[:period] @ back.T + back_shift,
        take.points[:period],
        take.points @ turn.T + shift,
    ]
    planted = None
    if take.planted is not None:
        planted = np.concatenate([take.planted[:period], take.planted[:period], take.planted])
    return Take(take.skeleton, take.fps, np.concatenate(turns), np.concatenate(points), planted)
