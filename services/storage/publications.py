"""Give a file a key and links of its own, once for each file a task publishes.

With a bucket that is an object under the key, copied within the bucket, a presigned link and a direct
one. Without, the key is a name only, and the link is one of our own signed ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from maquette.runtime.clock import Clock
from maquette.runtime.errors import InvalidArgument, NotFound
from services.storage.backends.base import Backend
from services.storage.database import Database
from services.storage.filenames import safe_filename
from services.storage.signing import Download, UrlSigner

if TYPE_CHECKING:
    from services.storage.database import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_BATCH = 200

# Invariant: one key a file of a task, and one file a key. A second attempt finds the first one's row; a key
# that another file has is passed by.
_DECIDE = """
    WITH made AS (
        INSERT INTO assets.publication (task_id, ordinal, key, digest, created_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
        RETURNING key, digest, created_at, published_at
    )
    SELECT * FROM made
     UNION ALL
    SELECT key, digest, created_at, published_at FROM assets.publication WHERE task_id = $1 AND ordinal = $2
"""
_DONE = "UPDATE assets.publication SET published_at = $3 WHERE task_id = $1 AND ordinal = $2"
# A row goes after its object: what is without a row is without an object.
_ORPHANS = """
    SELECT key FROM assets.publication p
     WHERE NOT EXISTS (SELECT 1 FROM assets.blob b WHERE b.digest = p.digest) LIMIT $1
"""
_FORGET = "DELETE FROM assets.publication WHERE key = ANY ($1)"


class Bucket(Protocol):
    """Objects that people may be sent to."""

    async def copy(self, digest: str, key: str, media_type: str, filename: str) -> None:
        """Put a blob's bytes under a key of its own; again is no harm. Raises NotFound without the blob."""

    async def delete(self, key: str) -> None:
        """Remove an object; none is no harm."""

    def presigned(self, key: str, seconds: int) -> str:
        """Return a link that opens an object for so long."""

    def direct(self, key: str) -> str:
        """Return the link that opens an object for whoever the bucket's own policy lets."""

    def full_key(self, key: str) -> str:
        """Return a key with the bucket's prefix."""


@dataclass(frozen=True, slots=True)
class Published:
    """A file and where it is found."""

    key: str
    url: str
    """Absolute in a bucket, else a path on our own origin; good until ``expires_at``."""
    direct_url: str
    """Empty where there is no bucket."""
    expires_at: datetime

    def meta(self) -> dict[str, str]:
        """Return it as the ledger keeps it."""
        return {
            "key": self.key,
            "url": self.url,
            "direct_url": self.direct_url,
            "expires_at": self.expires_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class _Decided:
    key: str
    digest: str
    created_at: datetime
    there: bool


class Publications:
    """Publishes files."""

    def __init__(
        self,
        database: Database,
        backend: Backend,
        signer: UrlSigner,
        bucket: Bucket | None,
        clock: Clock,
        lifetime: timedelta,
    ) -> None:
        """Take how long links are good: ``lifetime``."""
        self._database = database
        self._backend = backend
        self._signer = signer
        self._bucket = bucket
        self._clock = clock
        self._lifetime = lifetime

    async def publish(
        self, task_id: str, ordinal: int, digest: str, filename: str, media_type: str
    ) -> Published:
        """Publish a blob; the second time for the same file of a task does nothing.

        Raises NotFound when there is no such blob, and InvalidArgument when the task published other bytes.
        """
        name = safe_filename(filename)
        if await self._backend.stat(digest) is None:
            raise NotFound("there is no such blob")
        decided = await self._decide(task_id, ordinal, digest, name)
        if decided.digest != digest:
            raise InvalidArgument("the task published another file before")
        expires_at = decided.created_at + self._lifetime
        bucket = self._bucket
        if bucket is None:
            link = self._signer.sign(Download(digest, name, media_type, expires_at))
            return Published(decided.key, link, "", expires_at)
        if not decided.there:
            await bucket.copy(digest, decided.key, media_type, name)
            await self._execute(_DONE, task_id, ordinal, self._clock.now())
        left = max(1, int((expires_at - self._clock.now()).total_seconds()))
        return Published(
            bucket.full_key(decided.key),
            bucket.presigned(decided.key, left),
            bucket.direct(decided.key),
            expires_at,
        )

    async def sweep(self) -> int:
        """Remove the objects of blobs that are no more; return how many."""
        removed = 0
        while keys := [row["key"] for row in await self._fetch(_ORPHANS, _BATCH)]:
            if self._bucket is not None:
                for key in keys:
                    await self._bucket.delete(key)
            await self._execute(_FORGET, keys)
            removed += len(keys)
        return removed

    async def _decide(self, task_id: str, ordinal: int, digest: str, name: str) -> _Decided:
        now = self._clock.now()
        stamp = (now - _EPOCH) // _MILLISECOND
        while True:
            key = f"meshy_tmp/{stamp}/{name}"
            rows = await self._fetch(_DECIDE, task_id, ordinal, key, digest, now)
            if rows:
                row = rows[0]
                there = row["published_at"] is not None
                return _Decided(row["key"], row["digest"], row["created_at"], there)
            stamp += 1

    async def _fetch(self, query: str, *values: object) -> Sequence[Any]:
        async def work(connection: Connection) -> Sequence[Any]:
            return await connection.fetch(query, *values)

        return await self._database.statement(work)

    async def _execute(self, query: str, *values: object) -> None:
        await self._fetch(query, *values)
