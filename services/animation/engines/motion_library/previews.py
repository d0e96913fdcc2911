"""What an id's motion looks like, drawn in a worker when somebody asks."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maquette.geometry.asset import Asset, Mesh
from maquette.geometry.render import View, render
from maquette.runtime.errors import NotFound
from services.animation.engines.motion_library.mannequin import floor_around, pose_mannequin, scene
from services.animation.library.ids import Entry, UnknownMotionError, entry
from services.animation.motion.pose import place_joints

_VIEW = View(yaw=32.0, pitch=14.0, size=200, supersampling=1)
_RATE = 10.0
"""Pictures a second, unless that made too few or too many."""
_FEWEST_PICTURES, _MOST_PICTURES = 12, 28
_LONGEST = 8.0
"""Seconds: of longer motions the beginning is shown."""
_FLOOR_REACH = 1.3
_QUALITY = 76


def preview(number: int) -> str:
    """Draw an id's motion on the mannequin: an endless animated WebP, as base64.

    Raises :class:`maquette.runtime.errors.NotFound` for an id that is not in the library.
    """
    try:
        found = entry(number)
    except UnknownMotionError as error:
        raise NotFound(str(error)) from error
    shown = max(min(found.move.lasts(found.style), _LONGEST), 0.1)
    rate = float(np.clip(_RATE, _FEWEST_PICTURES / shown, _MOST_PICTURES / shown))
    return base64.b64encode(_animated(_pictures(found, rate), round(1000.0 / rate))).decode()


def _pictures(found: Entry, rate: float) -> list[Image.Image]:
    """Draw the motion at ``rate``; the camera goes along, the floor stays."""
    places, turns = place_joints(found.move.perform(rate, found.style))
    if found.in_place:
        places[:, :, [0, 2]] -= places[:, :1, [0, 2]] - places[:1, :1, [0, 2]]
    # The last pose of a loop is its first again.
    count = min(len(places) - found.move.loop, _MOST_PICTURES)
    places, turns = places[:count], turns[:count]
    way = places[:, 0].copy()
    way[:, 1] = 0.0
    bodies = [
        pose_mannequin(place - step, turn) for place, step, turn in zip(places, way, turns, strict=True)
    ]
    floors = [_moved(floor_around(step, _FLOOR_REACH), -step) for step in way]
    room = _room(bodies)
    return [
        Image.fromarray(render(scene(body, floor), _VIEW, around=room))
        for body, floor in zip(bodies, floors, strict=True)
    ]


def _moved(mesh: Mesh, by: NDArray[np.float64]) -> Mesh:
    return Mesh(mesh.vertices + by.astype(np.float32), mesh.faces, colors=mesh.colors)


def _room(bodies: list[Mesh]) -> Asset:
    """Return a box that holds the body at all moments, and some of the floor."""
    points = np.concatenate([body.vertices for body in bodies])
    low, high = points.min(axis=0), points.max(axis=0)
    low[1] = min(low[1], 0.0)
    corners = np.where(np.indices((2, 2, 2)).reshape(3, -1).T == 1, high, low).astype(np.float32)
    return scene(Mesh(corners, np.array([[0, 1, 2]], np.int32)))


def _animated(pictures: list[Image.Image], milliseconds: int) -> bytes:
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        quality=_QUALITY,
        method=0,
    )
    return file.getvalue()
