"""Writing and reading blobs: the order in which bytes and rows appear.

A write spools its bytes (nothing is visible), announces the row, publishes the bytes, confirms the
row. A stream that breaks off before its commit leaves neither; a process that dies later leaves a
row that the sweep removes. Reads need no database.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta

from maquette.runtime.clock import Clock, IdSource
from maquette.runtime.errors import InvalidArgument, MaquetteError, NotFound, PermissionDenied, Unavailable
from maquette.runtime.grants import Grant
from services.storage import metrics
from services.storage.backends.base import Backend, BlobStat, Source
from services.storage.filenames import safe_filename, safe_format
from services.storage.limits import RECHECK_BYTES, Room, check_size
from services.storage.model import Blob, Retention, Upload, UploadKind
from services.storage.rows import Rows
from services.storage.spool import Incoming, Spool

_GRANTABLE = frozenset({Retention.SCRATCH, Retention.RESULT})


class Blobs:
    """Content-addressed bytes, under the operator's limits."""

    def __init__(self, backend: Backend, rows: Rows, room: Room, clock: Clock) -> None:
        self._backend = backend
        self._rows = rows
        self._room = room
        self._clock = clock
        # Bytes that streams of this process have spooled and not yet announced.
        self._arriving = 0

    async def write(
        self,
        chunks: AsyncIterator[bytes | Incoming],
        retention: Retention,
        *,
        expected_digest: str = "",
        max_bytes: int = 0,
        grant: Grant | None = None,
    ) -> Blob:
        """Keep a stream's bytes; the same bytes again are the same blob.

        Raises InvalidArgument (FILE_TOO_LARGE, DIGEST_MISMATCH), ResourceExhausted (STORAGE_FULL),
        PermissionDenied when a grant asks for a retention that is not a task's.
        """
        limit = self._room.stream_limit(max_bytes)
        if grant is not None:
            if retention not in _GRANTABLE:
                raise PermissionDenied(f"a task may not keep files as {retention.name}")
            limit = min(limit, max(0, grant.max_write_bytes - await self._rows.grant_written(grant.id)))
        async with self.receive(chunks, limit) as spool:
            if expected_digest and spool.digest != expected_digest:
                raise InvalidArgument(
                    f"the bytes have digest {spool.digest}, not {expected_digest}", reason="DIGEST_MISMATCH"
                )
            return await self.publish(spool, retention, grant=grant)

    @contextlib.asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes | Incoming], limit: int) -> AsyncIterator[Spool]:
        """Spool a stream of at most ``limit`` bytes; whatever happens, no temporary file is left."""
        counted = 0
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._check_room(0)
                spool = await self._backend.open_spool()
                stack.push_async_callback(spool.discard)
                recheck = RECHECK_BYTES
                async for chunk in chunks:
                    check_size(spool.size + len(chunk), limit)
                    self._arriving += len(chunk)
                    counted += len(chunk)
                    if spool.size + len(chunk) >= recheck:
                        await self._check_room(len(chunk))
                        recheck += RECHECK_BYTES
                    await spool.write(chunk)
                await spool.finish()
                metrics.RECEIVED_BYTES.inc(spool.size)
                yield spool
        except MaquetteError as error:
            metrics.WRITES.labels(error.reason).inc()
            raise
        finally:
            self._arriving -= counted

    async def publish(
        self, spool: Spool, retention: Retention, *, grant: Grant | None = None, upload: Upload | None = None
    ) -> Blob:
        """Make spooled bytes a blob, and the upload it is for findable."""
        blob = Blob(spool.digest, spool.size)
        now = self._clock.now()
        await self._rows.announce(blob, retention, now, self._room, grant)
        new = await self._backend.publish(spool)
        if not await self._rows.confirm(blob, retention, now, upload):
            # Only a release of these very bytes, at this very moment, comes here.
            raise Unavailable("the blob was removed while it was written")
        metrics.WRITES.labels("new" if new else "known").inc()
        return blob

    async def read(
        self, digest: str, offset: int = 0, length: int | None = None, grant: Grant | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a blob or a range. Raises PermissionDenied (GRANT_REFUSED) for what a grant keeps shut."""
        await self._check_grant(digest, grant)
        async with contextlib.aclosing(self._backend.read(digest, offset, length)) as chunks:
            async for chunk in chunks:
                metrics.SENT_BYTES.inc(len(chunk))
                yield chunk

    async def open(
        self, digest: str, offset: int = 0, length: int | None = None, grant: Grant | None = None
    ) -> Source:
        """Open a blob or a range for threads to read. Raises what `read` raises."""
        await self._check_grant(digest, grant)
        return _Counted(await self._backend.open(digest, offset, length))

    async def _check_grant(self, digest: str, grant: Grant | None) -> None:
        if (
            grant is not None
            and digest not in grant.inputs
            and not await self._rows.grant_wrote(grant.id, digest)
        ):
            raise PermissionDenied("the grant does not open this blob", reason="GRANT_REFUSED")

    async def stat(self, digest: str) -> BlobStat:
        """Return size and age of a blob. Raises NotFound."""
        stat = await self._backend.stat(digest)
        if stat is None:
            raise NotFound(f"there is no blob {digest}")
        return stat

    async def hold(self, digest: str) -> None:
        """Keep a blob for the grace from now on. Raises NotFound."""
        if not await self._rows.hold(digest, self._clock.now()):
            raise NotFound(f"there is no blob {digest}")

    async def _check_room(self, arriving: int) -> None:
        """Check disk floor and quota for the bytes in hand; ``arriving`` are not on the disk yet."""
        free = await self._backend.free_bytes()
        if free is not None:
            metrics.FREE_BYTES.set(free)
        self._room.check_free(free, arriving)
        if self._room.quota_bytes is not None:
            # One more than what is there must fit, or a full store would take spools for nothing.
            self._room.check_total(await self._rows.total_bytes() + max(self._arriving, 1))


class _Counted:
    """A source whose bytes are counted."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        metrics.SENT_BYTES.inc(len(data))
        return data

    def close(self) -> None:
        self._source.close()


class Uploads:
    """Files that people sent: found by id or issued path, by their own account, until they expire."""

    def __init__(
        self, blobs: Blobs, rows: Rows, room: Room, clock: Clock, ids: IdSource, lifetime: timedelta
    ) -> None:
        self._blobs = blobs
        self._rows = rows
        self._room = room
        self._clock = clock
        self._ids = ids
        self._lifetime = lifetime

    @contextlib.asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes | Incoming], max_bytes: int) -> AsyncIterator[Spool]:
        """Spool an upload's bytes; ended by its commit, which `create` then publishes."""
        async with self._blobs.receive(chunks, self._room.stream_limit(max_bytes)) as spool:
            yield spool

    async def create(
        self, spool: Spool, account_id: str, kind: UploadKind, filename: str, media_type: str, extension: str
    ) -> Upload:
        """Publish an upload. Raises InvalidArgument when ``extension`` is no file name extension."""
        try:
            extension = safe_format(extension)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        upload_id = self._ids.token()
        now = self._clock.now()
        upload = Upload(
            id=upload_id,
            account_id=account_id,
            kind=kind,
            filename=safe_filename(filename),
            media_type=media_type,
            digest=spool.digest,
            size=spool.size,
            path=f"/uploads/{kind.folder}/{upload_id}.{extension}",
            created_at=now,
            expires_at=now + self._lifetime,
        )
        await self._blobs.publish(spool, Retention.UPLOAD, upload=upload)
        return upload

    async def find(self, account_id: str, *, upload_id: str = "", path: str = "") -> Upload:
        """Return a live upload. Raises NotFound when unknown, of another account, or expired."""
        upload = await self._rows.find_upload(account_id, self._clock.now(), upload_id=upload_id, path=path)
        if upload is None:
            raise NotFound("there is no such upload, or it has expired")
        return upload

    async def delete(self, account_id: str, upload_id: str) -> str:
        """Forget an upload and return the digest of its bytes. Raises NotFound."""
        digest = await self._rows.delete_upload(account_id, upload_id)
        if digest is None:
            raise NotFound("there is no such upload")
        return digest
