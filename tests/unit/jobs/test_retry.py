from __future__ import annotations

import pytest

from maquette.runtime.errors import CATALOGUE, Retry
from services.jobs.retry import Budgets, Cost, Fail, Requeue, decide

BUDGETS = Budgets(crashes=3, node_losses=20)


def _decide(reason: str, crashes: int = 0, losses: int = 0, snoozes: int = 0) -> Requeue | Fail:
    return decide(reason, crashes=crashes, node_losses=losses, snoozes=snoozes, budgets=BUDGETS)


@pytest.mark.parametrize("reason", [r for r, row in CATALOGUE.items() if row.retry is Retry.NEVER])
def test_what_fails_again_is_never_tried_again(reason: str) -> None:
    assert _decide(reason) == Fail()


def test_the_third_crash_is_the_last() -> None:
    costs = [_decide("WORKER_CRASHED", crashes=n) for n in range(3)]
    assert [isinstance(c, Requeue) and c.cost is Cost.CRASH for c in costs] == [True, True, False]


def test_the_twentieth_lost_node_is_the_last() -> None:
    costs = [isinstance(_decide("NODE_LOST", losses=n), Requeue) for n in range(20)]
    assert costs == [True] * 19 + [False]


def test_the_first_lost_node_costs_no_time() -> None:
    assert _decide("NODE_LOST") == Requeue(Cost.NODE, 0.0)


def test_a_full_node_costs_nothing_and_is_asked_less_and_less_often() -> None:
    delays = []
    for n in (0, 1, 2, 5, 1000):
        what = _decide("NODE_BUSY", crashes=2, losses=19, snoozes=n)
        assert isinstance(what, Requeue) and what.cost is Cost.SNOOZE
        delays.append(what.delay)
    assert delays == [0.05, 0.1, 0.2, 1.0, 1.0]


def test_budgets_are_apart() -> None:
    assert isinstance(_decide("WORKER_CRASHED", losses=19), Requeue)
    assert isinstance(_decide("NODE_LOST", crashes=2), Requeue)
