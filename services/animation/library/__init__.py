"""The motion library: every base motion, by category."""

from __future__ import annotations

from collections.abc import Mapping

from services.animation.library import (
    acrobatics,
    blades,
    boxing,
    characters,
    climbing,
    company,
    crouched,
    dancing,
    everyday,
    exercise,
    feelings,
    gestures,
    handling,
    kicks,
    magic,
    reactions,
    resting,
    runs,
    seats,
    shocks,
    showdances,
    sport,
    strikes,
    stunts,
    turns,
    walks,
    weapons,
)
from services.animation.library.quadrupeds import QUADRUPED_MOVES, QuadrupedMove
from services.animation.motion.moves import Move

_MODULES = (
    walks,
    characters,
    crouched,
    runs,
    turns,
    everyday,
    gestures,
    company,
    seats,
    resting,
    handling,
    acrobatics,
    stunts,
    exercise,
    sport,
    climbing,
    feelings,
    boxing,
    kicks,
    strikes,
    weapons,
    blades,
    magic,
    reactions,
    shocks,
    dancing,
    showdances,
)


def _collect() -> Mapping[str, Move]:
    moves: dict[str, Move] = {}
    for module in _MODULES:
        for move in module.MOVES:
            if move.name in moves:
                raise ValueError(f"two motions are called {move.name}")
            moves[move.name] = move
    return moves


MOVES: Mapping[str, Move] = _collect()
"""Every base motion of a person by name."""
NAMED: Mapping[str, Move | QuadrupedMove] = {**MOVES, **QUADRUPED_MOVES}
"""Everything that can be asked for by name."""
