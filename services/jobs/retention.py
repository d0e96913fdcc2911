"""Forget what is old: idempotency keys, and ended jobs with their tasks, events and files.

Storage frees the bytes: its own sweep asks which blobs the ledger still refers to.
"""

from __future__ import annotations

from services.jobs import metrics
from services.jobs.endings import Endings
from services.jobs.hub import Hub
from services.jobs.ledger.retention import RetentionTable
from services.jobs.model import EPOCH_BITS

_BATCH = 200
# What is removed is told to every feed: a sweep must stay well within what a feed may fall behind.
_BATCHES = 5


class Retention:
    """One sweep takes a bounded number of rows; the next one goes on."""

    def __init__(
        self, table: RetentionTable, hub: Hub, endings: Endings, *, keys: float, jobs: float
    ) -> None:
        """Take the lives of keys and of ended jobs, seconds; 0 keeps for ever."""
        self._table = table
        self._hub = hub
        self._endings = endings
        self._keys = keys
        self._jobs = jobs

    async def sweep(self) -> None:
        """Sweep once. Does nothing while another replica sweeps."""
        if self._keys:
            await self._expire_keys()
        if self._jobs:
            await self._remove_jobs()

    async def _expire_keys(self) -> None:
        for _ in range(_BATCHES):
            expired = await self._table.expire_keys(self._keys, _BATCH)
            metrics.EXPIRED_KEYS.inc(expired)
            if expired < _BATCH:
                return

    async def _remove_jobs(self) -> None:
        for _ in range(_BATCHES):
            removed = await self._table.remove_ended(self._jobs, _BATCH)
            for job in removed:
                # Also where it is held no more: gateways may remember it.
                self._hub.load([job])
                self._endings.deleted(job.id, epoch=(job.seq >> EPOCH_BITS) + 1)
            metrics.REMOVED_JOBS.inc(len(removed))
            if len(removed) < _BATCH:
                return
