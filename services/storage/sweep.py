"""Removing bytes: expired uploads, mark and sweep with grace, and release on request.

Nothing is removed unless `jobs` has just said that it does not refer to it. The answer may be old
by a moment when the bytes go; that is safe because whoever comes to need a blob either writes it
again, which restarts its grace under the row's lock, or refers to it through something that is
still referred to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from maquette.runtime.clock import Clock
from maquette.runtime.errors import MaquetteError
from maquette.runtime.telemetry import get_logger
from services.storage import metrics
from services.storage.backends.base import Backend
from services.storage.references import BATCH, References
from services.storage.rows import RemovalRule, Rows

# Blobs removed in one transaction: a writer of one of them waits for the others.
_LOCKED_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed."""

    digests: tuple[str, ...] = ()
    freed_bytes: int = 0

    def __add__(self, other: Removal) -> Removal:
        return Removal(self.digests + other.digests, self.freed_bytes + other.freed_bytes)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep did."""

    expired_uploads: int
    removed: Removal
    asked: bool
    """False when `jobs` could not be asked: then no byte was removed."""
    stale_files: int = 0
    """Temporary files of dead processes."""


class Remover:
    """Removes what nothing refers to."""

    def __init__(
        self, backend: Backend, rows: Rows, references: References, clock: Clock, grace: timedelta
    ) -> None:
        self._backend = backend
        self._rows = rows
        self._references = references
        self._clock = clock
        self._grace = grace

    def sweep_rule(self) -> RemovalRule:
        """Return the rule of sweeps: nobody wrote the blob during the grace."""
        now = self._clock.now()
        return RemovalRule(now - self._grace, now - self._grace, now)

    def release_rule(self) -> RemovalRule:
        """Return the rule of releases: no grace for a blob that was written once.

        A second write tells of somebody else who made the same bytes and may not have told `jobs`
        yet: such a blob is left to the sweep.
        """
        now = self._clock.now()
        return RemovalRule(now, now - self._grace, now)

    async def release(self, digests: Sequence[str]) -> Removal:
        """Remove, right away, those digests that nothing refers to any more."""
        return await self.remove(list(dict.fromkeys(digests)), self.release_rule())

    async def remove(self, digests: Sequence[str], rule: RemovalRule) -> Removal:
        """Remove digests that `jobs` does not refer to and that the rule lets go.

        Raises a MaquetteError when `jobs` cannot be asked; then nothing of the batch is removed.
        """
        removal = Removal()
        for batch in _batches(digests, BATCH):
            kept = await self._references.referenced(batch)
            for few in _batches([digest for digest in batch if digest not in kept], _LOCKED_TOGETHER):
                freed = await self._rows.remove(few, rule, self._backend.remove)
                metrics.REMOVED_BLOBS.inc(len(freed))
                metrics.FREED_BYTES.inc(sum(freed.values()))
                removal += Removal(tuple(freed), sum(freed.values()))
        return removal


class Sweeper:
    """Does one sweep at a time, over everything."""

    def __init__(self, backend: Backend, rows: Rows, remover: Remover, clock: Clock) -> None:
        self._backend = backend
        self._rows = rows
        self._remover = remover
        self._clock = clock

    async def run_once(self) -> SweepResult:
        """Expire uploads and grants' records, then remove what nothing refers to.

        A `jobs` that does not answer ends the removals of this sweep; the next one takes them up.
        Raises Unavailable when the database or the back end is away.
        """
        stale = await self._backend.clean()
        await self._rows.delete_expired_grant_writes(self._clock.now())
        expired = await self._expire_uploads()
        rule = self._remover.sweep_rule()
        removed, after = Removal(), ""
        while batch := await self._rows.candidates(after, rule, BATCH):
            after = batch[-1]
            try:
                removed += await self._remover.remove(batch, rule)
            except MaquetteError as error:
                get_logger().warning("sweep ended early", reason=error.reason, error=error.message)
                return SweepResult(expired, removed, False, stale)
        return SweepResult(expired, removed, True, stale)

    async def _expire_uploads(self) -> int:
        """Forget expired uploads; their bytes are candidates like any other from then on."""
        expired = 0
        while gone := await self._rows.delete_expired_uploads(self._clock.now(), BATCH):
            expired += len(gone)
        metrics.EXPIRED_UPLOADS.inc(expired)
        return expired


async def sweep_periodically(
    run_once: Callable[[], Awaitable[SweepResult]], interval: float, stopping: asyncio.Event
) -> None:
    """Sweep at once and then every ``interval`` seconds until the service stops."""
    while not stopping.is_set():
        try:
            result = await run_once()
        except MaquetteError as error:
            metrics.SWEEPS.labels(error.reason).inc()
            get_logger().warning("sweep failed", reason=error.reason, error=error.message)
        else:
            metrics.SWEEPS.labels("done" if result.asked else "jobs_away").inc()
            get_logger().info(
                "swept",
                expired_uploads=result.expired_uploads,
                removed_blobs=len(result.removed.digests),
                freed_bytes=result.removed.freed_bytes,
                stale_files=result.stale_files,
            )
        try:
            async with asyncio.timeout(interval):
                await stopping.wait()
        except TimeoutError:
            continue


def _batches(digests: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(digests)
    while batch := list(islice(rest, size)):
        yield batch
