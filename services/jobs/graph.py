"""Check a job's task graph, and weigh its progress."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from maquette.runtime.errors import InvalidArgument
from services.jobs.model import Share

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

UNFINISHED = 0.99
"""Most that is shown of a job that has not succeeded yet."""
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Node:
    """One task of a graph."""

    name: str
    after: frozenset[str]
    """Names of the tasks before it, those whose outputs it reads among them."""


def check_graph(nodes: Sequence[Node]) -> None:
    """Raise InvalidArgument unless names are unique and known, and nothing waits for itself."""
    if not nodes:
        raise InvalidArgument("a job needs at least one task")
    names = [node.name for node in nodes]
    if len(set(names)) < len(names):
        raise InvalidArgument("task names are not unique")
    known = set(names)
    for node in nodes:
        if not _NAME.fullmatch(node.name):
            raise InvalidArgument(f"not a task name: {node.name!r}")
        unknown = node.after - known
        if unknown:
            raise InvalidArgument(f"task {node.name!r} waits for unknown tasks: {sorted(unknown)}")
    waiting = {node.name: set(node.after) for node in nodes}
    while waiting:
        ready = {name for name, after in waiting.items() if not after}
        if not ready:
            raise InvalidArgument(f"tasks wait for each other: {sorted(waiting)}")
        waiting = {name: after - ready for name, after in waiting.items() if name not in ready}


def job_fraction(shares: Iterable[Share]) -> float:
    """Return the weighted share of a job that is done, 0–1, to four digits."""
    total = done = 0.0
    for share in shares:
        total += share.weight
        done += share.weight * min(max(share.fraction, 0.0), 1.0)
    return round(done / total, _DIGITS) if total else 0.0


class ProgressBook:
    """Progress of the tasks of the jobs this replica runs. No task's share ever falls."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, Share]] = {}

    def open(self, job_id: str, shares: Mapping[str, Share]) -> None:
        """Take in what is known of a job's tasks; what was known better stays."""
        held = self._jobs.setdefault(job_id, {})
        for task_id, share in shares.items():
            before = held.get(task_id, share)
            held[task_id] = Share(share.weight, max(share.fraction, before.fraction))

    def report(self, job_id: str, task_id: str, fraction: float) -> float:
        """Note a task's progress and return the job's, below 1."""
        held = self._jobs.get(job_id, {})
        share = held.get(task_id)
        if share is not None and fraction > share.fraction:
            held[task_id] = Share(share.weight, min(fraction, 1.0))
        return min(job_fraction(held.values()), UNFINISHED)

    def task_fraction(self, job_id: str, task_id: str) -> float:
        """Return a task's own progress, 0–1."""
        share = self._jobs.get(job_id, {}).get(task_id)
        return share.fraction if share else 0.0

    def close(self, job_id: str) -> None:
        """Forget a job."""
        self._jobs.pop(job_id, None)
