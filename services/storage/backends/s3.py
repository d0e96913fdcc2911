"""A bucket of any S3: objects ``<prefix>ab/cd/<digest>``, large ones in parts.

An object appears whole or not at all: a part upload that fails is aborted, one that a dead process
left behind is aborted by :meth:`S3Backend.clean`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from maquette.runtime.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from services.storage.backends.base import BlobStat, Source, Verified, in_thread, opened, stream
from services.storage.spool import Spool, clean_spools, disk_errors, open_spool

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "507"})
# A part upload that is older than this has no living writer.
_ABANDONED = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class S3Config:
    """Which bucket, and how to reach it. Empty strings take what boto3 finds by itself."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    part_bytes: int = 8 << 20
    """Blobs above this go in parts of this size; S3 wants 5 MiB at least."""
    connections: int = 16


def connect(config: S3Config) -> S3Client:
    """Make a client (thread-safe). Nothing is sent yet."""
    return boto3.client(
        "s3",
        endpoint_url=config.endpoint or None,
        region_name=config.region or None,
        aws_access_key_id=config.access_key_id or None,
        aws_secret_access_key=config.secret_access_key or None,
        config=Config(
            signature_version="s3v4",
            # Many an S3 that is not Amazon's refuses the newer checksum headers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if config.endpoint else {},
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 4},
            max_pool_connections=config.connections,
        ),
    )


class _Where(TypedDict):
    """An object, in boto3's words."""

    Bucket: str
    Key: str


class S3Backend:
    """Blobs in one bucket under one prefix."""

    def __init__(self, config: S3Config, spools: Path, executor: Executor) -> None:
        """Spool files go to the local folder ``spools``."""
        self._config = config
        self._client = connect(config)
        self._spools = spools
        self._executor = executor
        with disk_errors():
            spools.mkdir(mode=0o700, parents=True, exist_ok=True)

    def key(self, digest: str) -> str:
        """Return the key of a blob's object."""
        return f"{self._config.prefix}{digest[:2]}/{digest[2:4]}/{digest}"

    async def open_spool(self) -> Spool:
        """Open a temporary file; it need not survive, so it is not synced."""
        return await open_spool(self._executor, self._spools, durable=False)

    async def publish(self, spool: Spool) -> bool:
        """Send a finished spool; False, and nothing sent, if the blob is there already."""
        return await in_thread(self._executor, self._publish, spool.path, spool.digest, spool.size)

    async def stat(self, digest: str) -> BlobStat | None:
        """Return size and age; None when there is no such blob."""
        return await in_thread(self._executor, self._stat, digest)

    def read(self, digest: str, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield a blob or a range of it; a whole blob is checked against its digest."""
        return stream(self._executor, lambda: self._open(digest, offset, length))

    async def open(self, digest: str, offset: int = 0, length: int | None = None) -> Source:
        """Open a blob or a range of it; a whole blob is checked against its digest."""
        return await opened(self._executor, lambda: self._open(digest, offset, length))

    async def remove(self, digest: str) -> int:
        """Remove a blob and return its size; 0 when there was none."""
        return await in_thread(self._executor, self._remove, digest)

    async def free_bytes(self) -> int | None:
        """Return the free space where spools lie; the bucket's own end is not known beforehand."""
        with disk_errors():
            return await in_thread(self._executor, lambda: shutil.disk_usage(self._spools).free)

    async def clean(self) -> int:
        """Remove spools of dead processes, and abort part uploads nobody will complete."""
        return await in_thread(self._executor, self._clean)

    async def close(self) -> None:
        """Close the connections."""
        await in_thread(self._executor, self._client.close)

    def _where(self, digest: str) -> _Where:
        return {"Bucket": self._config.bucket, "Key": self.key(digest)}

    def _publish(self, path: Path, digest: str, size: int) -> bool:
        with s3_errors():
            known = self._stat(digest)
            if known is not None and known.size == size:
                return False
            with disk_errors():
                file = path.open("rb")
            with file:
                if size <= self._config.part_bytes:
                    self._client.put_object(**self._where(digest), Body=file, ContentLength=size)
                else:
                    self._send_parts(file, digest)
            return True

    def _send_parts(self, file: Any, digest: str) -> None:
        where = self._where(digest)
        upload_id = self._client.create_multipart_upload(**where)["UploadId"]
        try:
            parts: list[Any] = []
            while data := file.read(self._config.part_bytes):
                number = len(parts) + 1
                sent = self._client.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=data)
                parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            self._client.complete_multipart_upload(
                **where, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            # What failed is raised, also when the bucket cannot be told; `clean` aborts it then.
            with contextlib.suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**where, UploadId=upload_id)
            raise

    def _stat(self, digest: str) -> BlobStat | None:
        with s3_errors():
            try:
                head = self._client.head_object(**self._where(digest))
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            return BlobStat(head["ContentLength"], head["LastModified"])

    def _open(self, digest: str, offset: int, length: int | None) -> Source:
        stat = self._stat(digest)
        if stat is None:
            raise NotFound(f"there is no blob {digest}")
        if offset > stat.size:
            raise InvalidArgument(f"offset {offset} lies behind the end at {stat.size}")
        end = stat.size if length is None else min(stat.size, offset + length)
        if end == offset and stat.size:
            return _Nothing()
        with s3_errors():
            if (offset, end) == (0, stat.size):
                return Verified(_Body(self._client.get_object(**self._where(digest))["Body"]), digest)
            span = f"bytes={offset}-{end - 1}"
            return _Body(self._client.get_object(**self._where(digest), Range=span)["Body"])

    def _remove(self, digest: str) -> int:
        stat = self._stat(digest)
        if stat is None:
            return 0
        with s3_errors():
            self._client.delete_object(**self._where(digest))
        return stat.size

    def _clean(self) -> int:
        removed = clean_spools(self._spools)
        oldest = datetime.now(UTC) - _ABANDONED
        bucket = self._config.bucket
        with s3_errors():
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=bucket, Prefix=self._config.prefix):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < oldest:
                        self._client.abort_multipart_upload(
                            Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        removed += 1
        return removed


class _Body:
    """The body of a response."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        with s3_errors():
            data: bytes = self._body.read(size)
        return data

    def close(self) -> None:
        self._body.close()


class _Nothing:
    """An empty range, which S3 has no words for."""

    def read(self, size: int) -> bytes:
        del size
        return b""

    def close(self) -> None:
        pass


@contextlib.contextmanager
def s3_errors() -> Iterator[None]:
    """Raise the catalogue's errors for what the object store answers, or does not answer."""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _ABSENT:
            raise NotFound("the blob is gone") from error
        if code in _FULL:
            raise ResourceExhausted("the object store is full", reason="STORAGE_FULL") from error
        raise Unavailable(f"the object store refused: {code}") from error
    except (BotoCoreError, HTTPClientError, OSError) as error:
        raise Unavailable("the object store is away") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
