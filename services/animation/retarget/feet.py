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
_FLAT = 4.0
"""Degrees of pitch over which a standing foot goes from turning on its heel to turning on its ball."""
_AS_FLAT = 0.5
"""Degrees of pitch within which moments of a contact are equally flat; the middle one counts."""
_BALL = 0.15
_HEEL = 0.06
"""Leg lengths in front of and behind the ankle, of a foot without toes."""
_SOLE = 0.4
"""Share of a foot's height up to which its points are of its sole."""
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
    return Leg(thigh, shin, foot, upper, lower, ball, heel, ankle)


def _sole(flesh: Flesh | None, foot: int, head: Vectors, up: Vectors) -> Vectors:
    """Return the points of a foot's flesh near the ground, from its ankle."""
    places = np.zeros((0, 3)) if flesh is None else flesh.places[flesh.joints == foot] - head
    if not len(places):
        return places
    heights = places @ up
    return np.asarray(places[heights < heights.min() + _SOLE * np.ptp(heights)])


def lock(
    leg: Leg,
    ankle: Vectors,
    height: Vectors,
    turned: Vectors,
    standing: NDArray[np.bool_],
    body: Vectors,
    ground: float,
    *,
    rolls: bool,
) -> Vectors:
    """Return where an ankle goes, ``(t, 3)``, so that its foot stays where it stands.

    ``ankle`` is where it would be, ``height (t,)`` the height it is meant to have while it stands,
    ``turned (t, 3, 3)`` what the foot is turned by from its rest, ``ground`` where the body stands. A
    foot that ``rolls`` is lifted as its own heel and ball lift it, any other as it is meant to be.
    """
    up, front = body[:, 1], body[:, 2]
    pitch = np.degrees(np.arcsin(np.clip(-(turned @ front) @ up, -1.0, 1.0)))
    share = np.clip((pitch + _FLAT) / (2 * _FLAT), 0.0, 1.0)
    share = (share * share * (3.0 - 2.0 * share))[:, None]
    pivot = share * leg.ball + (1.0 - share) * leg.heel
    offset = np.zeros_like(ankle)
    held = spans(standing)
    for first, last in held:
        within = slice(first, last)
        # The flattest moment of a contact is where the foot stands as a whole.
        tilt = np.abs(pitch[within])
        flattest = np.flatnonzero(tilt < tilt.min() + _AS_FLAT)
        calm = first + int(flattest[len(flattest) // 2])
        base = ankle[calm] + up * (height[calm] - ankle[calm] @ up)
        turning = turned[calm] - turned[within]
        locked = base + np.einsum("tij,tj->ti", turning, pivot[within])
        lifted = height[within]
        if rolls:
            # What it turns on is as high over the ground as when the body stands.
            rolled = np.einsum("tij,tj->ti", turned[within], pivot[within])
            lifted = ground + leg.ankle + (pivot[within] - rolled) @ up
        locked += (lifted - locked @ up)[:, None] * up
        offset[within] = locked - ankle[within]
    fade(offset, held)
    return np.asarray(ankle + offset)


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
