"""Hold the one table of state transitions of jobs and tasks.

Code asks it, a database trigger repeats it, tests walk it, and ``python -m services.jobs.states``
draws it for the documentation. A terminal state has no way out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """State of a job or of a task; the values are those of the database and of the protos."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Kind(Enum):
    """What has states."""

    JOB = "job"
    TASK = "task"


class Event(Enum):
    """What clients are told; the values are those of the protos."""

    QUEUED = "QUEUED"
    STARTED = "STARTED"
    PROGRESS = "PROGRESS"
    REQUEUED = "REQUEUED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DELETED = "DELETED"
    SNAPSHOT = "SNAPSHOT"


@dataclass(frozen=True, slots=True)
class Transition:
    """One way from a state to another."""

    kind: Kind
    source: State
    target: State
    event: Event | None
    """What is published to the job's watchers; None where the job's own transition says it."""
    why: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition(Kind.JOB, State.QUEUED, State.RUNNING, Event.STARTED, "a task is claimed"),
    Transition(Kind.JOB, State.RUNNING, State.QUEUED, Event.REQUEUED, "its only attempt is lost"),
    Transition(Kind.JOB, State.RUNNING, State.SUCCEEDED, Event.SUCCEEDED, "the last task ends"),
    Transition(Kind.JOB, State.RUNNING, State.FAILED, Event.FAILED, "a task fails, or time is over"),
    Transition(Kind.JOB, State.RUNNING, State.CANCELLED, Event.CANCELLED, "cancelled"),
    Transition(Kind.JOB, State.QUEUED, State.FAILED, Event.FAILED, "time is over"),
    Transition(Kind.JOB, State.QUEUED, State.CANCELLED, Event.CANCELLED, "cancelled"),
    Transition(Kind.TASK, State.QUEUED, State.RUNNING, None, "claimed: a fresh lease"),
    Transition(Kind.TASK, State.RUNNING, State.QUEUED, None, "attempt lost, or the node was full"),
    Transition(Kind.TASK, State.RUNNING, State.SUCCEEDED, None, "result committed under its lease"),
    Transition(Kind.TASK, State.RUNNING, State.FAILED, None, "final error, or a budget is used up"),
    Transition(Kind.TASK, State.RUNNING, State.CANCELLED, None, "its job ended"),
    Transition(Kind.TASK, State.QUEUED, State.CANCELLED, None, "its job ended"),
    Transition(Kind.TASK, State.QUEUED, State.FAILED, None, "a task whose file it needs failed softly"),
)

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
OPEN = frozenset(State) - TERMINAL
TERMINAL_EVENTS = frozenset({Event.SUCCEEDED, Event.FAILED, Event.CANCELLED})

_ALLOWED = {(row.kind, row.source, row.target): row for row in TRANSITIONS}


class ForbiddenTransition(Exception):
    """The table has no such way."""


def transition(kind: Kind, source: State, target: State) -> Transition:
    """Return the table's row. Raises ForbiddenTransition when there is none."""
    row = _ALLOWED.get((kind, source, target))
    if row is None:
        raise ForbiddenTransition(f"{kind.value}: {source.value} → {target.value}")
    return row


def allowed(kind: Kind, source: State, target: State) -> bool:
    """Tell whether the table has a way."""
    return (kind, source, target) in _ALLOWED


def terminal_event(state: State) -> Event:
    """Return the event that a terminal state is told by. Raises KeyError for an open state."""
    return {state: Event(state.value) for state in TERMINAL}[state]


def mermaid(kind: Kind) -> str:
    """Draw the table of a job or of a task as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> QUEUED: created"]
    lines += [
        f"    {row.source.value} --> {row.target.value}: {row.why}" for row in TRANSITIONS if row.kind is kind
    ]
    lines += [f"    {state.value} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines)


def main() -> None:
    """Print both diagrams."""
    for kind in Kind:
        sys.stdout.write(f"```mermaid\n---\ntitle: A {kind.value}\n---\n{mermaid(kind)}\n```\n")


if __name__ == "__main__":
    main()
