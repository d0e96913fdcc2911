"""Retargeting: what one body does, done by another of other proportions and any rest pose.

The method is described in docs/animation.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from maquette.geometry.rig import Clip, Skeleton
from services.animation.retarget.bone_map import SIDES, BoneMap, NoHumanoid, map_bones
from services.animation.retarget.contacts import find_contacts
from services.animation.retarget.feet import Leg, bend_leg, give_way, leg_of, lock
from services.animation.retarget.frames import body_axes
from services.animation.retarget.take import (
    Take,
    Vectors,
    check_fps,
    repeated,
    take_of_clip,
    take_of_motion,
)
from services.animation.retarget.transfer import Carried, carry_over
from services.animation.retarget.tree import path_down

__all__ = [
    "NoHumanoid",
    "Retargeted",
    "Take",
    "check_fps",
    "map_bones",
    "retarget",
    "take_of_clip",
    "take_of_motion",
]

_CALM = 0.5
"""Seconds over which the way of a motion that is no loop is smoothed to take it out."""
_STILL = 1e-5
"""Share of the leg that a joint may stray from its place at rest and count as in place."""


@dataclass(frozen=True, slots=True)
class Retargeted:
    """A clip of the target, and what is known of its feet.

    ``standing (t, 2)`` tells when the left and right foot are held where they stand.
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
) -> Retargeted:
    """Return the clip in which ``skeleton`` does what the take's skeleton does.

    ``ground`` is the height the target stands on, the lowest of its joints where it is not known.
    ``in_place`` takes out the way that the body travels over the ground. Raises
    :class:`NoHumanoid` when either skeleton is no body with two arms and two legs.
    """
    source, target = map_bones(take.skeleton), map_bones(skeleton)
    frames = take.frames
    whole = repeated(take) if take.loop and frames > 2 else take
    body = _Body(skeleton, target, ground)
    turns, hips, standing = body.perform(whole, source)
    if whole is not take:
        middle = slice(frames - 1, 2 * frames - 1)
        turns = {joint: turn[middle] for joint, turn in turns.items()}
        hips, standing = hips[middle], standing[middle]
    if in_place:
        hips = _without_way(hips, body.axes[:, 1], take)
    clip = body.clip(name, np.arange(frames) / take.fps, turns, hips)
    return Retargeted(clip, standing, _warnings(source, target))


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


class _Body:
    """The target: its bones, legs and axes."""

    def __init__(self, skeleton: Skeleton, bones: BoneMap, ground: float | None) -> None:
        self.skeleton, self.bones = skeleton, bones
        self.axes = body_axes(skeleton, bones)
        up = self.axes[:, 1]
        floor = float((skeleton.heads[list(bones.roles.values())] @ up).min()) if ground is None else ground
        self.legs: tuple[Leg, ...] = tuple(leg_of(skeleton, bones, side, self.axes, floor) for side in SIDES)
        self.floor = floor
        thighs = skeleton.heads[[leg.thigh for leg in self.legs]]
        self.hips = skeleton.heads[bones.hips]
        self.to_thighs = thighs - self.hips

    def perform(self, take: Take, source: BoneMap) -> tuple[dict[int, Vectors], Vectors, NDArray[np.bool_]]:
        """Return world rotations by joint, the path ``(t, 3)`` of the hips, and when feet stand."""
        up = self.axes[:, 1]
        their_leg = _leg_length(take.skeleton, source)
        scale = float(np.mean([leg.length for leg in self.legs])) / their_leg
        standing = find_contacts(take, source, their_leg)
        carried = carry_over(take, source, self.skeleton, self.bones, standing)
        turns = carried.turns
        middle, heights = self._scaled(take, source, carried, scale, standing)
        pelvis = turns[self.bones.hips] @ self.skeleton.rest[self.bones.hips, :3, :3].T
        hips = middle - pelvis @ self.to_thighs.mean(axis=0)
        joints, ankles = [], []
        for number, leg in enumerate(self.legs):
            hip = hips + pelvis @ self.to_thighs[number]
            would = hip + self._reach(leg, turns)
            turned = turns[leg.foot] @ self.skeleton.rest[leg.foot, :3, :3].T
            height = heights[:, number] + leg.ankle + self.floor
            rolls = take.planted is not None
            meant = lock(leg, would, height, turned, standing[:, number], self.axes, rolls=rolls)
            joints.append(hip)
            ankles.append(meant)
        drop = give_way(self.legs, joints, ankles, up, take.fps)[:, None] * up
        for leg, hip, ankle in zip(self.legs, joints, ankles, strict=True):
            bend_leg(leg, self.skeleton, turns, hip - drop, ankle, self.axes[:, 2])
        return turns, np.asarray(hips - drop), standing

    def _reach(self, leg: Leg, turns: dict[int, Vectors]) -> Vectors:
        heads, rest = self.skeleton.heads, self.skeleton.rest[:, :3, :3]
        bones = ((leg.thigh, leg.shin), (leg.shin, leg.foot))
        return np.asarray(sum(turns[a] @ rest[a].T @ (heads[b] - heads[a]) for a, b in bones))

    def _scaled(
        self, take: Take, source: BoneMap, carried: Carried, scale: float, standing: NDArray[np.bool_]
    ) -> tuple[Vectors, Vectors]:
        """Return the middle of the hip joints ``(t, 3)`` in the target's world and the ankles' heights.

        The way begins where the target stands; heights ``(t, 2)`` are over those at rest.
        """
        up = self.axes[:, 1]
        names = [f"{side}{part}" for part in ("Foot", "UpperLeg") for side in SIDES]
        points = take.points[:, [source.roles[name] for name in names]] @ carried.across.T
        low = _standing_height(points[:, :2] @ up, standing, take, source, carried)
        # Motions of our own figure begin where they were made to, captured ones wherever they were shot.
        start = points[0, 2:].mean(axis=0)
        if take.planted is not None:
            thighs = [source.roles[f"{side}UpperLeg"] for side in SIDES]
            start = carried.across @ take.skeleton.heads[thighs].mean(axis=0)
        origin = start - up * (start @ up) + up * low
        points = (points - origin) * scale
        rest = self.hips + self.to_thighs.mean(axis=0)
        ankle = float(np.mean([leg.ankle for leg in self.legs]))
        points += rest - up * (rest @ up) + up * (self.floor + ankle)
        heights = points[:, :2] @ up - (self.floor + ankle)
        return points[:, 2:].mean(axis=1), heights

    def clip(self, name: str, times: Vectors, turns: dict[int, Vectors], hips: Vectors) -> Clip:
        """Return the clip: rotations against the parents, and the places of joints that travel."""
        skeleton, parents = self.skeleton, self.skeleton.parents.tolist()
        frames, count = len(times), len(parents)
        local = skeleton.local
        world = np.empty((frames, count, 3, 3))
        rotations = np.empty((frames, count, 4))
        places = np.empty((frames, count, 3))
        translations: dict[int, Vectors] = {0: self._root_path(turns, hips)}
        carriers = self._carriers()
        for joint, parent in enumerate(parents):
            above = world[:, parent] if parent >= 0 else np.tile(np.eye(3), (frames, 1, 1))
            world[:, joint] = turns.get(joint, above @ local[joint, :3, :3])
            turn = np.swapaxes(above, 1, 2) @ world[:, joint]
            rotations[:, joint] = _steady(Rotation.from_matrix(turn).as_quat())
            if parent < 0:
                places[:, joint] = translations[0]
                continue
            places[:, joint] = places[:, parent] + above @ local[joint, :3, 3]
        for joint, carrier in carriers.items():
            span = skeleton.heads[joint] - skeleton.heads[carrier]
            turned = world[:, carrier] @ skeleton.rest[carrier, :3, :3].T
            meant = places[:, carrier] + turned @ span
            parent = parents[joint]
            back = np.swapaxes(world[:, parent], 1, 2)
            translations[joint] = np.einsum("tij,tj->ti", back, meant - places[:, parent])
        return Clip(name, times, rotations, translations)

    def _root_path(self, turns: dict[int, Vectors], hips: Vectors) -> Vectors:
        """Return the path of the first joint that puts the hips on theirs.

        It travels, and not the hips on their own: bones between both keep their length.
        """
        chain = path_down(self.skeleton.parents, 0, self.bones.hips)
        path = hips.copy()
        above = np.tile(np.eye(3), (len(hips), 1, 1))
        worlds = []
        for joint in chain:
            above = turns.get(joint, above @ self.skeleton.local[joint, :3, :3])
            worlds.append(above)
        for joint, world in zip(chain[1:], worlds, strict=False):
            path -= world @ self.skeleton.local[joint, :3, 3]
        return path

    def _carriers(self) -> dict[int, int]:
        """Return feet that hang elsewhere than on their shins, and those shins."""
        return {
            leg.foot: leg.shin
            for leg in self.legs
            if not path_down(self.skeleton.parents, leg.shin, leg.foot)
        }


def _leg_length(skeleton: Skeleton, bones: BoneMap) -> float:
    heads, roles = skeleton.heads, bones.roles
    chains = [[roles[f"{side}{part}"] for part in ("UpperLeg", "LowerLeg", "Foot")] for side in SIDES]
    return float(np.mean([np.linalg.norm(np.diff(heads[chain], axis=0), axis=1).sum() for chain in chains]))


def _standing_height(
    heights: Vectors, standing: NDArray[np.bool_], take: Take, source: BoneMap, carried: Carried
) -> float:
    """Return the height of the source's ankles when they stand, in the target's directions."""
    if take.planted is not None:
        feet = [source.roles[f"{side}Foot"] for side in SIDES]
        rest = take.skeleton.heads[feet] @ carried.across.T
        up = body_axes(take.skeleton, source)[:, 1] @ carried.across.T
        return float((rest @ up).mean())
    if standing.any():
        return float(np.median(heights[standing]))
    return float(np.percentile(heights, 5))


def _steady(quaternions: Vectors) -> Vectors:
    """Return the same rotations with signs that do not jump."""
    jumps = (quaternions[1:] * quaternions[:-1]).sum(axis=1) < 0
    signs = np.concatenate([[1.0], np.where(np.cumsum(jumps) % 2, -1.0, 1.0)])
    return np.asarray(quaternions * signs[:, None])
