"""Progress of a run: stages with their share of the time, and stages inside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from maquette.runtime.engine import Report

SHARES: Mapping[str, float] = {
    "reading": 0.05,
    "fitting": 0.40,
    "binding": 0.35,
    "writing": 0.08,
    "rendering": 0.12,
}
"""Share of the time of each stage of a full run on characters of 5,000 to 50,000 vertices."""


class Progress:
    """Reports stages in order; those a run leaves out are passed over."""

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._start = clock()
        self._stage = ""
        self._begin = self._end = 0.0

    def enter(self, stage: str, message: str) -> None:
        """Begin a stage of :data:`SHARES`; what comes before it counts as done."""
        names = list(SHARES)
        place = names.index(stage)
        self._stage = stage
        self._begin = sum(SHARES[name] for name in names[:place])
        self._end = self._begin + SHARES[stage]
        self.within(0.0, message)

    def within(self, share: float, message: str = "") -> None:
        """Report a share of the present stage. Raises Cancelled when the task was cancelled."""
        done = self._begin + (self._end - self._begin) * min(1.0, max(0.0, share))
        left = (self._clock() - self._start) * (1.0 - done) / done if done > 0 else None
        self._report(self._stage, done, message, eta=left)

    def tick(self) -> None:
        """Stay where it is. Raises Cancelled when the task was cancelled."""
        self.within(0.0)
