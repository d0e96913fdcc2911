"""The target of a retargeting: its bones, legs and axes, and how it does what a take does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from maquette.geometry.rig import Skeleton
from services.animation.motion.figure import FIGURE
from services.animation.retarget import floor
from services.animation.retarget.bone_map import SIDES, BoneMap
from services.animation.retarget.clip import placed
from services.animation.retarget.contacts import find_contacts
from services.animation.retarget.feet import Leg, bend_leg, give_way, leg_of, lock
from services.animation.retarget.flesh import Flesh, Heights, heights_of, heights_of_take, parts_of
from services.animation.retarget.frames import body_axes
from services.animation.retarget.take import Take, Vectors
from services.animation.retarget.transfer import Carried, carry_over
from services.animation.retarget.tree import path_down

_LEAST = 4e-3
"""Leg lengths under which a correction is left."""
_ROUNDS = 3
_SHORTEST_FOOT = 0.08
"""Leg lengths."""


@dataclass(frozen=True, slots=True)
class _Posed:
    """What was done: world rotations by joint, the hips' path, the hip joints' and ankles' paths."""

    turns: dict[int, Vectors]
    hips: Vectors
    joints: list[Vectors]
    ankles: list[Vectors]


class Body:
    """The target: its bones, legs and axes."""

    def __init__(
        self, skeleton: Skeleton, bones: BoneMap, ground: float | None, flesh: Flesh | None = None
    ) -> None:
        self.skeleton, self.bones, self.flesh = skeleton, bones, flesh
        self.axes = body_axes(skeleton, bones)
        up = self.axes[:, 1]
        lowest = float((skeleton.heads[list(bones.roles.values())] @ up).min())
        self.floor = lowest if ground is None else ground
        self.legs: tuple[Leg, ...] = tuple(
            leg_of(skeleton, bones, side, self.axes, self.floor, flesh) for side in SIDES
        )
        thighs = skeleton.heads[[leg.thigh for leg in self.legs]]
        self.hips = skeleton.heads[bones.hips]
        self.to_thighs = thighs - self.hips

    def perform(self, take: Take, source: BoneMap) -> tuple[dict[int, Vectors], Vectors, NDArray[np.bool_]]:
        """Return world rotations by joint, the path ``(t, 3)`` of the hips, and when feet stand."""
        standing = find_contacts(take, source, _leg_length(take.skeleton, source))
        posed = self._pose(take, source, standing, np.zeros(take.frames))
        if self.flesh is None:
            return posed.turns, posed.hips, standing
        scale = self._size / _leg_length(take.skeleton, source)
        theirs: Heights | None = None
        if take.skeleton is FIGURE:
            theirs = {part: scale * height for part, height in heights_of_take(take).items()}
        meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
        lift = floor.lift_of_body(meeting)
        raised = np.zeros(take.frames)
        for _ in range(_ROUNDS):
            if np.abs(lift).max() <= _LEAST * self._size:
                break
            raised = raised + lift
            posed = self._pose(take, source, standing, raised)
            meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
            # A knee beside a standing foot rises by less than the body does.
            lift = floor.lift_through(meeting)
        if self._level_feet(posed, meeting):
            meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
        self._place_limbs(posed, meeting)
        return posed.turns, posed.hips, standing

    @property
    def _size(self) -> float:
        return float(np.mean([leg.length for leg in self.legs]))

    def _meet(
        self,
        flesh: Flesh,
        theirs: Heights | None,
        posed: _Posed,
        standing: NDArray[np.bool_],
        fps: float,
    ) -> floor.Meeting:
        """Measure how high each part of the target is."""
        up = self.axes[:, 1]
        world = placed(self.skeleton, posed.turns, (self.bones.hips, posed.hips), self.carriers)
        parts = parts_of(self.skeleton, self.bones)
        heights = heights_of(flesh, parts, self.skeleton, world, up)
        ours = {part: height - self.floor for part, height in heights.items()}
        return floor.Meeting(theirs, ours, standing, self._size, fps)

    def _level_feet(self, posed: _Posed, meeting: floor.Meeting) -> bool:
        """Lift the toes of swinging feet whose tips pass through the floor, at most until they are level.

        Tells whether there were any.
        """
        changed = False
        up, front = self.axes[:, 1], self.axes[:, 2]
        for side, through in floor.lifts_of_feet(meeting).items():
            if f"{side}Toes" not in self.bones.roles:
                # A foot of one piece keeps its pitch, and is raised as a whole.
                continue
            leg = self.legs[SIDES.index(side)]
            turned = posed.turns[leg.foot] @ self.skeleton.rest[leg.foot, :3, :3].T
            pitch = np.arcsin(np.clip(-(turned @ front) @ up, -1.0, 1.0))
            reach = max(float(leg.ball @ front), _SHORTEST_FOOT * leg.length)
            angle = np.minimum(np.maximum(pitch, 0.0), through / reach)
            if angle.max(initial=0.0) < _LEAST:
                continue
            axis = turned @ self.axes[:, 0]
            lifted = Rotation.from_rotvec(-angle[:, None] * axis).as_matrix()
            for joint in {leg.foot, self.bones.roles.get(f"{side}Toes", leg.foot)} & set(posed.turns):
                posed.turns[joint] = lifted @ posed.turns[joint]
            changed = True
        return changed

    def _place_limbs(self, posed: _Posed, meeting: floor.Meeting) -> None:
        """Raise swinging feet that pass through the floor, and bring hands to it that carry."""
        up, front = self.axes[:, 1], self.axes[:, 2]
        for side, lift in floor.lifts_of_feet(meeting).items():
            if lift.max(initial=0.0) > _LEAST * self._size:
                leg = self.legs[SIDES.index(side)]
                meant = posed.ankles[SIDES.index(side)] + lift[:, None] * up
                bend_leg(leg, self.skeleton, posed.turns, posed.joints[SIDES.index(side)], meant, front)
        for side, lift in floor.lifts_of_hands(meeting).items():
            if np.abs(lift).max() > _LEAST * self._size:
                self._place_hand(side, lift, posed, meeting)

    def _place_hand(self, side: str, lift: Vectors, posed: _Posed, meeting: floor.Meeting) -> None:
        roles, skeleton = self.bones.roles, self.skeleton
        upper, lower = roles[f"{side}UpperArm"], roles[f"{side}LowerArm"]
        hand = roles.get(f"{side}Hand", roles.get(f"{side}Wrist"))
        if hand is None or not path_down(skeleton.parents, lower, hand):
            return
        heads, up = skeleton.heads, self.axes[:, 1]
        none = np.zeros(3)
        arm = Leg(
            upper,
            lower,
            hand,
            float(np.linalg.norm(heads[lower] - heads[upper])),
            float(np.linalg.norm(heads[hand] - heads[lower])),
            none,
            none,
            0.0,
        )
        shoulder = self._follow(posed, upper)
        wrist = shoulder + self._reach(arm, posed.turns)
        rests = floor.resting(meeting, f"{side}Hand")
        meant = wrist + lift[:, None] * up
        meant += floor.held(meant, rests, up, meeting)
        if hand not in posed.turns:
            # It keeps the way it points, or its fingers would go where they should not.
            posed.turns[hand] = posed.turns[lower] @ skeleton.local[hand, :3, :3]
        # An elbow that is straight bends backwards.
        bend_leg(arm, skeleton, posed.turns, shoulder, meant, -self.axes[:, 2])

    def _follow(self, posed: _Posed, joint: int) -> Vectors:
        """Return the path of a joint that hangs on the hips."""
        place, above = posed.hips, posed.turns[self.bones.hips]
        for link in path_down(self.skeleton.parents, self.bones.hips, joint)[1:]:
            place = place + above @ self.skeleton.local[link, :3, 3]
            above = posed.turns.get(link, above @ self.skeleton.local[link, :3, :3])
        return np.asarray(place)

    def _pose(self, take: Take, source: BoneMap, standing: NDArray[np.bool_], lift: Vectors) -> _Posed:
        """Pose the target with its body raised by ``lift (t,)``."""
        up = self.axes[:, 1]
        scale = self._size / _leg_length(take.skeleton, source)
        carried = carry_over(take, source, self.skeleton, self.bones, standing)
        turns = carried.turns
        middle, heights = self._scaled(take, source, carried, scale, standing)
        pelvis = turns[self.bones.hips] @ self.skeleton.rest[self.bones.hips, :3, :3].T
        hips = middle - pelvis @ self.to_thighs.mean(axis=0) + lift[:, None] * up
        joints, ankles = [], []
        for number, leg in enumerate(self.legs):
            hip = hips + pelvis @ self.to_thighs[number]
            would = hip + self._reach(leg, turns)
            turned = turns[leg.foot] @ self.skeleton.rest[leg.foot, :3, :3].T
            height = heights[:, number] + leg.ankle + self.floor
            rolls = take.planted is not None
            meant = lock(leg, would, height, turned, standing[:, number], self.axes, self.floor, rolls=rolls)
            joints.append(hip)
            ankles.append(meant)
        drop = give_way(self.legs, joints, ankles, up, take.fps)[:, None] * up
        joints = [hip - drop for hip in joints]
        for leg, hip, ankle in zip(self.legs, joints, ankles, strict=True):
            bend_leg(leg, self.skeleton, turns, hip, ankle, self.axes[:, 2])
        return _Posed(turns, np.asarray(hips - drop), joints, ankles)

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

    @property
    def carriers(self) -> dict[int, int]:
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
