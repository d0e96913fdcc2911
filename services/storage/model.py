"""What storage keeps, as plain values. Times are aware, in UTC; digests lower-case hex SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class Retention(IntEnum):
    """How long bytes stay; numbered as `storage.v1.Retention`, a higher one outweighs a lower."""

    UPLOAD = 1
    SCRATCH = 2
    RESULT = 3
    EXAMPLE = 4


class UploadKind(IntEnum):
    """What an upload holds; numbered as `storage.v1.UploadKind`."""

    IMAGE = 1
    MESH = 2

    @property
    def folder(self) -> str:
        """The folder in issued paths."""
        return {UploadKind.IMAGE: "images", UploadKind.MESH: "meshes"}[self]


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that is there."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a person sent."""

    id: str
    account_id: str
    kind: UploadKind
    filename: str
    media_type: str
    digest: str
    size: int
    path: str
    created_at: datetime
    expires_at: datetime
