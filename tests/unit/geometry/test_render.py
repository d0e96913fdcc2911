"""Thumbnails show the object, whole, on nothing."""

from __future__ import annotations

import numpy as np
import trimesh

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.render import View, render


def _ball(color: tuple[float, float, float]) -> Asset:
    ball = trimesh.creation.icosphere(3)
    mesh = Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32))
    return Asset("ball", (Part("ball", mesh, Material(base_color=(*color, 1.0))),))


def test_a_ball_fills_the_frame_and_leaves_the_rest_clear() -> None:
    image = render(_ball((0.9, 0.2, 0.1)), View(size=64))
    alpha = image[..., 3]
    assert image.shape == (64, 64, 4) and alpha[0, 0] == 0 and alpha[32, 32] == 255
    rows = np.flatnonzero((alpha > 0).any(axis=1))
    assert 58 <= rows[-1] - rows[0] + 1 <= 64
    assert image[32, 32, 0] > 2 * image[32, 32, 1]


def test_light_comes_from_above() -> None:
    image = render(_ball((0.8, 0.8, 0.7)), View(yaw=0, pitch=0, size=64))
    assert int(image[12, 32, 0]) > int(image[52, 32, 0]) + 20


def test_equal_scenes_give_equal_pixels() -> None:
    assert np.array_equal(render(_ball((1, 1, 1)), View(size=48)), render(_ball((1, 1, 1)), View(size=48)))
