"""Sample pictures, drawn by this project (``python -m maquette.samples.draw``)."""

from __future__ import annotations

from pathlib import Path

NAMES = ("figurine.png", "photo.jpg", "character.png")
"""One cut out with transparency, one photo-like on a plain background, one of a character in A-pose."""


def path(name: str) -> Path:
    """Return where a sample picture lies. Raises KeyError for a name not in :data:`NAMES`."""
    if name not in NAMES:
        raise KeyError(name)
    return Path(__file__).with_name(name)
