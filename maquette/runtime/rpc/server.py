"""Servers: interceptors, health, reflection, sockets nobody else can open, graceful drain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from maquette.runtime.rpc.channel import MESSAGE_LIMITS
from maquette.runtime.rpc.interceptors import ErrorMapping, InternalDoor
from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings, TlsSettings
from maquette.runtime.telemetry import server_interceptors


def create_server(
    settings: Settings,
    *,
    open_services: Iterable[str] = (),
    extra: Sequence[grpc.aio.ServerInterceptor] = (),
    own_errors: tuple[str, ...] = (),
    own_spans: tuple[str, ...] = (),
    max_concurrent_streams: int = 4096,
) -> grpc.aio.Server:
    """Create a server behind the internal door.

    ``open_services`` (full names) need no internal secret. ``extra`` interceptors run inside
    the error mapping's reach, in the order given; methods that begin with one of ``own_errors``
    (``/package.Service/Method``) have their bounds checked and their errors written by those alone.
    Methods named in ``own_spans`` open their spans of a trace themselves.
    """
    return grpc.aio.server(
        interceptors=[
            *server_interceptors(own_spans),
            InternalDoor(load_secret(settings, "internal"), open_services=frozenset(open_services)),
            ErrorMapping(own_errors),
            *extra,
        ],
        options=[
            *MESSAGE_LIMITS,
            ("grpc.max_concurrent_streams", max_concurrent_streams),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.so_reuseport", 0),
        ],
    )


@dataclass(slots=True)
class Running:
    """A server that serves."""

    server: grpc.aio.Server
    health: health.aio.HealthServicer
    drain_seconds: float

    async def drain(self) -> None:
        """Tell health checks that we go, let running calls end, then stop."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(self.drain_seconds)


async def serve(
    server: grpc.aio.Server, address: str, services: Sequence[str], settings: Settings
) -> Running:
    """Bind, start and report SERVING for the named services and for the server as a whole."""
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if settings.reflection:
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    await _bind(server, address, settings.tls)
    await server.start()
    for name in ("", *services):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    return Running(server, checks, settings.drain_seconds)


async def _bind(server: grpc.aio.Server, address: str, tls: TlsSettings) -> None:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server.add_insecure_port(address)
        # Before the server accepts anybody. Not by a umask: that is the whole process's, also of threads
        # that make folders.
        path.chmod(0o600)
        return
    credentials = await asyncio.to_thread(_server_credentials, tls)
    if credentials is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials)


def _server_credentials(tls: TlsSettings) -> grpc.ServerCredentials | None:
    if not (tls.certificate and tls.key and tls.authority):
        return None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.authority.read_bytes(),
        require_client_auth=True,
    )
