"""What clients are told of the library is what it is, and its previews show it."""

from __future__ import annotations

import base64
import io
import random

import numpy as np
import orjson
import pytest
from PIL import Image

from maquette.runtime.errors import NotFound
from services.animation.engines.motion_library.catalogue import list_motions
from services.animation.engines.motion_library.mannequin import pose_mannequin
from services.animation.engines.motion_library.previews import preview
from services.animation.library import NAMED
from services.animation.library.ids import ENTRIES, Match
from services.animation.motion.moves import CATEGORIES
from services.animation.motion.pose import place_joints

SEED = 20


def frames(number: int) -> list[np.ndarray]:
    with Image.open(io.BytesIO(base64.b64decode(preview(number)))) as picture:
        assert picture.format == "WEBP"
        shown = []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            shown.append(np.asarray(picture.convert("RGBA")).astype(int))
        return shown


def test_every_id_is_told_with_all_that_a_client_needs() -> None:
    told = list_motions()
    assert [row["id"] for row in told["motions"]] == list(ENTRIES)
    assert len({row["name"] for row in told["motions"]}) == len(ENTRIES)
    assert set(told["names"]) == set(NAMED)
    for row in told["motions"]:
        assert row["motion"] in NAMED and row["category"] in CATEGORIES
        assert (row["match"] == Match.APPROXIMATE.value) == bool(row["reason"])
        assert row["seconds"] > 0
    assert len(orjson.dumps(told)) < 1 << 20, "it fits a call"


def test_equal_libraries_have_equal_revisions() -> None:
    assert list_motions()["revision"] == list_motions()["revision"]


def test_a_motion_is_as_long_as_it_is_told_to_be() -> None:
    chosen = random.Random(SEED).sample(sorted(ENTRIES), 12)
    for number in chosen:
        found = ENTRIES[number]
        drawn = found.move.perform(30.0, found.style).seconds
        assert found.move.lasts(found.style) == pytest.approx(drawn, abs=0.51 / 30), (SEED, number)


@pytest.mark.parametrize("number", [0, 30])
def test_a_preview_moves_before_a_transparent_ground(number: int) -> None:
    shown = frames(number)
    assert 8 < len(shown) <= 28
    clear = [(frame[..., 3] == 0).mean() for frame in shown]
    assert 0.1 < min(clear) <= max(clear) < 0.9
    assert any((frame != shown[0]).mean() > 0.001 for frame in shown[1:])


def test_the_mannequin_stands_as_tall_as_the_figure_and_tells_left_from_right() -> None:
    found = ENTRIES[30]
    places, turns = place_joints(found.move.perform(10.0, found.style))
    mesh = pose_mannequin(places[0], turns[0])
    assert mesh.colors is not None and mesh.normals is not None
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    assert low[1] == pytest.approx(0.0, abs=0.04), "it stands on the ground"
    assert 1.55 < high[1] < 1.8, "and is as tall as the figure"
    sides = {
        tuple(color[:3]): mesh.vertices[(mesh.colors == color).all(axis=1), 0].mean()
        for color in np.unique(mesh.colors, axis=0)
    }
    assert max(sides.values()) > 0.05 and min(sides.values()) < -0.05, "left and right differ in colour"


def test_an_id_that_is_not_there_has_no_preview() -> None:
    with pytest.raises(NotFound, match="There is no motion"):
        preview(999_999)
