"""The edge app: handlers by RPC name, on the paths that the protos state."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import orjson
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from maquette.runtime.errors import Internal, MaquetteError, NotFound, Unauthenticated
from maquette.runtime.rpc.interceptors import INTERNAL_HEADER
from maquette.runtime.telemetry import get_logger, tracer
from services.gateway.auth import Credentials, set_principal
from services.gateway.dialects import registry
from services.gateway.dialects.aigc import words
from services.gateway.dialects.aigc.mapping import rigging_upload_view
from services.gateway.dialects.animate.submit import AnimateRoutes
from services.gateway.edge import documents
from services.gateway.edge.downloads import Downloads
from services.gateway.edge.parts import EdgeParts
from services.gateway.edge.sockets import Sockets
from services.gateway.edge.uploads import upload_handler
from services.gateway.ingest import FileKind
from services.gateway.metrics import REFUSALS
from services.gateway.routes import PublicRoute, public_routes

HEALTH_PATH = "/-/health"
_log = get_logger()


def edge_app(parts: EdgeParts, sockets: Sockets, animate: AnimateRoutes, secret: bytes) -> ASGIApp:
    """Build the app. Raises LookupError when a route of the protos has no handler."""
    downloads = Downloads(parts)
    handlers: Mapping[str, Any] = {
        "UploadImage": lambda route: upload_handler(parts, FileKind.IMAGE, route.option.file_part),
        "UploadMesh": lambda route: upload_handler(parts, FileKind.MESH, route.option.file_part),
        "UploadRiggingMesh": lambda route: upload_handler(
            parts, FileKind.MESH, route.option.file_part, rigging_upload_view, words.RIG_UPLOADS
        ),
        "DownloadResult": lambda _: downloads.result,
        "DownloadThumbnail": lambda _: downloads.thumbnail,
        "DownloadSigned": lambda _: downloads.signed,
        "GetSwagger": lambda _: documents.swagger,
        "GetRedoc": lambda _: documents.redoc,
        "GetDocumentFile": lambda _: documents.viewer_file,
        "GetOpenApi": lambda _: documents.openapi,
        "WatchJob": lambda _: sockets.serve,
        "AnimateImage": lambda _: animate.animate,
        "DownloadStepFile": lambda _: animate.download,
    }
    routes: list[BaseRoute] = [Route(HEALTH_PATH, _health)]
    at_edge = (route for route in public_routes() if route.at_edge)
    routes += [_route(route, handlers[route.rpc](route)) for route in at_edge]
    handlers_of_errors = {
        MaquetteError: _refused,
        HTTPException: _not_found,
        ClientDisconnect: _left,
        Exception: _failed,
    }
    return _Door(Starlette(routes=routes, exception_handlers=handlers_of_errors), parts, secret)


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok")


def _route(route: PublicRoute, handler: Any) -> BaseRoute:
    if route.option.websocket:
        return WebSocketRoute(route.template, handler)
    return Route(route.template, handler, methods=[route.verb])


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, MaquetteError)  # noqa: S101 — registered for this class only
    return _error_response(error, request.url.path)


async def _left(request: Request, _error: Exception) -> Response:
    _log.info("client left", path=request.url.path)
    return Response(status_code=400)  # nobody reads it


async def _not_found(request: Request, _error: Exception) -> Response:
    return _error_response(NotFound("There is no such route."), request.url.path)


async def _failed(request: Request, _error: Exception) -> Response:
    # It is raised again after this answer, and logged by the door.
    return _error_response(Internal("The request failed."), request.url.path)


def _error_response(error: MaquetteError, path: str) -> Response:
    """Return the error in the words of the path's dialect."""
    REFUSALS.labels(error.reason).inc()
    words = registry.of_path(path)
    body = orjson.dumps(words.fields(error))
    return Response(body, status_code=words.status(error), media_type="application/json")


class _Door:
    """What every request to the edge passes: the internal secret and the authenticator."""

    def __init__(self, app: ASGIApp, parts: EdgeParts, secret: bytes) -> None:
        self._app = app
        self._parts = parts
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        offered = headers.get(INTERNAL_HEADER, "").encode("latin-1")
        if not hmac.compare_digest(offered, self._secret):
            error = Unauthenticated("this address serves Envoy only")
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 4401})
                return
            await _error_response(error, scope["path"])(scope, receive, send)
            return
        if scope["type"] == "websocket":
            # The socket itself authenticates: it has close codes to answer with.
            await self._app(scope, receive, send)
            return
        await self._serve(headers, scope, receive, send)

    async def _serve(self, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def tracked(message: Any) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        bind_contextvars(request_id=headers.get("x-request-id", ""))
        span = f"{scope['method']} edge"
        try:
            with tracer().start_as_current_span(span, extract(headers), SpanKind.SERVER):
                set_principal(await self._parts.authenticator.authenticate(Credentials(headers)))
                await self._app(scope, receive, tracked)
        except MaquetteError as error:
            if begun:
                raise
            await _error_response(error, scope["path"])(scope, receive, send)
        except Exception as error:
            _log.error("request failed", path=scope["path"], exc_info=error)
            if begun:
                raise
            await _error_response(Internal("The request failed."), scope["path"])(scope, receive, send)
