from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.runtime.errors import InvalidArgument
from services.jobs.graph import UNFINISHED, Node, ProgressBook, check_graph, job_fraction
from services.jobs.model import Share


def _node(name: str, *after: str) -> Node:
    return Node(name, frozenset(after))


def test_a_pipeline_that_fans_out_is_a_graph() -> None:
    check_graph([_node("mesh"), _node("rig", "mesh"), _node("walk", "rig"), _node("run", "rig")])


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [_node("a"), _node("a")],
        [_node("a", "b")],
        [_node("a", "a")],
        [_node("a", "b"), _node("b", "c"), _node("c", "a")],
        [_node("a,b")],
        [_node("")],
    ],
)
def test_what_cannot_run_is_refused(nodes: list[Node]) -> None:
    with pytest.raises(InvalidArgument):
        check_graph(nodes)


@given(
    shares=st.lists(
        st.builds(Share, st.floats(0.01, 100), st.floats(-1, 2, allow_nan=False)), min_size=1, max_size=8
    )
)
def test_a_jobs_fraction_stays_between_nothing_and_all(shares: list[Share]) -> None:
    assert 0.0 <= job_fraction(shares) <= 1.0 + 1e-9


@given(
    reports=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(-0.5, 1.5, allow_nan=False)), max_size=40
    )
)
def test_progress_never_falls_whatever_tasks_report(reports: list[tuple[str, float]]) -> None:
    book = ProgressBook()
    shares = {"a": Share(1, 0), "b": Share(3, 0), "c": Share(0.5, 0)}
    book.open("job", shares)
    last = 0.0
    for task, fraction in reports:
        now = book.report("job", task, fraction)
        assert last <= now <= UNFINISHED
        last = now
        book.open("job", shares)  # a new attempt knows nothing of what was reached


def test_weights_count() -> None:
    book = ProgressBook()
    book.open("job", {"mesh": Share(3, 0), "rig": Share(1, 0)})
    assert book.report("job", "mesh", 1.0) == pytest.approx(0.75)
    assert book.report("job", "rig", 0.5) == pytest.approx(0.875)


def test_a_fraction_has_four_digits() -> None:
    assert job_fraction([Share(1, 0.1 + 0.2)]) == 0.3
    assert job_fraction([Share(1, 1.0), Share(2, 0.0)]) == 0.3333
