"""The one catalogue of errors.

Domain code raises; one gRPC interceptor turns an error into a status with exactly one
``google.rpc.ErrorInfo`` (AIP-193), and each dialect turns its reason into a body.

::

    MaquetteError
    ├── InvalidArgument      the request is wrong; never retried
    ├── NotFound
    ├── AlreadyExists
    ├── PermissionDenied
    ├── Unauthenticated
    ├── FailedPrecondition   the state does not allow it
    ├── ResourceExhausted    queue, node or disk full; a task snoozes at no cost
    ├── Aborted              the lease went to somebody else
    ├── Unavailable          a part is away; retried
    ├── DeadlineExceeded
    ├── Cancelled
    └── Internal             our fault; the task may be tried again
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import grpc

ERROR_DOMAIN = "maquette"


class Retry(Enum):
    """What the ledger does with a task that failed for a reason."""

    NEVER = "never"
    """Fail at once: the same input fails again."""
    SNOOZE = "snooze"
    """Back to the queue without using up an attempt."""
    ATTEMPT = "attempt"
    """Back to the queue while the budget for crashes of the task's own worker lasts."""
    NODE = "node"
    """Back to the queue while the budget for losses of a node lasts."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the catalogue."""

    code: grpc.StatusCode
    http: int
    retry: Retry


_C = grpc.StatusCode

CATALOGUE: Mapping[str, Reason] = {
    # The request is wrong.
    "INVALID_VALUE": Reason(_C.INVALID_ARGUMENT, 400, Retry.NEVER),
    "INVALID_INPUT_FILE": Reason(_C.INVALID_ARGUMENT, 400, Retry.NEVER),
    "RIGGING_FAILED": Reason(_C.INVALID_ARGUMENT, 422, Retry.NEVER),
    "FILE_TOO_LARGE": Reason(_C.INVALID_ARGUMENT, 413, Retry.NEVER),
    "DIGEST_MISMATCH": Reason(_C.INVALID_ARGUMENT, 400, Retry.NEVER),
    "NOT_FOUND": Reason(_C.NOT_FOUND, 404, Retry.NEVER),
    "IDEMPOTENCY_MISMATCH": Reason(_C.ALREADY_EXISTS, 409, Retry.NEVER),
    "UNAUTHENTICATED": Reason(_C.UNAUTHENTICATED, 401, Retry.NEVER),
    "PERMISSION_DENIED": Reason(_C.PERMISSION_DENIED, 403, Retry.NEVER),
    "BAD_SIGNATURE": Reason(_C.PERMISSION_DENIED, 403, Retry.NEVER),
    "GRANT_REFUSED": Reason(_C.PERMISSION_DENIED, 403, Retry.NODE),
    "REQUEST_TOO_SLOW": Reason(_C.DEADLINE_EXCEEDED, 408, Retry.NEVER),
    "MODEL_NOT_AVAILABLE": Reason(_C.FAILED_PRECONDITION, 503, Retry.NEVER),
    "NOT_READY": Reason(_C.FAILED_PRECONDITION, 400, Retry.NEVER),
    # Something is full.
    "QUEUE_FULL": Reason(_C.RESOURCE_EXHAUSTED, 429, Retry.NEVER),
    "STORAGE_FULL": Reason(_C.RESOURCE_EXHAUSTED, 507, Retry.SNOOZE),
    "NODE_BUSY": Reason(_C.RESOURCE_EXHAUSTED, 503, Retry.SNOOZE),
    "INSUFFICIENT_VRAM": Reason(_C.RESOURCE_EXHAUSTED, 503, Retry.SNOOZE),
    # Something went away.
    "LEASE_LOST": Reason(_C.ABORTED, 409, Retry.SNOOZE),
    "CANCELLED": Reason(_C.CANCELLED, 409, Retry.NEVER),
    "TIMED_OUT": Reason(_C.DEADLINE_EXCEEDED, 504, Retry.NEVER),
    "NODE_LOST": Reason(_C.UNAVAILABLE, 503, Retry.NODE),
    "UNAVAILABLE": Reason(_C.UNAVAILABLE, 503, Retry.NODE),
    "WORKER_CRASHED": Reason(_C.INTERNAL, 500, Retry.ATTEMPT),
    "OUT_OF_MEMORY": Reason(_C.INTERNAL, 500, Retry.ATTEMPT),
    "PROCESSING_FAILED": Reason(_C.INTERNAL, 500, Retry.NEVER),
    "INTERNAL": Reason(_C.INTERNAL, 500, Retry.ATTEMPT),
}


class MaquetteError(Exception):
    """An error with a reason from :data:`CATALOGUE`, a sentence for people, and metadata."""

    default_reason = "INTERNAL"

    def __init__(
        self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        if self.reason not in CATALOGUE:
            raise ValueError(f"unknown error reason {self.reason!r}")

    @property
    def row(self) -> Reason:
        """The catalogue row of this error's reason."""
        return CATALOGUE[self.reason]


class InvalidArgument(MaquetteError):
    """The request is wrong."""

    default_reason = "INVALID_VALUE"


class NotFound(MaquetteError):
    """There is no such thing, or not for this account."""

    default_reason = "NOT_FOUND"


class AlreadyExists(MaquetteError):
    """The idempotency key was used with another body."""

    default_reason = "IDEMPOTENCY_MISMATCH"


class PermissionDenied(MaquetteError):
    """The caller may not do this."""

    default_reason = "PERMISSION_DENIED"


class Unauthenticated(MaquetteError):
    """The caller is not known."""

    default_reason = "UNAUTHENTICATED"


class FailedPrecondition(MaquetteError):
    """The state does not allow it."""

    default_reason = "NOT_READY"


class ResourceExhausted(MaquetteError):
    """A queue, a node or a disk is full."""

    default_reason = "QUEUE_FULL"


class Aborted(MaquetteError):
    """The lease went to somebody else."""

    default_reason = "LEASE_LOST"


class Unavailable(MaquetteError):
    """A part of the mesh is away for the moment."""

    default_reason = "UNAVAILABLE"


class DeadlineExceeded(MaquetteError):
    """The job ran longer than it may."""

    default_reason = "TIMED_OUT"


class Cancelled(MaquetteError):
    """Somebody cancelled the job."""

    default_reason = "CANCELLED"


class Internal(MaquetteError):
    """Our fault."""


_BY_CODE: Mapping[grpc.StatusCode, type[MaquetteError]] = {
    _C.INVALID_ARGUMENT: InvalidArgument,
    _C.NOT_FOUND: NotFound,
    _C.ALREADY_EXISTS: AlreadyExists,
    _C.PERMISSION_DENIED: PermissionDenied,
    _C.UNAUTHENTICATED: Unauthenticated,
    _C.FAILED_PRECONDITION: FailedPrecondition,
    _C.RESOURCE_EXHAUSTED: ResourceExhausted,
    _C.ABORTED: Aborted,
    _C.UNAVAILABLE: Unavailable,
    _C.DEADLINE_EXCEEDED: DeadlineExceeded,
    _C.CANCELLED: Cancelled,
    _C.INTERNAL: Internal,
}


def error_for(reason: str, message: str, metadata: Mapping[str, str] | None = None) -> MaquetteError:
    """Build the error class that a reason belongs to."""
    kind = _BY_CODE[CATALOGUE[reason].code]
    return kind(message, reason=reason, metadata=metadata)
