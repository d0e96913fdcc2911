"""Take turns: what is compared runs under the same weather."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def take_turns(rounds: int, contenders: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run every contender once a round, in turning order; return what each saw."""
    seen: dict[str, list[T]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seen[name].append(contenders[name]())
    return seen


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median over the rounds of ours ÷ theirs."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def load_average() -> float:
    """Return how many processes wanted a core in the last minute: tells how noisy it was."""
    return round(os.getloadavg()[0], 2)
