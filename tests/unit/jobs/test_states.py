from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs import migrations
from services.jobs.states import (
    OPEN,
    TERMINAL,
    TERMINAL_EVENTS,
    TRANSITIONS,
    Event,
    ForbiddenTransition,
    Kind,
    State,
    allowed,
    mermaid,
    terminal_event,
    transition,
)


@given(kind=st.sampled_from(Kind), wishes=st.lists(st.sampled_from(State), max_size=30))
def test_terminal_is_final_on_every_walk(kind: Kind, wishes: list[State]) -> None:
    state, ends = State.QUEUED, 0
    for wish in wishes:
        if not allowed(kind, state, wish):
            with pytest.raises(ForbiddenTransition):
                transition(kind, state, wish)
            continue
        assert state in OPEN
        state = transition(kind, state, wish).target
        ends += state in TERMINAL
    assert ends <= 1


@pytest.mark.parametrize("kind", Kind)
def test_every_state_is_reachable_and_every_open_one_can_end(kind: Kind) -> None:
    reached = {State.QUEUED}
    while more := {t.target for t in TRANSITIONS if t.kind is kind and t.source in reached} - reached:
        reached |= more
    assert reached == set(State)
    for state in OPEN:
        assert any(t.source is state and t.target in TERMINAL for t in TRANSITIONS if t.kind is kind)


def test_a_job_succeeds_only_while_it_runs() -> None:
    sources = {t.source for t in TRANSITIONS if t.target is State.SUCCEEDED}
    assert sources == {State.RUNNING}


def test_each_terminal_state_has_its_own_event() -> None:
    assert {terminal_event(state) for state in TERMINAL} == TERMINAL_EVENTS
    with pytest.raises(KeyError):
        terminal_event(State.RUNNING)
    assert Event.DELETED not in TERMINAL_EVENTS


def test_the_database_trigger_knows_the_same_table() -> None:
    files = sorted(Path(migrations.__file__).parent.glob("*.sql"))
    sql = "".join(file.read_text() for file in files)
    for kind in Kind:
        body = sql[sql.rindex(f"FUNCTION ledger.check_{kind.value}_transition() RETURNS") :]
        body = body[: body.index("THEN")]
        pairs = set(re.findall(r"\('([A-Z]+)', '([A-Z]+)'\)", body))
        assert pairs == {(t.source.value, t.target.value) for t in TRANSITIONS if t.kind is kind}


def test_the_diagram_draws_every_transition() -> None:
    drawn = mermaid(Kind.JOB)
    for row in TRANSITIONS:
        if row.kind is Kind.JOB:
            assert f"{row.source.value} --> {row.target.value}" in drawn
