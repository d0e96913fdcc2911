"""From channels to joint rotations: forward angles for the body, two-bone IK for feet and hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.animation.motion.channels import INDEX
from services.animation.motion.figure import ANKLE, ARM, FIGURE, FOREARM, JOINTS, LEG, SHIN, THIGH, UPPER_ARM
from services.animation.motion.limbs import (
    Points,
    Rotations,
    arm_frame,
    blend,
    blend_limb,
    evened,
    leg_frame,
    turned,
    two_bones,
)

_SPINE_SHARE = {"spine": 0.3, "chest": 0.35, "upperChest": 0.35}
_NECK_SHARE = {"neck": 0.4, "head": 0.6}
_SIDES = (("left", "l", 1.0), ("right", "r", -1.0))
_FINGERS = ("Index", "Middle", "Ring", "Little")
_CURL = {"Proximal": 75.0, "Intermediate": 95.0, "Distal": 60.0}
_LOCAL = FIGURE.local[:, :3, 3]
"""Joints from their parents in the rest pose, metres."""
_BALL = _LOCAL[JOINTS["leftToes"]]
_HEEL = np.array([0.0, -ANKLE, -0.05])
"""Where a foot turns on the ground, from its ankle, metres."""
_NEAR_GROUND = 0.06
"""Ankle height over standing, leg lengths, above which the toes are free of the ground."""
_TOES_FOLLOW = 0.05
"""Seconds before and after the toes leave the ground over which they straighten."""
_ARM_EASES, _LEG_EASES = 0.02, 0.1
"""Share of its length over which a limb in the air slows down before it is straight."""

_STANDING = 0.012
"""Ankle height over standing, leg lengths, up to which a foot carries."""
_FOOT = 0.16
"""Ankle to ball, leg lengths: what a turning foot sweeps."""
_SLOWEST_STEP = 0.12
"""Leg lengths a second; a foot that moves faster is not planted."""


@dataclass(frozen=True, slots=True)
class Motion:
    """A motion of the figure at an even rate.

    ``rotations (t, j, 3, 3)`` turn each joint against its parent from the T-pose, ``root (t, 3)``
    is the place of the hips in leg lengths, ``planted (t, 2)`` tells whether the left and right
    foot carry weight at that moment.
    """

    fps: float
    rotations: Rotations
    root: Points
    planted: NDArray[np.bool_]

    @property
    def seconds(self) -> float:
        """Duration from the first to the last pose."""
        return (len(self.root) - 1) / self.fps


def about(axis: int, degrees: NDArray[np.float64]) -> Rotations:
    """Return rotations ``(…, 3, 3)`` about a coordinate axis by ``degrees (…)``, right-handed."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.zeros((*angle.shape, 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = cos
    matrix[..., first, second] = -sin
    matrix[..., second, first] = sin
    return matrix


def solve(channels: NDArray[np.float64], fps: float) -> Motion:
    """Pose the figure at every row of ``channels (t, c)``."""
    return _Solver(channels, fps).solve()


def posed(channels: NDArray[np.float64], fps: float) -> tuple[Points, Rotations]:
    """Return where the joints are and their world rotations, as ``place_joints`` of the solved motion."""
    solver = _Solver(channels, fps)
    solver.solve()
    return solver.points, solver.world


def hip_reach(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each hip joint is from its ankle's target, ``(t, 2)`` leg lengths, left first."""
    solver = _Solver(channels)
    solver.pelvis()
    return np.stack([solver.ankle(*row)[0] for row in _SIDES], axis=1)


def place_joints(motion: Motion) -> tuple[Points, Rotations]:
    """Return where the joints are, ``(t, j, 3)`` metres, and their world rotations ``(t, j, 3, 3)``."""
    count = len(FIGURE.names)
    points = np.empty((len(motion.root), count, 3))
    turns = np.empty((len(motion.root), count, 3, 3))
    points[:, 0], turns[:, 0] = motion.root * LEG, motion.rotations[:, 0]
    for joint in range(1, count):
        above = FIGURE.parents[joint]
        points[:, joint] = points[:, above] + turns[:, above] @ _LOCAL[joint]
        turns[:, joint] = turns[:, above] @ motion.rotations[:, joint]
    return points, turns


class _Solver:
    def __init__(self, channels: NDArray[np.float64], fps: float = 1.0) -> None:
        self.channels, self.fps = channels, fps
        self.frames = len(channels)
        self.local = np.tile(np.eye(3), (self.frames, len(FIGURE.names), 1, 1))
        self.world = self.local.copy()
        self.points = np.zeros((self.frames, len(FIGURE.names), 3))

    def at(self, name: str) -> NDArray[np.float64]:
        return self.channels[:, INDEX[name]]

    def pelvis(self) -> None:
        """Place the hips."""
        facing = about(1, self.at("turn")) @ about(0, self.at("pitch")) @ about(2, -self.at("roll"))
        self._set("hips", facing)
        self.points[:, 0] = FIGURE.heads[0] + LEG * np.stack(
            [self.at("x"), self.at("y"), self.at("z")], axis=1
        )

    def solve(self) -> Motion:
        """Pose the whole figure."""
        self.pelvis()
        for joint, share in _SPINE_SHARE.items():
            self._set(joint, self._curve("bend", "lean", "twist", share))
        for joint, share in _NECK_SHARE.items():
            self._set(joint, self._curve("nod", "tilt", "look", share))
        for side, short, sign in _SIDES:
            self._arm(side, short, sign)
            self._leg(side, short, sign)
            self._fingers(side, short, sign)
        planted = np.stack([self._carries(short, self.fps) for _, short, _ in _SIDES], axis=1)
        return Motion(self.fps, self.local, self.points[:, 0] / LEG, planted)

    def _curve(self, forward: str, sideways: str, along: str, share: float) -> Rotations:
        return (
            about(1, share * self.at(along))
            @ about(0, share * self.at(forward))
            @ about(2, -share * self.at(sideways))
        )

    def _set(self, name: str, local: Rotations) -> None:
        """Turn a joint whose parent is done, and place it."""
        joint = JOINTS[name]
        above = int(FIGURE.parents[joint])
        self.local[:, joint] = local
        if above < 0:
            self.world[:, joint] = local
            return
        self.world[:, joint] = self.world[:, above] @ local
        self.points[:, joint] = self.points[:, above] + self.world[:, above] @ _LOCAL[joint]

    def _set_world(self, name: str, world: Rotations) -> None:
        above = int(FIGURE.parents[JOINTS[name]])
        self._set(name, np.swapaxes(self.world[:, above], 1, 2) @ world)

    def _arm(self, side: str, short: str, sign: float) -> None:
        def at(name: str) -> NDArray[np.float64]:
            return self.at(f"{short}_{name}")

        self._set(f"{side}Shoulder", about(2, sign * at("shrug")) @ about(1, -sign * at("reach")))
        hang = about(2, np.full(self.frames, -sign * 90.0))
        angled = about(0, -at("swing")) @ about(2, sign * at("spread")) @ hang @ about(0, at("rotate"))
        # The upper arm's angles are meant against the chest, not against a shrugged shoulder.
        upper = self.world[:, JOINTS["upperChest"]] @ angled
        lower = upper @ about(1, -sign * at("elbow"))
        grip = at("grip")
        if grip.any():
            reaching_upper, reaching_lower = self._reach(side, short, sign)
            upper, lower = blend_limb((upper, lower), (reaching_upper, reaching_lower), grip)
        self._set_world(f"{side}UpperArm", upper)
        self._set_world(f"{side}LowerArm", lower @ about(0, at("palm")))
        self._set(f"{side}Hand", about(2, -sign * at("wrist")))

    def _reach(self, side: str, short: str, sign: float) -> tuple[Rotations, Rotations]:
        """Return the world rotations of upper and lower arm that bring the hand to its target."""
        base = JOINTS["upperChest"]
        chest = self.world[:, base]
        shoulder = JOINTS[f"{side}UpperArm"]
        above = int(FIGURE.parents[shoulder])
        start = self.points[:, above] + self.world[:, above] @ _LOCAL[shoulder]
        level = FIGURE.heads[shoulder, 1] - FIGURE.heads[base, 1]
        across, up, ahead = (self.at(f"{short}_hand_{axis}") * ARM for axis in "xyz")
        end = self.points[:, base] + turned(chest, np.stack([sign * across, level + up, ahead], axis=1))
        # A relaxed elbow hangs: down, a little outwards and behind.
        pole = turned(chest, np.tile([sign * 0.45, -1.0, -0.35], (self.frames, 1)))
        hinge, first, second = two_bones(
            end - start,
            pole,
            (UPPER_ARM, FOREARM),
            sign * self.at(f"{short}_elbow_out"),
            chest,
            self.fps,
            easing=np.full(self.frames, _ARM_EASES),
        )
        return arm_frame(first, hinge, sign), arm_frame(second, hinge, sign)

    def _leg(self, side: str, short: str, sign: float) -> None:
        def at(name: str) -> NDArray[np.float64]:
            return self.at(f"{short}_{name}")

        pelvis = self.world[:, 0]
        _, span, heading, foot = self.ankle(side, short, sign)
        facing = pelvis[:, :, 2] + heading[:, :, 2]
        hinge, first, second = two_bones(
            span,
            facing,
            (THIGH, SHIN),
            -sign * at("knee_out"),
            pelvis,
            self.fps,
            # A foot on the ground stays where it is, however straight its leg.
            easing=_LEG_EASES * np.clip(at("foot_y") / _NEAR_GROUND, 0.0, 1.0),
        )
        thigh, shin = leg_frame(first, hinge), leg_frame(second, hinge)
        free = at("free")
        if free.any():
            aside = about(2, sign * at("thigh_out")) @ about(1, sign * at("thigh_turn"))
            loose = pelvis @ about(0, -at("thigh")) @ aside
            bent = loose @ about(0, at("knee"))
            thigh, shin = blend_limb((thigh, shin), (loose, bent), free)
            foot = blend(foot, bent @ about(0, at("ankle")), free)
        self._set_world(f"{side}UpperLeg", thigh)
        self._set_world(f"{side}LowerLeg", shin)
        self._set_world(f"{side}Foot", foot)
        # On the ground the toes stay flat while the heel rises; they straighten as the foot leaves.
        grounded = (1.0 - free) * np.clip(1.0 - at("foot_y") / _NEAR_GROUND, 0.0, 1.0)
        bent = np.maximum(at("heel"), 0.0) * grounded
        bent = evened(bent, 2 * round(_TOES_FOLLOW * self.fps) + 1)
        self._set(f"{side}Toes", about(0, -at("toes") - bent))

    def ankle(
        self, side: str, short: str, sign: float
    ) -> tuple[NDArray[np.float64], Points, Rotations, Rotations]:
        """Return the hip–ankle distance in leg lengths and vector, the foot's heading and rotation."""

        def at(name: str) -> NDArray[np.float64]:
            return self.at(f"{short}_{name}")

        hip = self.points[:, 0] + self.world[:, 0] @ _LOCAL[JOINTS[f"{side}UpperLeg"]]
        heading = about(1, sign * at("toe_out"))
        foot = heading @ about(0, at("heel"))
        offset = LEG * np.stack([sign * at("foot_x"), at("foot_y"), at("foot_z")], axis=1)
        flat = FIGURE.heads[JOINTS[f"{side}Foot"]] + offset
        # A lifted heel turns the foot about its ball, lifted toes about its heel.
        pivot = np.where(at("heel")[:, None] > 0, _BALL, _HEEL)
        span = flat + turned(heading, pivot) - turned(foot, pivot) - hip
        return np.linalg.norm(span, axis=1) / LEG, span, heading, foot

    def _fingers(self, side: str, short: str, sign: float) -> None:
        fist, point = self.at(f"{short}_fist"), self.at(f"{short}_point")
        for finger in _FINGERS:
            curl = fist * (1.0 - point) if finger == "Index" else fist
            for part, most in _CURL.items():
                self._set(f"{side}{finger}{part}", about(2, -sign * most * curl))
        self._set(f"{side}ThumbMetacarpal", about(1, sign * 20.0 * fist))
        self._set(f"{side}ThumbProximal", about(1, sign * 35.0 * fist))
        self._set(f"{side}ThumbDistal", about(1, sign * 45.0 * fist))

    def _carries(self, short: str, fps: float) -> NDArray[np.bool_]:
        """Tell when a foot is on the ground and at rest there."""
        low = self.at(f"{short}_foot_y") < _STANDING
        turned = np.radians(self.at(f"{short}_toe_out")) * _FOOT
        place = np.stack([self.at(f"{short}_foot_x"), self.at(f"{short}_foot_z"), turned], axis=1)
        speed = np.zeros(self.frames)
        if self.frames > 1:
            way = np.linalg.norm(np.diff(place, axis=0), axis=1) * fps
            speed = np.maximum(np.append(way, way[-1]), np.append(way[0], way))
        return np.asarray(low & (speed < _SLOWEST_STEP) & (self.at(f"{short}_free") < 0.004))
