"""Retargeting: what one body does, done by another of other proportions and any rest pose.

The method is described in docs/animation.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from maquette.geometry.rig import Clip, Skeleton
from services.animation.library.quadrupeds import QUADRUPED_MOVES
from services.animation.motion.quadruped import QUADRUPED
from services.animation.retarget import beast
from services.animation.retarget.body import Body
from services.animation.retarget.bone_map import BoneMap, NoHumanoid, map_bones
from services.animation.retarget.clip import build_clip
from services.animation.retarget.flesh import Flesh, flesh_of
from services.animation.retarget.four_legs import NoFourLegs, map_four_legs
from services.animation.retarget.frames import body_axes, leg_length
from services.animation.retarget.take import (
    Take,
    Vectors,
    check_fps,
    repeated,
    take_of_clip,
    take_of_motion,
)

__all__ = [
    "Flesh",
    "NoFourLegs",
    "NoHumanoid",
    "Retargeted",
    "Take",
    "check_fps",
    "flesh_of",
    "map_bones",
    "retarget",
    "take_of_clip",
    "take_of_motion",
]

_CALM = 0.5
"""Seconds over which the way of a motion that is no loop is smoothed to take it out."""
_RISES = 0.02
"""Leg lengths from which a round of a loop leads up or down."""


@dataclass(frozen=True, slots=True)
class Retargeted:
    """A clip of the target, and what is known of its feet.

    ``standing (t, 2)`` tells when the left and right foot are held where they stand; ``(t, 4)`` the
    paws of a body on four legs, left first, each side's back one first.
    """

    clip: Clip
    standing: NDArray[np.bool_]
    warnings: tuple[str, ...]


def retarget(
    take: Take,
    skeleton: Skeleton,
    *,
    name: str,
    in_place: bool = False,
    ground: float | None = None,
    flesh: Flesh | None = None,
) -> Retargeted:
    """Return the clip in which ``skeleton`` does what the take's skeleton does.

    ``ground`` is the height the target stands on, the lowest of its joints where it is not known.
    ``flesh`` is what its skin reaches to: known, nothing of it goes through the floor.
    ``in_place`` takes out the way that the body travels over the ground. Raises
    :class:`NoHumanoid` when either skeleton is no body with two arms and two legs, and
    :class:`NoFourLegs` when the motion is one on four legs and the skeleton is no body on four legs.
    """
    if take.skeleton is QUADRUPED:
        return _on_four_legs(take, skeleton, name=name, in_place=in_place)
    _check_two_legs(skeleton)
    source, target = map_bones(take.skeleton), map_bones(skeleton)
    frames = take.frames
    body = Body(skeleton, target, ground, flesh)
    climb = _climb(take, source)
    whole = repeated(_on_level(take, climb)) if take.loop and frames > 2 else take
    turns, hips, standing = body.perform(whole, source)
    if whole is not take:
        middle = slice(frames - 1, 2 * frames - 1)
        turns = {joint: turn[middle] for joint, turn in turns.items()}
        hips, standing = hips[middle], standing[middle]
        rise = float(np.linalg.norm(climb)) * np.sign(climb @ body_axes(take.skeleton, source)[:, 1])
        scale = body.size / leg_length(take.skeleton, source)
        hips = hips + np.linspace(0.0, 1.0, frames)[:, None] * (scale * rise) * body.axes[:, 1]
    if in_place:
        hips = _without_way(hips, body.axes[:, 1], take)
    times = np.arange(frames) / take.fps
    clip = build_clip(skeleton, name, times, turns, (target.hips, hips), body.carriers)
    return Retargeted(clip, standing, _warnings(source, target))


def _climb(take: Take, source: BoneMap) -> Vectors:
    """Return how far a round leads upwards, ``(3,)``; 0 where that is little more than rounding."""
    up = body_axes(take.skeleton, source)[:, 1]
    rise = float((take.points[-1, 0] - take.points[0, 0]) @ up)
    return np.asarray(up * (rise if abs(rise) > _RISES * leg_length(take.skeleton, source) else 0.0))


def _on_level(take: Take, climb: Vectors) -> Take:
    """Take an even climb out, so that all rounds of a stair are as far from the floor."""
    if not climb.any():
        return take
    risen = np.linspace(0.0, 1.0, take.frames)[:, None, None] * climb
    return replace(take, points=take.points - risen)


def _on_four_legs(take: Take, skeleton: Skeleton, *, name: str, in_place: bool) -> Retargeted:
    try:
        bones = map_four_legs(skeleton)
    except NoFourLegs as error:
        raise NoFourLegs(f"{error} The motion {name} is for four legs only.") from error
    frames = take.frames
    whole = repeated(take) if take.loop and frames > 2 else take
    clip, standing = beast.perform(whole, skeleton, bones, name)
    if whole is not take:
        middle = slice(frames - 1, 2 * frames - 1)
        places = {joint: path[middle] for joint, path in clip.translations.items()}
        clip = Clip(name, np.arange(frames) / take.fps, clip.rotations[middle], places)
        standing = standing[middle]
    if in_place:
        clip.translations[0][:] = _without_way(clip.translations[0], bones.axes[:, 1], take)
    return Retargeted(clip, standing, ())


def _check_two_legs(skeleton: Skeleton) -> None:
    try:
        map_four_legs(skeleton)
    except NoFourLegs:
        return
    raise NoHumanoid(
        "The skeleton goes on four legs, and the motion is that of a person. For a body on four legs there "
        f"are {', '.join(QUADRUPED_MOVES)}."
    )


def _warnings(source: BoneMap, target: BoneMap) -> tuple[str, ...]:
    told = []
    for bones, whose in ((source, "motion's"), (target, "model's")):
        if not bones.by_names:
            told.append(f"The names of the {whose} joints say little; its parts were told by its shape.")
    return tuple(told)


def _without_way(hips: Vectors, up: Vectors, take: Take) -> Vectors:
    """Take the way out: of a loop its even travel, else what is over the ground but quick sways."""
    if take.loop:
        # Stairs take a loop upwards as well.
        way = np.linspace(0.0, 1.0, len(hips))[:, None] * (hips[-1] - hips[0])
    else:
        flat = hips - (hips @ up)[:, None] * up
        way = gaussian_filter1d(flat, _CALM * take.fps, axis=0, mode="nearest")
        way -= way[0]
    return np.asarray(hips - way)
