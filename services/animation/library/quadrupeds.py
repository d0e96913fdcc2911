"""What a body on four legs does: stand, walk, trot, gallop, sit.

Footfalls after Hildebrand, *The quadrupedal gaits of vertebrates* (BioScience 39, 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.animation.motion.keys import sample_times
from services.animation.motion.moves import PLAIN, Style
from services.animation.motion.quadruped import Carriage, QuadrupedMotion, solve

_CYCLES = 2


@dataclass(frozen=True, slots=True)
class Footfall:
    """A gait on four legs: seconds, metres and degrees; phases in the order of ``LEGS``."""

    cycle: float
    stride: float
    stance: float
    phases: tuple[float, float, float, float]
    lift: float
    bounce: float
    """Half the rise and fall, twice a cycle; a gallop's is once."""
    low: float = 0.01
    rock: float = 0.0
    """Half the pitching to and fro, once a cycle."""
    arch: float = 0.0
    neck: float = 0.0
    nodding: float = 3.0
    tail: float = 0.0
    beats: int = 2


@dataclass(frozen=True, slots=True)
class QuadrupedMove:
    """One motion of a body on four legs."""

    name: str
    summary: str
    loop: bool
    draw: Callable[[float, float], QuadrupedMotion] = field(repr=False, compare=False)
    tags: tuple[str, ...] = ("animal", "four legs")

    def perform(self, fps: float, style: Style = PLAIN) -> QuadrupedMotion:
        """Make the motion. Of a style only the speed changes it: a beast has no moods and no better hand."""
        return self.draw(fps, style.speed)


def _going(form: Footfall) -> Callable[[float, float], QuadrupedMotion]:
    def draw(fps: float, speed: float) -> QuadrupedMotion:
        # Longer and quicker steps in equal parts, as people do.
        return _gone(replace(form, cycle=form.cycle / speed**0.5, stride=form.stride * speed**0.5), fps)

    return draw


def _gone(form: Footfall, fps: float) -> QuadrupedMotion:
    moments = sample_times(form.cycle * _CYCLES, fps)
    cycle = moments / form.cycle
    turn = 2 * np.pi * cycle
    still = np.zeros_like(cycle)
    body = Carriage(
        forward=form.stride * cycle,
        up=-form.low + form.bounce * np.cos(form.beats * turn),
        pitch=form.rock * np.sin(turn),
        arch=form.arch * np.cos(turn),
        neck=form.neck + form.nodding * np.cos(form.beats * turn + 0.6),
        look=still,
        tail=form.tail + 6.0 * np.cos(form.beats * turn + 1.2),
        wag=8.0 * np.sin(turn),
    )
    paws, hocks = np.zeros((len(cycle), 4, 2)), np.zeros((len(cycle), 4))
    for leg, phase in enumerate(form.phases):
        step, part = np.floor(cycle - phase), np.mod(cycle - phase, 1.0)
        swing = np.clip((part - form.stance) / (1.0 - form.stance), 0.0, 1.0)
        moved = swing - np.sin(2 * np.pi * swing) / (2 * np.pi)
        lead = form.stride * (form.stance * 0.5 + phase)
        paws[:, leg, 1] = lead + form.stride * (step + moved)
        paws[:, leg, 0] = form.lift * np.sin(np.pi * swing) ** 2
        hocks[:, leg] = 26.0 * (part - 0.5 * form.stance) * (swing == 0) + np.where(
            swing > 0, 13.0 * form.stance * np.cos(np.pi * swing) + 24.0 * np.sin(np.pi * swing), 0.0
        )
    return solve(fps, body, paws, hocks)


def _standing(fps: float, speed: float) -> QuadrupedMotion:
    moments = sample_times(6.0 / speed, fps)
    turn = 2 * np.pi * moments / moments[-1]
    still = np.zeros_like(turn)
    body = Carriage(
        forward=0.006 * np.sin(turn),
        up=-0.012 + 0.004 * np.cos(3 * turn),
        pitch=0.6 * np.sin(3 * turn),
        arch=1.5 * np.sin(3 * turn),
        neck=4.0 * np.sin(2 * turn),
        look=34.0 * np.sin(turn),
        tail=-8.0 + 3.0 * np.sin(2 * turn),
        wag=22.0 * np.sin(9 * turn),
    )
    return solve(fps, body, np.zeros((len(turn), 4, 2)), np.stack([still] * 4, axis=1))


def _sitting(fps: float, speed: float) -> QuadrupedMotion:
    moments = sample_times(3.0 / speed, fps) * speed
    down = _eased(moments, 0.2, 1.3)
    turn = 2 * np.pi * moments
    body = Carriage(
        forward=0.1 * down,
        up=-0.012 - 0.31 * down,
        pitch=-31.0 * down,
        arch=-10.0 * down,
        neck=20.0 * down + 8.0 * np.sin(np.pi * down),
        look=20.0 * np.sin(0.5 * turn) * _eased(moments, 1.4, 2.0),
        tail=34.0 * down,
        wag=14.0 * np.sin(2.5 * turn) * _eased(moments, 1.2, 1.6),
    )
    paws, hocks = np.zeros((len(moments), 4, 2)), np.zeros((len(moments), 4))
    for leg, start in ((0, 0.35), (2, 0.75)):
        moved = _eased(moments, start, start + 0.35)
        paws[:, leg, 1] = 0.2 * moved
        paws[:, leg, 0] = 0.05 * np.sin(np.pi * moved) ** 2
        hocks[:, leg] = -68.0 * moved
    return solve(fps, body, paws, hocks)


def _eased(moments: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    share = np.clip((moments - start) / (end - start), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


_WALK = Footfall(0.86, 0.5, 0.64, (0.0, 0.25, 0.5, 0.75), 0.07, 0.006, low=0.045, nodding=5)
_TROT = Footfall(0.52, 0.8, 0.42, (0.0, 0.5, 0.5, 0.0), 0.09, 0.012, low=0.045, neck=-8, tail=-14)
_GALLOP = Footfall(
    0.4,
    1.35,
    0.22,
    (0.0, 0.42, 0.1, 0.52),
    0.14,
    0.025,
    low=0.05,
    rock=5,
    arch=14,
    neck=16,
    nodding=8,
    tail=-34,
    beats=1,
)

QUADRUPED_MOVES: Mapping[str, QuadrupedMove] = {
    move.name: move
    for move in (
        QuadrupedMove("quadruped_idle", "standing, looking about, wagging the tail", True, _standing),
        QuadrupedMove("quadruped_walk", "a four-beat walk", True, _going(_WALK)),
        QuadrupedMove("quadruped_trot", "a trot, diagonal legs together", True, _going(_TROT)),
        QuadrupedMove("quadruped_gallop", "a gallop, the back bending and stretching", True, _going(_GALLOP)),
        QuadrupedMove("quadruped_sit", "sitting down on the haunches", False, _sitting),
    )
}
"""Every motion of a body on four legs, by name."""
