"""The library's ids: which motion is played for each, how, and how near it comes.

The numbers are those that clients of 3D services use; names, tags and choreography are our own.
``ids.tsv`` holds one row an id and is checked when it is loaded.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files

from services.animation.library import MOVES
from services.animation.motion.moves import CATEGORIES, Move, Style

_TABLE = "ids.tsv"
_COLUMNS = ("id", "category", "move", "speed", "energy", "mood", "left_handed", "in_place", "match", "reason")
_TRUTH = {"true": True, "false": False}
_TEMPO = ((0.76, "very slow"), (0.91, "slow"), (0.99, "calm"), (1.01, ""), (1.12, "brisk"), (1.29, "quick"))
_SIZE = ((0.76, "small"), (0.96, "gentle"), (1.04, ""), (1.16, "lively"))
_NEIGHBOURS = 5


class Match(Enum):
    """How near the motion comes to what clients of the id expect."""

    EXACT = "exact"
    CLOSE = "close"
    """The same kind of motion in another execution."""
    APPROXIMATE = "approximate"
    """Something of it is missing; the reason says what."""


class UnknownMotionError(LookupError):
    """There is no motion with that id."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One id of the library."""

    id: int
    name: str
    category: str
    move: Move
    style: Style
    in_place: bool
    """The travel over the ground is taken out."""
    match: Match
    reason: str
    """What an approximation lacks; empty otherwise."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the words to find it by, besides its name and category."""
        mood = () if self.style.mood == "neutral" else (self.style.mood,)
        return (*self.move.tags, *mood)


def entry(number: int) -> Entry:
    """Return the library's entry for an id.

    Raises UnknownMotionError for an id that is not in the library; its text tells how to find one.
    """
    found = ENTRIES.get(number)
    if found is not None:
        return found
    near = sorted(sorted(ENTRIES, key=lambda other: abs(other - number))[:_NEIGHBOURS])
    raise UnknownMotionError(
        f"There is no motion {number}. The library has {len(ENTRIES)} ids from {min(ENTRIES)} to "
        f"{max(ENTRIES)}, with gaps; the nearest are {', '.join(map(str, near))}. List the library or "
        "search it by name, tag or category to find the id of a motion."
    )


def find(text: str = "", *, category: str = "", match: Match | None = None) -> tuple[Entry, ...]:
    """Return the entries with every word of ``text`` in name, tags, summary or category, by id.

    An empty text finds all. Raises ValueError for a category that does not exist.
    """
    if category and category not in CATEGORIES:
        raise ValueError(f"There is no category {category}; there are {', '.join(CATEGORIES)}.")
    words = text.lower().replace("_", " ").split()
    return tuple(
        each
        for each in ENTRIES.values()
        if (not category or each.category == category)
        and (match is None or each.match is match)
        and all(word in _searched(each) for word in words)
    )


def read(lines: Iterable[str]) -> Mapping[int, Entry]:
    """Read a table of ids. Raises ValueError with the row's number for a row that makes no sense."""
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(next(rows, ())) != _COLUMNS:
        raise ValueError(f"the table of ids begins with the columns {', '.join(_COLUMNS)}")
    entries: dict[int, Entry] = {}
    titles: Counter[str] = Counter()
    played: dict[tuple[str, Style, bool], int] = {}
    for number, row in enumerate(rows, start=2):
        try:
            made = _entry(row, titles)
            if made.id in entries:
                raise ValueError(f"id {made.id} is there twice")
            same = played.setdefault((made.move.name, made.style, made.in_place), made.id)
            if same != made.id:
                raise ValueError(f"plays the same as id {same}")
        except (ValueError, KeyError) as error:
            raise ValueError(f"row {number} of the table of ids: {error}") from error
        entries[made.id] = made
    return dict(sorted(entries.items()))


def _entry(row: list[str], titles: Counter[str]) -> Entry:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"{len(row)} columns instead of {len(_COLUMNS)}")
    cells = dict(zip(_COLUMNS, row, strict=True))
    style = Style(
        speed=float(cells["speed"]),
        energy=float(cells["energy"]),
        mood=cells["mood"],
        left_handed=_TRUTH[cells["left_handed"]],
    )
    match, reason, in_place = Match(cells["match"]), cells["reason"], _TRUTH[cells["in_place"]]
    if (match is Match.APPROXIMATE) != bool(reason):
        raise ValueError("an approximation, and nothing else, has a reason")
    if cells["category"] not in CATEGORIES:
        raise ValueError(f"no category {cells['category']}")
    title = _title(cells["move"], style, in_place)
    titles[title] += 1
    name = title if titles[title] == 1 else f"{title} ({titles[title]})"
    return Entry(
        int(cells["id"]), name, cells["category"], MOVES[cells["move"]], style, in_place, match, reason
    )


def _title(move: str, style: Style, in_place: bool) -> str:
    words = [
        move.replace("_", " "),
        _word(_TEMPO, style.speed, "fast"),
        _word(_SIZE, style.energy, "big"),
        "" if style.mood == "neutral" else style.mood,
        "mirrored" if style.left_handed else "",
        "on the spot" if in_place else "",
    ]
    return ", ".join(word for word in words if word)


def _word(scale: tuple[tuple[float, str], ...], value: float, beyond: str) -> str:
    return next((word for limit, word in scale if value < limit), beyond)


def _searched(each: Entry) -> str:
    return " ".join((each.name, each.category, each.move.summary, *each.tags)).lower()


def _load() -> Mapping[int, Entry]:
    with files(__package__).joinpath(_TABLE).open(encoding="utf-8") as table:
        return read(table)


ENTRIES: Mapping[int, Entry] = _load()
"""Every id, rising."""
