"""Every id of the library is played by something, and says how near it comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.animation.library import MOVES
from services.animation.library.ids import ENTRIES, Match, UnknownMotionError, entry, find, read
from services.animation.motion.moods import MOODS
from services.animation.motion.moves import CATEGORIES

FACTS = Path(__file__).parents[4] / "shared" / "spec" / "ANIMATION_LIBRARY.tsv"
HEADER = "id\tcategory\tmove\tspeed\tenergy\tmood\tleft_handed\tin_place\tmatch\treason"
ROW = "7\tDancing\tgroove\t1\t1\tneutral\tfalse\tfalse\texact\t"


def test_every_id_resolves_to_a_move_in_a_style() -> None:
    assert len(ENTRIES) == 678
    for number, each in ENTRIES.items():
        assert entry(number) is each
        assert MOVES[each.move.name] is each.move
        assert each.style.mood in MOODS and each.category in CATEGORIES


def test_the_ids_are_those_that_clients_know() -> None:
    if not FACTS.exists():
        pytest.skip("the shared facts are not here")
    rows = [line.split("\t") for line in FACTS.read_text().splitlines() if line[:1].isdigit()]
    assert {int(row[0]): row[2] for row in rows} == {each.id: each.category for each in ENTRIES.values()}
    in_place = {int(row[0]) for row in rows if row[1].endswith("_inplace")}
    assert in_place == {each.id for each in ENTRIES.values() if each.in_place}


@pytest.mark.parametrize(
    ("number", "move"),
    [(0, "idle"), (1, "graceful_walk"), (30, "casual_walk"), (106, "confident_walk")],
)
def test_the_ids_that_are_tried_first_are_exact(number: int, move: str) -> None:
    found = entry(number)
    assert (found.move.name, found.match, found.in_place) == (move, Match.EXACT, False)
    assert found.style.speed == found.style.energy == 1.0


def test_no_two_ids_play_the_same() -> None:
    played = {(each.move.name, each.style, each.in_place) for each in ENTRIES.values()}
    assert len(played) == len(ENTRIES)


def test_names_are_unique() -> None:
    assert len({each.name for each in ENTRIES.values()}) == len(ENTRIES)


def test_an_approximation_says_what_is_missing() -> None:
    for each in ENTRIES.values():
        assert bool(each.reason) == (each.match is Match.APPROXIMATE)
    assert any(each.match is Match.APPROXIMATE for each in ENTRIES.values())


@pytest.mark.parametrize("number", [454, -1, 100_000])
def test_an_unknown_id_tells_how_to_find_one(number: int) -> None:
    with pytest.raises(UnknownMotionError, match=rf"no motion {number}\b.*search"):
        entry(number)


def test_a_search_finds_by_name_tag_mood_and_category() -> None:
    assert entry(30) in find("casual walk")
    assert all("sad" in each.tags for each in find("sad") if each.style.mood == "sad")
    assert {each.category for each in find(category="Dancing")} == {"Dancing"}
    assert {each.match for each in find(match=Match.EXACT)} == {Match.EXACT}
    assert find("") == tuple(ENTRIES.values())
    assert find("no such motion at all") == ()
    with pytest.raises(ValueError, match="no category"):
        find(category="Cooking")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (ROW.replace("groove", "levitate"), "levitate"),
        (ROW.replace("neutral", "bored"), "no style"),
        (ROW.replace("Dancing", "Cooking"), "no category"),
        (ROW.replace("exact", "approximate"), "reason"),
        (ROW + "why", "reason"),
        (ROW.replace("\t1\t1", "\t9\t1"), "no style"),
        (ROW.removesuffix("\t"), "columns"),
        (f"{ROW}\n{ROW}", "twice"),
        (f"{ROW}\n8{ROW[1:]}", "same as id 7"),
    ],
)
def test_a_wrong_table_is_refused_with_its_row(row: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"row [23] .*{complaint}"):
        read(f"{HEADER}\n{row}".splitlines())


def test_a_table_without_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with the columns"):
        read(["id\tmove"])
