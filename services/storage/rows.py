"""Schema `assets`: every statement storage makes, each with the invariant it guards.

Times come from the caller's clock, never from the database: one clock decides what has expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from maquette.runtime.grants import Grant
from services.storage.database import Database
from services.storage.limits import Room
from services.storage.model import Blob, Retention, Upload, UploadKind

if TYPE_CHECKING:
    from services.storage.database import Connection

# Takes the row's lock until the transaction ends. A second write of the same content starts its
# grace again and keeps the stronger retention.
_TOUCH_BLOB = """
    INSERT INTO assets.blob AS known (digest, size, retention, created_at, last_written_at)
    VALUES ($1, $2, $3, $4, $4)
    ON CONFLICT (digest) DO UPDATE
       SET last_written_at = GREATEST(known.last_written_at, EXCLUDED.last_written_at),
           retention = GREATEST(known.retention, EXCLUDED.retention)
    RETURNING xmax = 0 AS inserted
"""
# New bytes are counted one writer at a time, so that two at once cannot both take the last ones.
_LOCK_QUOTA = "SELECT pg_advisory_xact_lock(hashtextextended('quota', 0))"
_TOTAL_BYTES = "SELECT COALESCE(sum(size), 0)::bigint FROM assets.blob"

# As a second write does, for somebody who has the digest and not the bytes. A removal in progress holds
# the row's lock: it is waited for, and then there is no row.
_HOLD_BLOB = """
    UPDATE assets.blob SET last_written_at = GREATEST(last_written_at, $2) WHERE digest = $1 RETURNING true
"""

# Repeated when an answer was lost: the same id is the same upload.
_INSERT_UPLOAD = """
    INSERT INTO assets.upload
           (id, account_id, kind, filename, media_type, digest, path, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (id) DO NOTHING
"""
# An expired upload is not found even while its row waits for the sweeper; an account finds its own.
_FIND_UPLOAD = """
    SELECT upload.*, blob.size FROM assets.upload JOIN assets.blob USING (digest)
     WHERE account_id = $1 AND (id = $2 OR path = $3) AND expires_at > $4
"""
_DELETE_UPLOAD = "DELETE FROM assets.upload WHERE account_id = $1 AND id = $2 RETURNING digest"
_DELETE_EXPIRED_UPLOADS = """
    DELETE FROM assets.upload
     WHERE id IN (SELECT id FROM assets.upload WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
    RETURNING digest
"""

# A grant's writes are serialised, so that two at once cannot both take its last bytes.
_LOCK_GRANT = "SELECT pg_advisory_xact_lock(hashtextextended('grant ' || $1, 0))"
_GRANT_WRITTEN = """
    SELECT COALESCE(sum(size), 0)::bigint FROM assets.grant_write WHERE grant_id = $1 AND digest <> $2
"""
_INSERT_GRANT_WRITE = """
    INSERT INTO assets.grant_write (grant_id, digest, size, expires_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (grant_id, digest) DO NOTHING
"""
_GRANT_WROTE = "SELECT 1 FROM assets.grant_write WHERE grant_id = $1 AND digest = $2"
_DELETE_EXPIRED_GRANT_WRITES = "DELETE FROM assets.grant_write WHERE expires_at <= $1"

# Old enough, not kept for ever, and no live upload: whether `jobs` refers to it is asked next.
_CANDIDATES = """
    SELECT digest FROM assets.blob
     WHERE digest > $1 AND last_written_at <= $2 AND retention <> $3
       AND NOT EXISTS (SELECT 1 FROM assets.upload WHERE upload.digest = blob.digest AND expires_at > $4)
     ORDER BY digest LIMIT $5
"""
# The lock is taken on the row as it is now: content written again since the question was asked
# fails the condition and stays. `$2` is the latest time of its last write. `$3` is the end of the
# time in which a *second* write protects: then somebody counts on bytes written before.
_LOCK_REMOVABLE = """
    SELECT digest FROM assets.blob
     WHERE digest = ANY($1) AND retention <> $4 AND last_written_at <= $2
       AND (last_written_at = created_at OR last_written_at <= $3)
       AND NOT EXISTS (SELECT 1 FROM assets.upload WHERE upload.digest = blob.digest AND expires_at > $5)
     ORDER BY digest FOR UPDATE
"""
_DELETE_DEAD_UPLOADS_OF = "DELETE FROM assets.upload WHERE digest = ANY($1) AND expires_at <= $2"
_DELETE_BLOBS = "DELETE FROM assets.blob WHERE digest = ANY($1)"


@dataclass(frozen=True, slots=True)
class RemovalRule:
    """Which blobs may go when nothing refers to them."""

    last_written_before: datetime
    rewritten_before: datetime
    """A blob that was written more than once must have been left alone since this time."""
    now: datetime


class Rows:
    """The tables of storage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def announce(
        self, blob: Blob, retention: Retention, now: datetime, room: Room, grant: Grant | None = None
    ) -> None:
        """Write a blob's row before its bytes are published: bytes without a row cannot be.

        Raises what `room` raises when the blob is too much; then nothing is written.
        """

        async def work(connection: Connection) -> None:
            if grant is not None:
                await connection.execute(_LOCK_GRANT, grant.id)
                written: int = await connection.fetchval(_GRANT_WRITTEN, grant.id, blob.digest)
                room.check_grant(grant, written + blob.size)
                await connection.execute(
                    _INSERT_GRANT_WRITE, grant.id, blob.digest, blob.size, grant.expires_at
                )
            if room.quota_bytes is not None:
                await connection.execute(_LOCK_QUOTA)
            new = await connection.fetchval(_TOUCH_BLOB, blob.digest, blob.size, retention, now)
            if new and room.quota_bytes is not None:
                room.check_total(await connection.fetchval(_TOTAL_BYTES))

        await self._database.transaction(work)

    async def confirm(
        self, blob: Blob, retention: Retention, now: datetime, upload: Upload | None = None
    ) -> bool:
        """Record that an announced blob was published, and the upload it is for.

        False when the row was removed in between, and perhaps the bytes with it; then nothing is
        recorded. A removal in progress is waited for: it holds the row's lock.
        """

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_TOUCH_BLOB, blob.digest, blob.size, retention, now):
                return False
            if upload is not None:
                await connection.execute(_INSERT_UPLOAD, *_upload_values(upload))
            return True

        return await self._database.transaction(work)

    async def hold(self, digest: str, now: datetime) -> bool:
        """Start a blob's grace again; False when there is no such blob."""
        return await self._fetchval(_HOLD_BLOB, digest, now) is not None

    async def total_bytes(self) -> int:
        """Return the size of all blobs."""
        total: int = await self._fetchval(_TOTAL_BYTES)
        return total

    async def find_upload(
        self, account_id: str, now: datetime, *, upload_id: str = "", path: str = ""
    ) -> Upload | None:
        """Return an account's live upload by id or by issued path."""

        async def work(connection: Connection) -> Any:
            return await connection.fetchrow(_FIND_UPLOAD, account_id, upload_id, path, now)

        row = await self._database.statement(work)
        if row is None:
            return None
        values = dict(row)
        return Upload(**{**values, "kind": UploadKind(values["kind"])})

    async def delete_upload(self, account_id: str, upload_id: str) -> str | None:
        """Forget an account's upload and return the digest of its bytes; None when there is none."""
        digest: str | None = await self._fetchval(_DELETE_UPLOAD, account_id, upload_id)
        return digest

    async def delete_expired_uploads(self, now: datetime, limit: int) -> list[str]:
        """Forget expired uploads and return the digests they referred to."""
        return [row["digest"] for row in await self._fetch(_DELETE_EXPIRED_UPLOADS, now, limit)]

    async def grant_wrote(self, grant_id: str, digest: str) -> bool:
        """Tell whether a blob was written under a grant."""
        return await self._fetchval(_GRANT_WROTE, grant_id, digest) is not None

    async def grant_written(self, grant_id: str) -> int:
        """Return the bytes written under a grant."""
        written: int = await self._fetchval(_GRANT_WRITTEN, grant_id, "")
        return written

    async def delete_expired_grant_writes(self, now: datetime) -> None:
        """Forget what was written under grants that open nothing any more."""
        await self._execute(_DELETE_EXPIRED_GRANT_WRITES, now)

    async def candidates(self, after: str, rule: RemovalRule, limit: int) -> list[str]:
        """Return the next digests, in order, that may go if `jobs` does not refer to them."""
        rows = await self._fetch(
            _CANDIDATES, after, rule.last_written_before, Retention.EXAMPLE, rule.now, limit
        )
        return [row["digest"] for row in rows]

    async def remove(
        self, digests: Sequence[str], rule: RemovalRule, remove: Callable[[str], Awaitable[int]]
    ) -> dict[str, int]:
        """Remove blobs' bytes and rows under the rows' locks and return the bytes each freed.

        Digests that the rule keeps are not in the answer: written again, uploaded again, or kept
        for ever. Writers of the same content wait until the locks go, so give few at a time.
        """

        async def work(connection: Connection) -> dict[str, int]:
            rows = await connection.fetch(
                _LOCK_REMOVABLE,
                digests,
                rule.last_written_before,
                rule.rewritten_before,
                Retention.EXAMPLE,
                rule.now,
            )
            found = [row["digest"] for row in rows]
            if not found:
                return {}
            await connection.execute(_DELETE_DEAD_UPLOADS_OF, found, rule.now)
            freed = await _all(remove, found)
            await connection.execute(_DELETE_BLOBS, found)
            return freed

        return await self._database.transaction(work)

    async def _execute(self, query: str, *values: object) -> None:
        await self._database.statement(lambda connection: connection.execute(query, *values))

    async def _fetchval(self, query: str, *values: object) -> Any:
        return await self._database.statement(lambda connection: connection.fetchval(query, *values))

    async def _fetch(self, query: str, *values: object) -> Sequence[Any]:
        rows: Iterable[Any] = await self._database.statement(
            lambda connection: connection.fetch(query, *values)
        )
        return list(rows)


async def _all(remove: Callable[[str], Awaitable[int]], digests: Sequence[str]) -> dict[str, int]:
    """Remove many at once, and wait for each of them whatever happens to one.

    A removal that went on after the locks are gone could take what a writer has put there since.
    """
    removing = asyncio.gather(*map(remove, digests), return_exceptions=True)
    try:
        outcomes = await asyncio.shield(removing)
    except asyncio.CancelledError:
        await removing
        raise
    freed = {}
    for digest, outcome in zip(digests, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        freed[digest] = outcome
    return freed


def _upload_values(upload: Upload) -> tuple[object, ...]:
    return (
        upload.id,
        upload.account_id,
        upload.kind,
        upload.filename,
        upload.media_type,
        upload.digest,
        upload.path,
        upload.created_at,
        upload.expires_at,
    )
