from __future__ import annotations

from services.jobs.fairness import Turns


def test_who_was_served_longest_ago_comes_first() -> None:
    turns = Turns()
    turns.served(["a", "b", "c"])
    turns.served(["a"])
    assert turns.order() == ["b", "c", "a"]


def test_old_accounts_are_forgotten() -> None:
    turns = Turns(most=3)
    turns.served(str(n) for n in range(10))
    assert turns.order() == ["7", "8", "9"]
