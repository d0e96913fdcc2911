"""Motions as the command line names them: by id, by name, or by a word that finds one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = "/v1/animations"
_MATCHES = ("exact", "close", "approximate")

Search = Callable[[str], tuple[Sequence[Mapping[str, Any]], Sequence[str]]]
"""Finds motions by a word, and names of those that have no id."""


@dataclass(frozen=True, slots=True)
class Animation:
    """How to make a character move. What is None is left to the server."""

    motions: tuple[str, ...] = ()
    """Ids, names, or words that find one; see :func:`chosen`."""
    clip: Path | None = None
    """A motion of one's own."""
    output_format: str = "glb"
    fps: float | None = None
    in_place: bool | None = None
    clip_only: bool = False
    each: bool = False
    """A file for each clip."""
    speed: float | None = None
    energy: float | None = None
    mood: str | None = None
    mirror: bool = False
    model: str | None = None

    def body(
        self, character: str, clip: str | None, ids: Sequence[int], names: Sequence[str]
    ) -> dict[str, Any]:
        """Return the request's JSON, without what was left open. ``character`` and ``clip`` are file ids."""
        fields = {
            "character_file_id": character,
            "clip_file_id": clip,
            "animation_ids": list(ids) or None,
            "motions": list(names) or None,
            "output_format": self.output_format,
            "fps": self.fps,
            "in_place": self.in_place,
            "clip_only": self.clip_only or None,
            "files": "each" if self.each else None,
            "speed": self.speed,
            "energy": self.energy,
            "mood": self.mood,
            "left_handed": self.mirror or None,
            "model_preference": self.model,
        }
        return {name: value for name, value in fields.items() if value is not None}


def chosen(words: Iterable[str], search: Search) -> tuple[list[int], list[str]]:
    """Return the ids and the names that words stand for.

    A number is an id and a word with ``_`` a name. Any other word is searched for, and the best of what is
    found is taken: the one whose name is nearest to it, an exact one first, the lowest id; without any, the
    shortest name. A word that finds nothing is sent as it is: the server tells which names are near.
    """
    ids: list[int] = []
    names: list[str] = []
    for word in words:
        if word.isascii() and word.isdigit():
            ids.append(int(word))
        elif "_" in word:
            names.append(word)
        else:
            found, others = search(word)
            if found:
                ids.append(int(min(found, key=lambda motion: _distance(motion, word))["id"]))
            else:
                names.append(min(others, key=len, default=word))
    return ids, names


def _distance(motion: Mapping[str, Any], word: str) -> tuple[bool, bool, bool, int, int, int]:
    """Order what a search found, the best first."""
    plain = word.lower()
    name, move = str(motion["name"]).lower(), str(motion["motion"]).lower().replace("_", " ")
    return (
        plain not in (name, move),
        plain not in motion["tags"],
        plain not in move.split(),
        _MATCHES.index(motion["match"]) if motion["match"] in _MATCHES else len(_MATCHES),
        # The plain execution has the shortest name.
        name.count(","),
        int(motion["id"]),
    )
