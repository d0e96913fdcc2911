"""What clients are told of the library: its ids in words. Called in each worker when it starts."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.animation.library.ids import Entry

_PACKAGE = "services.animation"
_SOURCES = (".py", ".tsv")


def list_motions() -> dict[str, Any]:
    """Return every id in words, every name there is, and the revision of what motions are made from.

    Where a package is missing that motions are made with, there are none: the engine says what it needs.
    """
    try:
        from services.animation.library import NAMED
        from services.animation.library.ids import ENTRIES
    except ImportError:
        return {"motions": [], "names": [], "revision": ""}
    return {
        "motions": [_told(each) for each in ENTRIES.values()],
        "names": sorted(NAMED),
        "revision": _revision(),
    }


def _told(each: Entry) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "category": each.category,
        "motion": each.move.name,
        "summary": each.move.summary,
        "tags": list(each.tags),
        "match": each.match.value,
        "reason": each.reason,
        "loop": each.move.loop,
        "seconds": round(each.move.lasts(each.style), 2),
        "in_place": each.in_place,
        "mood": each.style.mood,
    }


def _revision() -> str:
    digest = hashlib.sha256()
    for source in sorted(_sources(files(_PACKAGE)), key=lambda source: str(source)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _sources(folder: Traversable) -> list[Traversable]:
    found: list[Traversable] = []
    for child in folder.iterdir():
        if child.is_dir():
            found += _sources(child)
        elif child.name.endswith(_SOURCES):
            found.append(child)
    return found
