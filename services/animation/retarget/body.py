"""The target of a retargeting: its bones, legs and axes, and how it does what a take does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton
from services.animation.motion.figure import FIGURE
from services.animation.retarget import floor
from services.animation.retarget.bone_map import SIDES, BoneMap
from services.animation.retarget.clip import placed
from services.animation.retarget.contacts import Contacts, find_contacts, whole_soles
from services.animation.retarget.feet import Leg, bend_leg, give_way, leg_of, lock, step_clear
from services.animation.retarget.flesh import Flesh, Heights, heights_of, heights_of_take, parts_of
from services.animation.retarget.frames import body_axes, leg_length, unit
from services.animation.retarget.hands import arms_of, bend_elbow
from services.animation.retarget.proportions import (
    calmed,
    levelled,
    rolled_less,
    smoothstep,
    swayed_less,
    toes_less,
    upright,
)
from services.animation.retarget.take import Take, Vectors
from services.animation.retarget.transfer import Carried, carry_over
from services.animation.retarget.tree import path_down

_LEAST = 4e-3
"""Leg lengths under which a correction is left."""
_CLEAR = 0.03
"""Share of the height that a foot clears the floor by where it steps: less looks like sliding."""
_NEAR = 0.2
"""Leg lengths up to which the ankle of a stepping foot is as high as it is meant to."""
_MOST_STEP = 0.06
"""Leg lengths by which it is at most raised or lowered to that end."""
_ROUNDS = 3


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
        self._parts = parts_of(skeleton, bones)
        self.arms = arms_of(skeleton, bones, self._parts, flesh)
        thighs = skeleton.heads[[leg.thigh for leg in self.legs]]
        self.hips = skeleton.heads[bones.hips]
        self._tall = float(np.ptp(skeleton.heads @ up))
        self.to_thighs = thighs - self.hips

    def perform(self, take: Take, source: BoneMap) -> tuple[dict[int, Vectors], Vectors, NDArray[np.bool_]]:
        """Return world rotations by joint, the path ``(t, 3)`` of the hips, and when feet stand."""
        contacts = find_contacts(take, source, leg_length(take.skeleton, source))
        standing = contacts.standing
        carried = carry_over(take, source, self.skeleton, self.bones, standing)
        self._fit(take, source, carried, contacts)
        posed = self._pose(take, source, carried, contacts, np.zeros(take.frames))
        if self.flesh is None:
            return posed.turns, posed.hips, standing
        scale = self.size / leg_length(take.skeleton, source)
        theirs: Heights | None = None
        if take.skeleton is FIGURE:
            theirs = {part: scale * height for part, height in heights_of_take(take).items()}
        meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
        if self._bend_elbows(carried, posed, meeting):
            meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
        lift = floor.lift_of_body(meeting)
        raised = np.zeros(take.frames)
        for _ in range(_ROUNDS):
            if np.abs(lift).max() <= _LEAST * self.size:
                break
            raised = raised + lift
            posed = self._pose(take, source, carried, contacts, raised)
            meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
            # A knee beside a standing foot rises by less than the body does.
            lift = floor.lift_through(meeting)
        if self._level_feet(posed, meeting):
            meeting = self._meet(self.flesh, theirs, posed, standing, take.fps)
        self._place_limbs(posed, meeting)
        return posed.turns, posed.hips, standing

    def _fit(self, take: Take, source: BoneMap, carried: Carried, contacts: Contacts) -> None:
        """Fit what the pelvis and the feet are turned by to the target's proportions."""
        turns, rest = carried.turns, self.skeleton.rest[:, :3, :3]
        scale = self.size / leg_length(take.skeleton, source)
        _, heights = self._scaled(take, source, carried, scale, contacts.standing)
        if take.planted is None:
            for number, leg in enumerate(self.legs):
                for joint in {leg.foot, self.bones.roles.get(f"{SIDES[number]}Toes", leg.foot)} & set(turns):
                    calm = calmed(turns[joint] @ rest[joint].T, contacts.standing[:, number], take.fps)
                    turns[joint] = calm @ rest[joint]
        for number, leg in enumerate(self.legs):
            turned = turns[leg.foot] @ rest[leg.foot].T
            # What stands is on the ground, however it was measured.
            stands = contacts.standing[:, number, None]
            ends = np.where(stands, 0.0, contacts.heights[:, number] * leg.length)
            shin = self._shin(leg, turns)
            less = rolled_less(turned, leg, heights[:, number], ends, shin, self.axes, take.fps)
            turns[leg.foot] = less @ rest[leg.foot]
            toes = self.bones.roles.get(f"{SIDES[number]}Toes")
            if toes in turns and leg.toes > 0.0:
                tip = toes_less(turns[toes] @ rest[toes].T, leg, less, heights[:, number], self.axes)
                turns[toes] = tip @ rest[toes]
        ratio = _hip_width(take.skeleton, source) / _hip_width(self.skeleton, self.bones)
        hips = self.bones.hips
        turned = swayed_less(turns[hips] @ rest[hips].T, ratio, self.axes, take.fps)
        turns[hips] = turned @ rest[hips]

    def _shin(self, leg: Leg, turns: dict[int, Vectors]) -> Vectors:
        """Return where a shin points, ``(t, 3)``."""
        turned = turns[leg.shin] @ self.skeleton.rest[leg.shin, :3, :3].T
        return np.asarray(turned @ unit(self._bone(leg.shin, leg.foot)))

    def _bone(self, above: int, below: int) -> Vectors:
        return np.asarray(self.skeleton.heads[below] - self.skeleton.heads[above])

    @property
    def size(self) -> float:
        """Return how long the legs are."""
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
        heights = heights_of(flesh, self._parts, self.skeleton, world, up)
        ours = {part: height - self.floor for part, height in heights.items()}
        return floor.Meeting(theirs, ours, standing, self.size, fps)

    def _level_feet(self, posed: _Posed, meeting: floor.Meeting) -> bool:
        """Lift the toes of swinging feet whose tips pass through the floor, at most until they are level.

        Tells whether there were any.
        """
        changed = False
        for side, through in floor.lifts_of_feet(meeting).items():
            if not through.any():
                continue
            leg = self.legs[SIDES.index(side)]
            rest = self.skeleton.rest[:, :3, :3]
            turned = posed.turns[leg.foot] @ rest[leg.foot].T
            flat = levelled(turned, leg, through, self._shin(leg, posed.turns), self.axes)
            lifted = flat @ np.swapaxes(turned, 1, 2)
            for joint in {leg.foot, self.bones.roles.get(f"{side}Toes", leg.foot)} & set(posed.turns):
                posed.turns[joint] = lifted @ posed.turns[joint]
            changed = True
        return changed

    def _place_limbs(self, posed: _Posed, meeting: floor.Meeting) -> None:
        """Raise swinging feet that pass through the floor, and bring hands to it that carry."""
        up, front = self.axes[:, 1], self.axes[:, 2]
        for side, lift in floor.lifts_of_feet(meeting).items():
            if lift.max(initial=0.0) > _LEAST * self.size:
                leg = self.legs[SIDES.index(side)]
                meant = posed.ankles[SIDES.index(side)] + lift[:, None] * up
                bend_leg(leg, self.skeleton, posed.turns, posed.joints[SIDES.index(side)], meant, front)
        for side, lift in floor.lifts_of_hands(meeting).items():
            if np.abs(lift).max() > _LEAST * self.size:
                self._place_hand(side, lift, posed, meeting)

    def _bend_elbows(self, carried: Carried, posed: _Posed, meeting: floor.Meeting) -> bool:
        """Bend the elbows of arms that pass through the floor; tell whether there were any."""
        changed = False
        for side, through in floor.depths_of_arms(meeting).items():
            arm = self.arms.get(side)
            if arm is not None and through.max() > _LEAST * self.size:
                elbow = self._follow(posed, arm.joints[1]) @ self.axes[:, 1] - self.floor
                bend_elbow(self.skeleton, carried.turns, arm, through, elbow, self.axes, meeting.fps)
                posed.turns.update({joint: carried.turns[joint] for joint in arm.below & set(carried.turns)})
                changed = True
        return changed

    def _place_hand(self, side: str, lift: Vectors, posed: _Posed, meeting: floor.Meeting) -> None:
        arm = self.arms.get(side)
        if arm is None:
            return
        skeleton, up = self.skeleton, self.axes[:, 1]
        upper, lower, hand = arm.joints
        bones = arm.as_leg()
        shoulder = self._follow(posed, upper)
        wrist = shoulder + self._reach(bones, posed.turns)
        rests = floor.resting(meeting, f"{side}Hand")
        meant = wrist + lift[:, None] * up
        meant += floor.held(meant, rests, up, meeting)
        if hand not in posed.turns:
            # It keeps the way it points, or its fingers would go where they should not.
            posed.turns[hand] = posed.turns[lower] @ skeleton.local[hand, :3, :3]
        # An elbow that is straight bends backwards.
        bend_leg(bones, skeleton, posed.turns, shoulder, meant, -self.axes[:, 2])

    def _follow(self, posed: _Posed, joint: int) -> Vectors:
        """Return the path of a joint that hangs on the hips."""
        place, above = posed.hips, posed.turns[self.bones.hips]
        for link in path_down(self.skeleton.parents, self.bones.hips, joint)[1:]:
            place = place + above @ self.skeleton.local[link, :3, 3]
            above = posed.turns.get(link, above @ self.skeleton.local[link, :3, :3])
        return np.asarray(place)

    def _pose(
        self, take: Take, source: BoneMap, carried: Carried, contacts: Contacts, lift: Vectors
    ) -> _Posed:
        """Pose the target with its body raised by ``lift (t,)``."""
        up = self.axes[:, 1]
        scale = self.size / leg_length(take.skeleton, source)
        turns = dict(carried.turns)
        middle, heights = self._scaled(take, source, carried, scale, contacts.standing)
        pelvis = turns[self.bones.hips] @ self.skeleton.rest[self.bones.hips, :3, :3].T
        hips = middle - pelvis @ self.to_thighs.mean(axis=0) + lift[:, None] * up
        joints, ankles = [], []
        for number, leg in enumerate(self.legs):
            hip = hips + pelvis @ self.to_thighs[number]
            would = hip + self._reach(leg, turns)
            turned = turns[leg.foot] @ self.skeleton.rest[leg.foot, :3, :3].T
            height = heights[:, number] + leg.ankle + self.floor
            over = heights[:, number] / leg.length
            steps = upright(self._shin(leg, turns), self.axes) * (1.0 - smoothstep((over - _NEAR) / _NEAR))
            missing = np.clip(height - would @ up, -_MOST_STEP * leg.length, _MOST_STEP * leg.length)
            would = would + (steps * missing)[:, None] * up
            stands, on = contacts.standing[:, number], contacts.on[:, number]
            sole = contacts.heights[:, number].min(axis=1) * leg.length
            meant = lock(leg, would, turned, stands, on, sole, self.axes, self.floor)
            base = self.floor + leg.ankle
            clear = _CLEAR * self._tall
            rise = step_clear(meant, stands, leg.length, clear, base, up, take.fps)
            meant = meant + rise[:, None] * up
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


def _hip_width(skeleton: Skeleton, bones: BoneMap) -> float:
    """Return how far the hip joints are apart, in lengths of the leg."""
    left, right = (skeleton.heads[bones.roles[f"{side}UpperLeg"]] for side in SIDES)
    return float(np.linalg.norm(left - right)) / leg_length(skeleton, bones)


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
        legs = leg_length(take.skeleton, source)
        return float(np.median(heights[whole_soles(heights, standing, legs)]))
    return float(np.percentile(heights, 5))
