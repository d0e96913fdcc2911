"""Where a picture was taken from, in words or degrees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.runtime.errors import InvalidArgument

MAX_PICTURES = 6
_DEGREES = re.compile(r"[+-]?\d{1,3}(\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """A camera far away: ``yaw`` degrees to the viewer's right of the front, ``pitch`` above the horizon.

    A point is seen at ``x · across + y · up``; ``towards`` points from the object to the camera.
    """

    yaw: float
    pitch: float = 0.0

    @property
    def across(self) -> NDArray[np.float64]:
        """Direction that runs right in the picture."""
        yaw = np.radians(self.yaw)
        return np.round(np.array([np.cos(yaw), 0.0, -np.sin(yaw)]), 12)

    @property
    def towards(self) -> NDArray[np.float64]:
        """Direction to the camera."""
        yaw, pitch = np.radians(self.yaw), np.radians(self.pitch)
        return np.round(
            np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]), 12
        )

    @property
    def up(self) -> NDArray[np.float64]:
        """Direction that runs up in the picture."""
        return np.asarray(np.cross(self.towards, self.across))

    @property
    def level(self) -> bool:
        """Whether the camera looks along the ground."""
        return self.pitch == 0.0


FRONT, BACK = Viewpoint(0.0), Viewpoint(180.0)
RIGHT, LEFT = Viewpoint(90.0), Viewpoint(270.0)
TOP, BOTTOM = Viewpoint(0.0, 90.0), Viewpoint(0.0, -90.0)

WORDS: Mapping[str, Viewpoint] = {
    "front": FRONT,
    "right": RIGHT,
    "back": BACK,
    "left": LEFT,
    "top": TOP,
    "bottom": BOTTOM,
    "front_right": Viewpoint(45.0),
    "back_right": Viewpoint(135.0),
    "back_left": Viewpoint(225.0),
    "front_left": Viewpoint(315.0),
    "three_quarter": Viewpoint(45.0),
}
"""The right view shows the side that lies at the viewer's right hand in the front view."""


def parse_views(given: Sequence[str], pictures: int) -> tuple[Viewpoint, ...]:
    """Return the viewpoints that ``given`` names, none where it is empty.

    Raises :class:`InvalidArgument` for a number of pictures or views that does not fit, for an
    unknown word, for two pictures from the same place and where no picture is level.
    """
    if not 1 <= pictures <= MAX_PICTURES:
        raise InvalidArgument(f"A model is made of one to {MAX_PICTURES} pictures; {pictures} were given.")
    if not given:
        return ()
    if len(given) != pictures:
        raise InvalidArgument(f"views must name each picture: {pictures} pictures, {len(given)} views.")
    views = tuple(_parse(word) for word in given)
    if len(set(views)) < len(views):
        raise InvalidArgument("views names the same place twice.")
    if pictures == 1 and views != (FRONT,):
        raise InvalidArgument("A single picture is always the front; views places two pictures or more.")
    if not any(view.level for view in views):
        raise InvalidArgument("At least one view must be from the side, not only from above or below.")
    return views


def _parse(word: str) -> Viewpoint:
    known = WORDS.get(word)
    if known is not None:
        return known
    if _DEGREES.fullmatch(word) and abs(float(word)) <= 360:
        return Viewpoint(float(word) % 360.0)
    words = ", ".join(WORDS)
    raise InvalidArgument(f"views takes {words}, or degrees to the right of the front, not {word[:32]!r}.")


def name_of(view: Viewpoint) -> str:
    """Return the word for a viewpoint, or its degrees."""
    return next((word for word, known in WORDS.items() if known == view), f"{view.yaw:g}")
