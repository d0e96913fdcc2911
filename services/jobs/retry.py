"""Decide what becomes of a task whose attempt failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from maquette.runtime.errors import CATALOGUE, Retry


class Cost(Enum):
    """What giving a task back costs it; the values are those of `ledger.release_task`."""

    SNOOZE = "SNOOZE"
    NODE = "NODE"
    CRASH = "CRASH"


@dataclass(frozen=True, slots=True)
class Budgets:
    """How many attempts may be lost."""

    crashes: int
    node_losses: int


@dataclass(frozen=True, slots=True)
class Requeue:
    """Back to the queue, not before ``delay`` seconds."""

    cost: Cost
    delay: float


@dataclass(frozen=True, slots=True)
class Fail:
    """No further attempt."""


def snooze_delay(snoozes: int) -> float:
    """Return seconds to wait before a node is asked again: 50 ms, doubling up to 1 s."""
    return min(0.05 * 2.0 ** min(snoozes, 10), 1.0)


def decide(reason: str, *, crashes: int, node_losses: int, snoozes: int, budgets: Budgets) -> Requeue | Fail:
    """Return what the catalogue's retry class asks for; the counts are those before this failure."""
    retry = CATALOGUE[reason].retry
    if retry is Retry.SNOOZE:
        return Requeue(Cost.SNOOZE, snooze_delay(snoozes))
    if retry is Retry.NODE and node_losses + 1 < budgets.node_losses:
        # The first losses cost no time; a node that comes back broken must not eat the budget at once.
        return Requeue(Cost.NODE, 0.0 if node_losses < 2 else min(0.05 * 2 ** (node_losses - 2), 1.0))
    if retry is Retry.ATTEMPT and crashes + 1 < budgets.crashes:
        return Requeue(Cost.CRASH, 0.1 * 2.0**crashes)
    return Fail()
