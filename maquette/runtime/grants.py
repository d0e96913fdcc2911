"""Task grants: what one attempt of one task may read from storage and write to it.

`jobs` mints a grant with the secret it shares with `storage` alone and gives it to the capability
node; the node shows it with every call. It opens the task's own inputs and the blobs written
under the grant itself, and nothing else. Pure: time is passed in.

The payload is binary because 64 inputs must fit into gRPC metadata (8 KiB): expiry in
microseconds since 1970 and the write limit (both big-endian u64), the lengths of task id and nonce
(u8 each), these two in UTF-8, then 32 bytes for each input digest.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from maquette.runtime.errors import PermissionDenied
from maquette.runtime.seal import seal, unseal

_PURPOSE = "task grant"
_HEAD = struct.Struct(">QQBB")
_DIGEST_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token opens."""

    id: str
    """32 hex digits, one for each distinct token: storage counts and remembers writes by it."""
    task_id: str
    inputs: frozenset[str]
    """Digests that may be read, lower-case hex SHA-256."""
    max_write_bytes: int
    """Most bytes written in total under this grant."""
    expires_at: datetime


def mint(
    secret: bytes,
    *,
    task_id: str,
    inputs: Iterable[str],
    max_write_bytes: int,
    expires_at: datetime,
    nonce: str = "",
) -> str:
    """Return the token of a grant.

    ``nonce`` (the attempt's lease token) tells the attempts of a task apart, so that a later one
    starts with its whole write limit. Raises ValueError for a digest, id or limit out of form.
    """
    task, salt = task_id.encode(), nonce.encode()
    if not task or len(task) > 255 or len(salt) > 255:
        raise ValueError("task_id needs 1–255 bytes, nonce at most 255")
    if not 0 <= max_write_bytes < 1 << 63:
        raise ValueError("max_write_bytes is out of range")
    expiry = (expires_at - _EPOCH) // _MICROSECOND
    payload = _HEAD.pack(expiry, max_write_bytes, len(task), len(salt)) + task + salt
    return seal(secret, _PURPOSE, payload + b"".join(map(_digest_bytes, sorted(set(inputs)))))


def verify(secret: bytes, token: str, now: datetime) -> Grant:
    """Return what a token opens. Raises PermissionDenied (GRANT_REFUSED) when forged or expired."""
    payload = unseal((secret,), _PURPOSE, token)
    if payload is None:
        raise PermissionDenied("the grant is not one of ours", reason="GRANT_REFUSED")
    expiry, max_write_bytes, task_length, nonce_length = _HEAD.unpack_from(payload)
    expires_at = _EPOCH + expiry * _MICROSECOND
    if now >= expires_at:
        raise PermissionDenied("the grant has expired", reason="GRANT_REFUSED")
    task_end = _HEAD.size + task_length
    digests = payload[task_end + nonce_length :]
    return Grant(
        id=hashlib.sha256(payload).hexdigest()[:32],
        task_id=payload[_HEAD.size : task_end].decode(),
        inputs=frozenset(
            digests[start : start + _DIGEST_BYTES].hex() for start in range(0, len(digests), _DIGEST_BYTES)
        ),
        max_write_bytes=max_write_bytes,
        expires_at=expires_at,
    )


def _digest_bytes(digest: str) -> bytes:
    raw = bytes.fromhex(digest)
    if len(raw) != _DIGEST_BYTES or raw.hex() != digest:
        raise ValueError(f"not a lower-case hex SHA-256: {digest!r}")
    return raw
