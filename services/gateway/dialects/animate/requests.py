"""Read the form's fields. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from maquette.runtime.errors import InvalidArgument
from services.gateway.dialects.animate import words
from services.gateway.dialects.animate.errors import wrong_field

_TRUE = frozenset(("true", "1", "yes", "on", "t", "y"))
_FALSE = frozenset(("false", "0", "no", "off", "f", "n"))
_MOST_DIGITS = 9
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class AnimateRequest:
    """What a client asks for, checked."""

    animation_ids: tuple[int, ...]
    """Without those named twice; empty: neither rig nor animations."""
    use_retexture: bool
    skip_confirmation: bool
    height_meters: float
    fps: int


def read_request(fields: Mapping[str, str], most_animations: int) -> AnimateRequest:
    """Read the fields beside the picture. Raises InvalidArgument with the first thing that is wrong."""
    request = AnimateRequest(
        animation_ids=_ids(fields.get("animation_ids", ""), most_animations),
        use_retexture=_truth(fields, "use_retexture", usual=False),
        skip_confirmation=_truth(fields, "skip_confirmation", usual=True),
        height_meters=_number(fields, "height_meters", words.USUAL_HEIGHT),
        fps=_whole(fields, "fps", words.USUAL_FPS),
    )
    if not 0 < request.height_meters <= words.MOST_HEIGHT:
        raise InvalidArgument(f"height_meters must be above 0 and at most {words.MOST_HEIGHT:g}")
    if not 1 <= request.fps <= words.MOST_FPS:
        raise InvalidArgument(f"fps must be from 1 to {words.MOST_FPS}")
    return request


def _ids(text: str, most: int) -> tuple[int, ...]:
    if not text.strip():
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS for part in parts):
        raise InvalidArgument(words.BAD_IDS)
    found = tuple(dict.fromkeys(int(part) for part in parts))
    if len(parts) > most:
        raise InvalidArgument(f"Too many animation_ids: {len(parts)} were given, at most {most} are taken")
    unknown = [str(number) for number in found if number not in words.ANIMATION_IDS]
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (", …" if len(unknown) > _SHOWN else "")
        raise InvalidArgument(f"Unknown animation_ids: {shown}")
    return found


def _truth(fields: Mapping[str, str], name: str, *, usual: bool) -> bool:
    text = fields.get(name, "").strip().lower()
    if not text:
        return usual
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise wrong_field(
        name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", fields[name]
    )


def _number(fields: Mapping[str, str], name: str, usual: float) -> float:
    text = fields.get(name, "").strip()
    try:
        value = float(text) if text else usual
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise wrong_field(
            name,
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
            fields[name],
        )
    return value


def _whole(fields: Mapping[str, str], name: str, usual: int) -> int:
    text = fields.get(name, "").strip()
    if not text:
        return usual
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise wrong_field(
            name,
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
            fields[name],
        )
    return int(text)
