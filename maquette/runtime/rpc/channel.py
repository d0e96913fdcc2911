"""Channels between services: who we are, which trace this belongs to, how long we wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from maquette.runtime.rpc.interceptors import GRANT_HEADER, INTERNAL_HEADER, PRIVILEGED_HEADER
from maquette.runtime.rpc.status import from_rpc_error, translated
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings, TlsSettings
from maquette.runtime.telemetry import trace_context

__all__ = ["MESSAGE_LIMITS", "from_rpc_error", "open_channel", "translated"]

MESSAGE_LIMITS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
)


class _Credentials:
    """Add our own metadata to a call's."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = tuple(pairs)

    def _details(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        # Only the trace context goes along, without a span of the client's own: the server's span tells
        # the same, and OpenTelemetry's client interceptors block a call that is written to piece by piece.
        given = tuple(details.metadata or ())
        metadata = grpc.aio.Metadata(*given, *self._pairs, *trace_context(given))
        return grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )


class _UnaryUnary(_Credentials, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, go: Callable[..., Any], details: Any, request: Any) -> Any:
        return await go(self._details(details), request)


class _UnaryStream(_Credentials, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, go: Callable[..., Any], details: Any, request: Any) -> Any:
        return await go(self._details(details), request)


class _StreamUnary(_Credentials, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, go: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await go(self._details(details), requests)


class _StreamStream(_Credentials, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, go: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await go(self._details(details), requests)


def open_channel(
    settings: Settings, target: str, *, privileged: bool = False, grant: str | None = None
) -> grpc.aio.Channel:
    """Open a channel to a service of the mesh.

    ``privileged`` (gateway, jobs, storage only) opens every blob; ``grant`` opens one task's.
    """
    pairs = [(INTERNAL_HEADER, load_secret(settings, "internal").decode())]
    if privileged:
        pairs.append((PRIVILEGED_HEADER, load_secret(settings, "privileged").decode()))
    if grant:
        pairs.append((GRANT_HEADER, grant))
    kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
    interceptors = [kind(pairs) for kind in kinds]
    options = (
        *MESSAGE_LIMITS,
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.use_local_subchannel_pool", 1),
    )
    credentials = None if target.startswith("unix:") else _channel_credentials(settings.tls)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def _channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials | None:
    if not (tls.certificate and tls.key and tls.authority):
        return None
    return grpc.ssl_channel_credentials(
        tls.authority.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
    )
