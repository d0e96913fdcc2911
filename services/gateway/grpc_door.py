"""What every public gRPC call passes: bounds, the authenticator, and errors in the dialect's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from structlog.contextvars import bind_contextvars

from maquette.runtime.errors import Internal, MaquetteError
from maquette.runtime.rpc.bounds import validate
from maquette.runtime.rpc.interceptors import end_call
from maquette.runtime.rpc.status import trailing_metadata
from maquette.runtime.telemetry import get_logger
from services.gateway.auth import Authenticator, Credentials, set_principal
from services.gateway.dialects import registry
from services.gateway.metrics import REFUSALS
from services.gateway.routes import DIALECTS

if TYPE_CHECKING:  # generic in their stubs only
    _Handler = grpc.RpcMethodHandler[Any, Any]
    _Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]
    _Context = grpc.aio.ServicerContext[Any, Any]

_LONGEST_MESSAGE = 500
_log = get_logger()


class PublicDoor(grpc.aio.ServerInterceptor):
    """Stands before every dialect's servicer."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._wrapped: dict[str, _Handler] = {}

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        """Wrap the handler found for the call."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith(f"/{DIALECTS}"):
            return handler
        # A method's handler is the same at each call, so it is wrapped once.
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
            wrapped = self._wrapped[details.method] = wrap(handler, details.method)
        return wrapped

    def _wrap_unary(self, handler: _Handler, method: str) -> _Handler:
        streaming = bool(handler.request_streaming)
        behaviour: Any = handler.stream_unary if streaming else handler.unary_unary

        async def serve(request: Any, context: _Context) -> Any:
            try:
                await self._enter(request, context)
                return await behaviour(request, context)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:  # noqa: BLE001 — this is where errors end
                await _abort(context, error, method)

        make = grpc.stream_unary_rpc_method_handler if streaming else grpc.unary_unary_rpc_method_handler
        return _remade(make, serve, handler)

    def _wrap_stream(self, handler: _Handler, method: str) -> _Handler:
        behaviour: Any = handler.unary_stream

        async def serve(request: Any, context: _Context) -> AsyncIterator[Any]:
            try:
                await self._enter(request, context)
                async for response in behaviour(request, context):
                    yield response
            except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                raise
            except Exception as error:  # noqa: BLE001 — this is where errors end
                await _abort(context, error, method)

        return _remade(grpc.unary_stream_rpc_method_handler, serve, handler)

    async def _enter(self, request: Any, context: _Context) -> None:
        metadata = context.invocation_metadata() or ()
        headers = {name: value for name, value in metadata if isinstance(value, str)}
        bind_contextvars(request_id=headers.get("x-request-id", ""))
        set_principal(await self._authenticator.authenticate(Credentials(headers)))
        if isinstance(request, Message):
            validate(request)


def _remade(make: Any, behaviour: Any, handler: _Handler) -> _Handler:
    made: _Handler = make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return made


async def _abort(context: _Context, cause: Exception, method: str) -> None:
    error = cause if isinstance(cause, MaquetteError) else Internal("The call failed.")
    REFUSALS.labels(error.reason).inc()
    # Header values are ASCII; what is not is written as JSON escapes.
    words = registry.of_method(method)
    body = json.dumps(words.fields(error), ensure_ascii=True, separators=(",", ":"))
    # It travels in headers too; what people read is in the body.
    error.message = error.message[:_LONGEST_MESSAGE]
    shaped = (("x-error-json", body), ("x-http-status", str(words.status(error))))
    metadata = (*trailing_metadata(error), *shaped)
    error.message = _ascii(error.message)
    await end_call(context, error, metadata, cause=cause, method=method)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
