"""Charts do not overlap and every texel finds its triangle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maquette.geometry.packing import pack
from maquette.geometry.raster import rasterize


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=30))
def test_packed_rectangles_stay_inside_and_apart(sizes: list[tuple[int, int]]) -> None:
    places = pack(sizes, 100)
    if places is None:
        return
    taken = np.zeros((100, 100), dtype=int)
    for (width, height), (x, y) in zip(sizes, places, strict=True):
        assert 0 <= x <= 100 - width and 0 <= y <= 100 - height
        taken[y : y + height, x : x + width] += 1
    assert taken.max(initial=0) <= 1


def test_what_cannot_fit_is_not_packed() -> None:
    assert pack([(60, 60), (60, 60)], 100) is None
    assert pack([(50, 50)] * 4, 100) is not None


def test_two_triangles_cover_a_square_exactly() -> None:
    corners = np.array([[[2, 3], [12, 3], [12, 9]], [[2, 3], [12, 9], [2, 9]]], dtype=float)
    texels = rasterize(corners, (16, 16))
    covered = np.zeros((16, 16), dtype=bool)
    covered[texels.rows, texels.columns] = True
    assert covered[3:9, 2:12].all() and covered.sum() == 60
    centres = np.einsum("kc,kcd->kd", texels.barycentric, corners[texels.faces])
    assert np.allclose(centres, np.stack([texels.columns, texels.rows], axis=1) + 0.5)


def test_triangles_outside_the_atlas_are_clipped() -> None:
    texels = rasterize(np.array([[[-50.0, -50.0], [80.0, -50.0], [-50.0, 80.0]]]), (8, 8))
    assert len(texels.faces) == 64
