"""What a run is asked for: motions with their styles, rate and form of the result."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maquette.runtime.errors import InvalidArgument
from services.animation.library import NAMED
from services.animation.library.ids import Match, UnknownMotionError, entry
from services.animation.library.quadrupeds import QuadrupedMove
from services.animation.motion.moods import MOODS
from services.animation.motion.moves import PLAIN, Move, Style

MOST_MOTIONS = 32
FORMATS = ("glb", "fbx")
FILES = ("one", "each")
_FPS = 30.0
_LEAST_FPS, _MOST_FPS = 1.0, 240.0
_SPEEDS = (0.25, 4.0)
_MOST_ENERGY = 2.0


@dataclass(frozen=True, slots=True)
class Wish:
    """One motion of the library as it is to be played, and what its client should know."""

    name: str
    move: Move | QuadrupedMove
    style: Style
    in_place: bool
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """A whole request."""

    motions: tuple[Wish, ...]
    fps: float
    in_place: bool
    """For the client's own clips."""
    clip_only: bool
    keep_clips: bool
    output_format: str = "glb"
    each_in_a_file: bool = False


def read_wishes(given: Mapping[str, Any], *, own_clip: bool) -> Wishes:
    """Read parameters. Raises :class:`InvalidArgument` for what does not exist or is out of range."""
    names = [str(name).strip() for name in given.get("motions") or ()]
    if not names and not own_clip:
        raise InvalidArgument("Name at least one motion, or send a clip of your own.")
    if len(names) > MOST_MOTIONS:
        raise InvalidArgument(f"A file takes at most {MOST_MOTIONS} motions.")
    if given.get("output_format") not in FORMATS:
        raise InvalidArgument(f"output_format must be one of {', '.join(FORMATS)}.")
    files = given.get("files") or FILES[0]
    if files not in FILES:
        raise InvalidArgument(f"files must be one of {', '.join(FILES)}.")
    fps = float(given.get("fps") or _FPS)
    if not _LEAST_FPS <= fps <= _MOST_FPS:
        raise InvalidArgument(f"fps must be from {_LEAST_FPS:g} to {_MOST_FPS:g}.")
    return Wishes(
        motions=_distinct([_wish(name, given) for name in names]),
        fps=fps,
        in_place=bool(given.get("in_place")),
        clip_only=bool(given.get("clip_only")),
        keep_clips=bool(given.get("keep_clips")),
        output_format=str(given["output_format"]),
        each_in_a_file=files == "each",
    )


def _wish(name: str, given: Mapping[str, Any]) -> Wish:
    place = given.get("in_place")
    if name.isascii() and name.isdigit():
        try:
            found = entry(int(name))
        except UnknownMotionError as error:
            raise InvalidArgument(str(error)) from error
        style = _style(found.style, given)
        warning = ""
        if found.match is Match.APPROXIMATE:
            warning = f"Motion {name} ({found.name}) is an approximation: {found.reason}"
        return Wish(found.name, found.move, style, found.in_place if place is None else bool(place), warning)
    key = name.lower().replace(" ", "_").replace("-", "_")
    move = NAMED.get(key)
    if move is None:
        near = difflib.get_close_matches(key, NAMED, n=5, cutoff=0.4) or sorted(NAMED)[:5]
        raise InvalidArgument(
            f"There is no motion {name[:60]!r}. The library has {len(NAMED)}; the nearest are "
            f"{', '.join(near)}. List the library or search it by name, tag or category.",
        )
    return Wish(move.name, move, _style(PLAIN, given), bool(place))


def _style(base: Style, given: Mapping[str, Any]) -> Style:
    speed = float(given.get("speed") or 1.0)
    energy = given.get("energy")
    energy = 1.0 if energy is None else float(energy)
    if not _SPEEDS[0] <= speed <= _SPEEDS[1]:
        raise InvalidArgument(f"speed must be from {_SPEEDS[0]:g} to {_SPEEDS[1]:g}.")
    if not 0.0 <= energy <= _MOST_ENERGY or math.isnan(energy):
        raise InvalidArgument(f"energy must be from 0 to {_MOST_ENERGY:g}.")
    mood = str(given.get("mood") or base.mood)
    if mood not in MOODS:
        raise InvalidArgument(f"mood must be one of {', '.join(MOODS)}.")
    return Style(
        speed=min(max(base.speed * speed, _SPEEDS[0]), _SPEEDS[1]),
        energy=min(base.energy * energy, _MOST_ENERGY),
        mood=mood,
        left_handed=base.left_handed != bool(given.get("left_handed")),
    )


def _distinct(wishes: list[Wish]) -> tuple[Wish, ...]:
    names = [wish.name for wish in wishes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidArgument(f"The motion {twice!r} is asked for twice.")
    return tuple(wishes)
