"""What every call of every service passes: the internal door, the bounds, the error mapping."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import Message

from maquette.runtime.errors import Internal, MaquetteError, Unauthenticated
from maquette.runtime.rpc.bounds import validate
from maquette.runtime.rpc.status import trailing_metadata
from maquette.runtime.telemetry import get_logger

INTERNAL_HEADER = "x-maquette-internal"
PRIVILEGED_HEADER = "x-maquette-privileged"
GRANT_HEADER = "x-maquette-grant"

if TYPE_CHECKING:  # generic in their stubs only
    _Handler = grpc.RpcMethodHandler[Any, Any]
    _Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]
    _Context = grpc.aio.ServicerContext[Any, Any]

_LONGEST_MESSAGE = 2000
_log = get_logger()


def _rewrap(
    handler: _Handler,
    unary: Callable[[Callable[..., Any]], Callable[..., Any]],
    stream: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> _Handler:
    """Wrap the behaviour of a handler, whichever of the four kinds it is."""
    kinds = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler, unary),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler, stream),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler, unary),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler, stream),
    }
    name, make, wrap = kinds[(bool(handler.request_streaming), bool(handler.response_streaming))]
    return make(
        wrap(getattr(handler, name)),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class InternalDoor(grpc.aio.ServerInterceptor):
    """Let in only callers that know the internal secret; health checks are free."""

    def __init__(self, secret: bytes, *, open_services: frozenset[str] = frozenset()) -> None:
        self._secret = secret
        self._open = ("/grpc.health.v1.Health/", *(f"/{service}/" for service in open_services))

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        """Refuse with UNAUTHENTICATED, before the request is read."""
        if details.method.startswith(self._open):
            return await continuation(details)
        offered = dict(details.invocation_metadata).get(INTERNAL_HEADER, "")
        offered_bytes = offered if isinstance(offered, bytes) else offered.encode()
        if hmac.compare_digest(offered_bytes, self._secret):
            return await continuation(details)
        handler = await continuation(details)
        if handler is None:
            return None
        error = Unauthenticated("this address serves the mesh only")

        async def refuse(_request: Any, context: _Context) -> None:
            await context.abort(error.row.code, error.message, trailing_metadata(error))

        async def refuse_stream(_request: Any, context: _Context) -> AsyncIterator[Any]:
            await context.abort(error.row.code, error.message, trailing_metadata(error))
            yield  # pragma: no cover — abort raises; the yield makes this a stream

        return _rewrap(handler, lambda _: refuse, lambda _: refuse_stream)


class ErrorMapping(grpc.aio.ServerInterceptor):
    """Check bounds on the way in; turn raised errors into rich statuses on the way out.

    Methods that begin with one of ``except_for`` are left to an interceptor further in.
    """

    def __init__(self, except_for: tuple[str, ...] = ()) -> None:
        self._except_for = ("/grpc.", *except_for)
        self._wrapped: dict[str, _Handler] = {}

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        """Wrap the handler found for the call."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(self._except_for):
            return handler
        # A method's handler is the same at each call, so it is wrapped once.
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            wrapped = self._wrapped[details.method] = self._wrap(handler, details.method)
        return wrapped

    @staticmethod
    def _wrap(handler: _Handler, method: str) -> _Handler:

        def unary(behaviour: Callable[..., Any]) -> Callable[..., Any]:
            async def call(request: Any, context: _Context) -> Any:
                try:
                    _check(request)
                    return await behaviour(request, context)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as error:  # noqa: BLE001 — this is where errors end
                    await _abort(context, error, method)

            return call

        def stream(behaviour: Callable[..., Any]) -> Callable[..., Any]:
            async def call(request: Any, context: _Context) -> AsyncIterator[Any]:
                try:
                    _check(request)
                    async for response in behaviour(request, context):
                        yield response
                except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                    raise
                except Exception as error:  # noqa: BLE001 — this is where errors end
                    await _abort(context, error, method)

            return call

        return _rewrap(handler, unary, stream)


def _check(request: Any) -> None:
    if isinstance(request, Message):
        validate(request)


async def end_call(
    context: _Context,
    error: MaquetteError,
    metadata: tuple[tuple[str, Any], ...],
    *,
    cause: Exception,
    method: str,
) -> NoReturn:
    """End a call with an error, and log a ``cause`` that is our fault.

    Where nobody is left to tell, the other side broke off: whatever followed from that is no fault of ours.
    """
    try:
        await context.abort(error.row.code, error.message, metadata)
    except grpc.aio.AbortError:
        if error is not cause:
            _log.error("call failed", method=method, exc_info=cause)
        raise
    except grpc.aio.InternalError:
        _log.info("the caller left", method=method, why=repr(cause))
        raise asyncio.CancelledError from None


async def _abort(context: _Context, cause: Exception, method: str) -> None:
    error = cause if isinstance(cause, MaquetteError) else Internal("internal error")
    # It travels in headers, twice.
    error.message = error.message[:_LONGEST_MESSAGE]
    await end_call(context, error, trailing_metadata(error), cause=cause, method=method)
