"""A word on the command line becomes the motion that is meant."""

from __future__ import annotations

from typing import Any

import pytest

from maquette.cli.motions import Animation, chosen
from maquette.cli.saving import file_names


def motion(number: int, name: str, **more: Any) -> dict[str, Any]:
    move = name.partition(",")[0].replace(" ", "_")
    return {"id": number, "name": name, "motion": move, "match": "exact", "tags": [], **more}


LIBRARY = [
    motion(1, "graceful walk"),
    motion(5, "moonwalk"),
    motion(9, "casual walk, slow", tags=["walk"], match="close"),
    motion(30, "casual walk", tags=["walk"]),
    motion(40, "wave run"),
    motion(41, "wave"),
]


NAMES = ["quadruped_trot", "quadruped_trot_slow"]


def search(word: str) -> tuple[list[dict[str, Any]], list[str]]:
    return [each for each in LIBRARY if word in each["name"]], [name for name in NAMES if word in name]


@pytest.mark.parametrize(
    ("words", "ids", "names"),
    [
        (["30", "0"], [30, 0], []),
        (["walk"], [30], []),
        (["wave", "casual_walk"], [41], ["casual_walk"]),
        (["casual walk"], [30], []),
        (["trot", "march"], [], ["quadruped_trot", "march"]),
    ],
)
def test_a_word_finds_the_motion_that_is_nearest_to_it(
    words: list[str], ids: list[int], names: list[str]
) -> None:
    assert chosen(words, search) == (ids, names)


def test_only_what_was_asked_for_is_sent() -> None:
    assert Animation().body("f", None, [30], []) == {
        "character_file_id": "f",
        "animation_ids": [30],
        "output_format": "glb",
    }
    sent = Animation(in_place=False, each=True, energy=0.0, mirror=True).body("f", "c", [], ["march"])
    assert sent == {
        "character_file_id": "f",
        "clip_file_id": "c",
        "motions": ["march"],
        "output_format": "glb",
        "in_place": False,
        "files": "each",
        "energy": 0.0,
        "left_handed": True,
    }


def test_each_clip_is_saved_under_a_name_of_its_own() -> None:
    files = [
        {"role": role, "file_info": {"filename": f"x.{ending}", "file_extension": f".{ending}"}}
        for role, ending in (("mesh", "fbx"), ("mesh", "fbx"), ("thumbnail", "png"), ("preview", "webp"))
    ]
    assert file_names(files, "dance.fbx") == [
        ("mesh", 0, "dance.fbx"),
        ("mesh", 1, "dance-2.fbx"),
        ("thumbnail", 0, "dance.thumbnail.png"),
        ("preview", 0, "dance.preview.webp"),
    ]
