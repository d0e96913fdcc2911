"""uvicorn inside our own process: our signals, our socket, our drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from maquette.runtime.rpc.listening import listen
from maquette.runtime.settings import Settings
from services.gateway.edge.protocol import EdgeProtocol

_LARGEST_MESSAGE = 64 * 1024


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `run_service` has the signals."""
        yield


@asynccontextmanager
async def serve_edge(app: ASGIApp, target: str, settings: Settings) -> AsyncIterator[None]:
    """Serve the app at ``unix:<path>`` (0600) or ``host:port`` until the block is left."""
    tls = settings.tls
    secure = not target.startswith("unix:") and tls.certificate and tls.key and tls.authority
    config = uvicorn.Config(
        app,
        http=EdgeProtocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=max(1, int(settings.drain_seconds)),
        ws_max_size=_LARGEST_MESSAGE,
        ws_max_queue=4,
        ws_ping_interval=settings.gateway.ping_seconds,
        ws_ping_timeout=settings.gateway.ping_seconds,
        ws_per_message_deflate=False,
        ssl_certfile=str(tls.certificate) if secure else None,
        ssl_keyfile=str(tls.key) if secure else None,
        ssl_ca_certs=str(tls.authority) if secure else None,
        ssl_cert_reqs=2 if secure else 0,
    )
    server = _Server(config)
    listening = listen(target)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if running.done():
                await running
                raise RuntimeError("the edge server ended before it began")
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await running
