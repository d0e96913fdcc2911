"""How much may be written: by one stream, by one task, in all, and until the disk's floor. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from maquette.runtime.errors import InvalidArgument, ResourceExhausted
from maquette.runtime.grants import Grant

RECHECK_BYTES = 8 << 20
"""A stream looks at the disk and the quota again after so many bytes."""


@dataclass(frozen=True, slots=True)
class Room:
    """The operator's limits, in bytes."""

    max_blob_bytes: int
    min_free_bytes: int = 0
    quota_bytes: int | None = None

    def check_free(self, free: int | None, arriving: int) -> None:
        """Refuse when the bytes that are arriving would take the disk below its floor."""
        if free is not None and free - arriving < self.min_free_bytes:
            raise ResourceExhausted("the disk is full", reason="STORAGE_FULL")

    def check_total(self, total: int) -> None:
        """Refuse when all blobs together are more than the quota."""
        if self.quota_bytes is not None and total > self.quota_bytes:
            raise ResourceExhausted("the storage quota is used up", reason="STORAGE_FULL")

    def check_grant(self, grant: Grant, written: int) -> None:
        """Refuse when a task has written more than its grant allows."""
        if written > grant.max_write_bytes:
            raise _too_large(f"the task may write {grant.max_write_bytes} bytes in all")

    def stream_limit(self, asked: int) -> int:
        """Return the most bytes of one stream; ``asked`` is 0 for the operator's own limit."""
        return min(asked, self.max_blob_bytes) if asked else self.max_blob_bytes


def check_size(size: int, limit: int) -> None:
    """Refuse a stream that has become too long."""
    if size > limit:
        raise _too_large(f"the file is larger than {limit} bytes")


def _too_large(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="FILE_TOO_LARGE")
