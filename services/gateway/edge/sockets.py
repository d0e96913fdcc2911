"""P12: progress over WebSocket.

A socket costs its cursor and one message: whatever happens while a message is on its way is told
by the next one. A client that takes nothing is let go after a while.
"""

from __future__ import annotations

import asyncio

from prometheus_client import Gauge
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from maquette.runtime.errors import MaquetteError, NotFound, Unauthenticated
from services.gateway import auth
from services.gateway.dialects.pocket3d.socket_words import Said, sayings
from services.gateway.edge.parts import EdgeParts
from services.gateway.mirror import TERMINAL

UNAUTHENTICATED = 4401
UNKNOWN_JOB = 4404
TOO_MANY = 4429
_DONE = 1000
_TRY_AGAIN = 1013
_GOING_AWAY = 1001
_SOCKETS = Gauge("maquette_gateway_sockets", "WebSockets open.")


class Sockets:
    """Handler of the socket route."""

    def __init__(self, parts: EdgeParts) -> None:
        self._parts = parts
        self._open: set[asyncio.Task[None]] = set()
        self._leaving = False

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket until its job ends, it leaves, or it stands still."""
        await socket.accept()
        if self._leaving:
            await socket.close(_GOING_AWAY)
            return
        if len(self._open) >= self._parts.limits.max_sockets:
            await socket.close(TOO_MANY)
            return
        teller = asyncio.create_task(self._tell(socket))
        self._open.add(teller)
        _SOCKETS.set(len(self._open))
        listener = asyncio.create_task(_listen(socket))
        try:
            await asyncio.wait((teller, listener), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(teller)
            _SOCKETS.set(len(self._open))
            for task in (teller, listener):
                task.cancel()
            await asyncio.gather(teller, listener, return_exceptions=True)

    async def close_all(self) -> None:
        """Let every client go; each may come back to another gateway."""
        self._leaving = True
        tasks = tuple(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, socket: WebSocket) -> None:
        code = _GOING_AWAY
        try:
            code = await self._tell_until_end(socket)
        except NotFound:
            code = UNKNOWN_JOB
        except Unauthenticated:
            code = UNAUTHENTICATED
        except MaquetteError:
            code = _TRY_AGAIN
        except (WebSocketDisconnect, TimeoutError):
            return
        finally:
            if socket.application_state is WebSocketState.CONNECTED:
                await _close(socket, code)

    async def _tell_until_end(self, socket: WebSocket) -> int:
        parts = self._parts
        headers = dict(socket.headers.items())
        credentials = auth.Credentials(headers, socket.query_params.get("token", ""))
        principal = await parts.authenticator.authenticate(credentials)
        said = Said()
        events = parts.feed.watch(
            principal.account_id,
            socket.path_params["job_id"],
            from_seq=-1,
            idle=parts.limits.ping_seconds,
            latest_only=True,
        )
        async for batch in events:
            # Nothing is sent while it is quiet: the server below us pings.
            for event in batch:
                frames, said = sayings(event.job, said, parts.base_url, parts.clock.now().timestamp())
                for frame in frames:
                    async with asyncio.timeout(parts.limits.send_seconds):
                        await socket.send_text(frame.decode())
                if event.job.state in TERMINAL:
                    return _DONE
        return _GOING_AWAY


async def _listen(socket: WebSocket) -> None:
    """Read until the client leaves; what it says is of no interest."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return


async def _close(socket: WebSocket, code: int) -> None:
    try:
        async with asyncio.timeout(1):
            await socket.close(code)
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        # The client was faster.
        return
