"""Feet that stay where they stand: locked contacts, a pelvis that lets them reach, two-bone IK.

After Kovar, Schreiner and Gleicher, *Footskate cleanup for motion capture editing* (SCA 2002): a
standing foot is held, what that moves it by fades through its swing, and the root gives way before a
leg would have to stretch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from maquette.geometry.rig import Skeleton
from services.animation.retarget.bone_map import BoneMap
from services.animation.retarget.contacts import spans
from services.animation.retarget.flesh import Flesh
from services.animation.retarget.frames import unit
from services.animation.retarget.take import Vectors
from services.animation.retarget.transfer import swing

_STRAIGHTEST = 0.9985
"""Share of its length to which a leg is stretched: the rest keeps the knee's way known."""
_FORWARD = 0.06
"""Leg lengths that the front of the thigh outweighs a knee bent backwards by noise."""
_STEP = 0.1
"""Leg lengths over the ground from which a foot stands on something."""
_BALL = 0.15
_HEEL = 0.06
_WIDTH = 0.04
"""Leg lengths in front of, behind and beside the ankle, of a foot without toes or flesh."""
_SOLE = 0.4
"""Share of a foot's height up to which its points are of its sole."""
_SLOW, _FAST = 0.3, 1.0
"""Leg lengths a second at which a foot that steps has left the floor, and is clear of it."""
_SOFT = 0.03
"""Seconds over which it is raised."""
_STEPS = 0.06
"""Leg lengths up to which a foot that is lifted slides; from twice as much it steps."""
_MOST_DROP = 0.12
"""Leg lengths that the pelvis gives way at most."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of the target: its joints, and what its foot turns on, from the ankle, in the world at rest."""

    thigh: int
    shin: int
    foot: int
    upper: float
    lower: float
    ball: Vectors
    heel: Vectors
    ankle: float
    """Height of the ankle over the ground at rest."""
    width: float = 0.0
    """How far its sole reaches to either side."""
    toes: float = 0.0
    """How far the toes reach beyond the ball, where they are joints of their own."""

    @property
    def length(self) -> float:
        """From the hip joint to the ankle along the bones."""
        return self.upper + self.lower


def leg_of(
    skeleton: Skeleton, bones: BoneMap, side: str, body: Vectors, ground: float, flesh: Flesh | None = None
) -> Leg:
    """Measure a leg; ``body`` are the body's axes and ``ground`` is where it stands along its up.

    A foot without toes turns on its tip and on the back of its heel, where its ``flesh`` is known.
    """
    heads, roles = skeleton.heads, bones.roles
    thigh, shin, foot = (roles[f"{side}{part}"] for part in ("UpperLeg", "LowerLeg", "Foot"))
    upper = float(np.linalg.norm(heads[shin] - heads[thigh]))
    lower = float(np.linalg.norm(heads[foot] - heads[shin]))
    up, front = body[:, 1], body[:, 2]
    ankle = max(float(heads[foot] @ up) - ground, 0.0)
    size = upper + lower
    toes = roles.get(f"{side}Toes")
    ball = front * _BALL * size - up * ankle if toes is None else heads[toes] - heads[foot]
    heel = -front * _HEEL * size - up * ankle
    sole = _sole(flesh, foot, heads[foot], up)
    if len(sole):
        along = sole @ front
        heel = front * min(float(along.min()), 0.0) - up * ankle
        if toes is None:
            ball = front * max(float(along.max()), 0.0) - up * ankle
    width = float(np.abs(sole @ body[:, 0]).max(initial=_WIDTH * size)) if len(sole) else _WIDTH * size
    tip = _sole(flesh, toes, heads[toes], up) @ front if toes is not None else np.zeros(0)
    reach = max(float(tip.max(initial=0.0)), 0.0)
    return Leg(thigh, shin, foot, upper, lower, ball, heel, ankle, width, reach)


def _sole(flesh: Flesh | None, foot: int, head: Vectors, up: Vectors) -> Vectors:
    """Return the points of a foot's flesh near the ground, from its ankle."""
    places = np.zeros((0, 3)) if flesh is None else flesh.places[flesh.joints == foot] - head
    if not len(places):
        return places
    heights = places @ up
    return np.asarray(places[heights <= heights.min() + _SOLE * np.ptp(heights)])


def lock(
    leg: Leg,
    ankle: Vectors,
    turned: Vectors,
    standing: NDArray[np.bool_],
    on: Vectors,
    sole: Vectors,
    body: Vectors,
    ground: float,
) -> Vectors:
    """Return where an ankle goes, ``(t, 3)``, so that its foot stays where it stands.

    ``ankle`` is where it would be, ``turned (t, 3, 3)`` what the foot is turned by from its rest,
    ``on (t, 3)`` how much ankle, heel and ball carry, ``sole (t,)`` how high the lower of heel and ball
    is meant to be, and ``ground`` where the body stands. A foot stands where it is moved least, over the
    whole contact.
    """
    up = body[:, 1]
    rolled = rolled_height(leg, turned, body) + ground + leg.ankle
    points = np.stack([np.zeros(3), leg.heel, leg.ball])
    offset = np.zeros_like(ankle)
    held = spans(standing)
    for first, last in held:
        within = slice(first, last)
        share = 0.5 * (on[first : last - 1] + on[first + 1 : last])
        turning = turned[first : last - 1] - turned[first + 1 : last]
        steps = np.einsum("tij,tkj,tk->ti", turning, np.broadcast_to(points, (len(turning), 3, 3)), share)
        path = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
        locked = path + (ankle[within] - path).mean(axis=0)
        # What is meant to stand higher than feet are measured wrong stands on something.
        level = float(np.median(sole[within]))
        level = level if level > _STEP * leg.length else 0.0
        locked += (rolled[within] + level - locked @ up)[:, None] * up
        offset[within] = locked - ankle[within]
    fade(offset, held)
    return np.asarray(ankle + offset)


def step_clear(
    ankle: Vectors,
    standing: NDArray[np.bool_],
    leg: float,
    least: float,
    ground: float,
    up: Vectors,
    fps: float,
) -> Vectors:
    """Return by how much an ankle ``(t, 3)`` is raised, ``(t,)``, to pass ``least`` over where it stands.

    ``ground`` is the height of the ankle of a foot that stands, ``leg`` how long the leg is. A foot
    that is slow, or that is lifted nowhere between two contacts, is left where it is.
    """
    height = ankle @ up - ground
    if len(height) < 3:
        return np.zeros(len(height))
    flat = np.gradient(ankle - (ankle @ up)[:, None] * up, axis=0)
    speed = np.linalg.norm(flat, axis=1) * fps / leg
    lifted = np.zeros(len(height))
    for first, last in spans(~standing):
        # Nobody knows how high a step was lifted that the motion begins or ends in.
        whole = first > 0 and last < len(height)
        lifted[first:last] = height[first:last].max() if whole else np.inf
    steps = np.clip(lifted / (_STEPS * leg) - 1.0, 0.0, 1.0) * np.clip(
        (speed - _SLOW) / (_FAST - _SLOW), 0.0, 1.0
    )
    raised = np.maximum(least * steps - height, 0.0)
    return np.asarray(np.where(standing, 0.0, gaussian_filter1d(raised, _SOFT * fps, mode="nearest")))


def rolled_height(leg: Leg, turned: Vectors, body: Vectors) -> Vectors:
    """Return by how much a foot on the ground lifts its ankle, ``(t,)``, rolling on heel, ball and edges."""
    up, aside = body[:, 1], leg.width * body[:, 0]
    ends = np.stack([end + edge for end in (leg.heel, leg.ball) for edge in (-aside, aside)])
    sunk = np.einsum("tij,kj,i->tk", turned, ends, up) - ends @ up
    return np.asarray(-sunk.min(axis=1))


def fade(offset: Vectors, held: list[tuple[int, int]]) -> None:
    """Carry the offsets of contacts smoothly through the swings between them."""
    if not held:
        return
    offset[: held[0][0]] = offset[held[0][0]]
    offset[held[-1][1] :] = offset[held[-1][1] - 1]
    for (_, first), (last, _) in pairwise(held):
        share = (np.arange(first, last) - first + 1.0) / (last - first + 1.0)
        share = (share * share * (3.0 - 2.0 * share))[:, None]
        offset[first:last] = (1.0 - share) * offset[first - 1] + share * offset[last]


def give_way(
    legs: tuple[Leg, ...], hips: list[Vectors], ankles: list[Vectors], up: Vectors, fps: float
) -> Vectors:
    """Return how far the pelvis must sink, ``(t,)``, for all ankles to be in reach of their hip joints."""
    needed = np.zeros(len(hips[0]))
    for leg, hip, ankle in zip(legs, hips, ankles, strict=True):
        span = hip - ankle
        rise = span @ up
        aside = ((span - rise[:, None] * up) ** 2).sum(axis=1)
        reach = np.sqrt(np.maximum((leg.length * _STRAIGHTEST) ** 2 - aside, 0.0))
        needed = np.maximum(needed, np.clip(rise - reach, 0.0, _MOST_DROP * leg.length))
    if not needed.any():
        return needed
    width = max(round(0.06 * fps), 1)
    return np.asarray(
        gaussian_filter1d(
            maximum_filter1d(needed, 2 * width + 1, mode="nearest"), 0.6 * width, mode="nearest"
        )
    )


def bend_leg(
    leg: Leg, skeleton: Skeleton, turns: dict[int, Vectors], hip: Vectors, ankle: Vectors, front: Vectors
) -> Vectors:
    """Turn thigh and shin so that the ankle is where it should be; return where it is, ``(t, 3)``.

    The knee stays on the side it is on, and never leaves the front of the thigh by noise alone.
    ``front (3,)`` is where the thigh's knee points at rest.
    """
    rest = skeleton.rest[:, :3, :3]
    first, second = (
        skeleton.heads[b] - skeleton.heads[a] for a, b in ((leg.thigh, leg.shin), (leg.shin, leg.foot))
    )
    thigh, shin = turns[leg.thigh] @ rest[leg.thigh].T, turns[leg.shin] @ rest[leg.shin].T
    upper, lower = thigh @ first, shin @ second
    reach = ankle - hip
    far = np.linalg.norm(reach, axis=1, keepdims=True)
    span = np.clip(far, abs(leg.upper - leg.lower) * 1.02 + 1e-9, leg.length * _STRAIGHTEST)
    along = np.where(far > 1e-9, reach / np.maximum(far, 1e-12), unit(upper + lower))
    straight = unit(upper + lower)
    knee = upper - straight * (upper * straight).sum(axis=1, keepdims=True)
    # The knee's side is told before the leg is turned to its new line, and turns with it.
    side = knee + _FORWARD * leg.length * (thigh @ front)
    pole = (swing(straight, along) @ side[..., None])[..., 0]
    pole = unit(pole - along * (pole * along).sum(axis=1, keepdims=True))
    cos = np.clip((leg.upper**2 + span**2 - leg.lower**2) / (2 * leg.upper * span), -1.0, 1.0)
    new_upper = leg.upper * (cos * along + np.sqrt(1.0 - cos**2) * pole)
    new_lower = along * span - new_upper
    turns[leg.thigh] = swing(unit(upper), unit(new_upper)) @ turns[leg.thigh]
    turns[leg.shin] = swing(unit(lower), unit(new_lower)) @ turns[leg.shin]
    return np.asarray(hip + new_upper + new_lower)
