"""Domain errors to gRPC statuses and back (AIP-193: one ErrorInfo each)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from maquette.runtime import errors

# What a status without our ErrorInfo stands for.
_REASON_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_VALUE",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    grpc.StatusCode.ALREADY_EXISTS: "IDEMPOTENCY_MISMATCH",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.FAILED_PRECONDITION: "NOT_READY",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "NODE_BUSY",
    grpc.StatusCode.ABORTED: "LEASE_LOST",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "TIMED_OUT",
    # Our own cancelling raises CancelledError; this is a server that ends its calls because it stops.
    grpc.StatusCode.CANCELLED: "UNAVAILABLE",
}


def to_status(error: errors.MaquetteError) -> status_pb2.Status:
    """Return the rich status of an error."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=errors.ERROR_DOMAIN, metadata=error.metadata
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    return status_pb2.Status(code=error.row.code.value[0], message=error.message, details=[detail])


def trailing_metadata(error: errors.MaquetteError) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata that carries the rich status."""
    return (("grpc-status-details-bin", to_status(error).SerializeToString()),)


def from_status(status: status_pb2.Status) -> errors.MaquetteError | None:
    """Return the error of a rich status; None when it carries no reason of the catalogue."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == errors.ERROR_DOMAIN and info.reason in errors.CATALOGUE:
            return errors.error_for(info.reason, status.message, dict(info.metadata))
    return None


def from_rpc_error(error: grpc.RpcError) -> errors.MaquetteError:
    """Turn a failed call into the error the other side raised."""
    status = rpc_status.from_call(error)
    domain = from_status(status) if status is not None else None
    if domain is not None:
        return domain
    code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    text = error.details() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else str(error)
    return errors.error_for(_REASON_BY_CODE.get(code, "INTERNAL"), text or code.name)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raise the domain error behind a gRPC call that fails inside the block."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
