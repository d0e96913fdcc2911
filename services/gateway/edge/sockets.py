"""P12: progress over WebSocket.

A socket costs its cursor and one message: whatever happens while a message is on its way is told
by the next one. A client that takes nothing is let go after a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import IPv6Address, ip_address

from prometheus_client import Gauge
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from maquette.runtime.errors import MaquetteError, NotFound, Unauthenticated
from maquette.runtime.telemetry import get_logger
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
_log = get_logger()
_SOCKETS = Gauge("maquette_gateway_sockets", "WebSockets open.")


class Sockets:
    """Handler of the socket route."""

    def __init__(self, parts: EdgeParts) -> None:
        self._parts = parts
        self._open: set[asyncio.Task[None]] = set()
        self._by_client: Counter[str] = Counter()
        self._leaving = False

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket until its job ends, it leaves, or it stands still."""
        await socket.accept()
        headers = dict(socket.headers.items())
        credentials = auth.Credentials(headers, socket.query_params.get("token", ""))
        try:
            principal = await self._parts.authenticator.authenticate(credentials)
        except MaquetteError as error:
            await _close(socket, UNAUTHENTICATED if isinstance(error, Unauthenticated) else _TRY_AGAIN)
            return
        client = client_of(principal, headers.get(auth.CLIENT_HEADER, ""))
        if self._leaving or self._too_many(client):
            await _close(socket, _GOING_AWAY if self._leaving else TOO_MANY)
            return
        await self._serve(socket, principal, client)

    def _too_many(self, client: str) -> bool:
        limits = self._parts.limits
        most = limits.sockets_per_client
        return len(self._open) >= limits.max_sockets or bool(most and self._by_client[client] >= most)

    async def _serve(self, socket: WebSocket, principal: auth.Principal, client: str) -> None:
        teller = asyncio.create_task(self._tell(socket, principal.account_id))
        self._open.add(teller)
        self._by_client[client] += 1
        _SOCKETS.set(len(self._open))
        listener = asyncio.create_task(_listen(socket))
        try:
            await asyncio.wait((teller, listener), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(teller)
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
            _SOCKETS.set(len(self._open))
            for task in (teller, listener):
                task.cancel()
            await asyncio.gather(teller, listener, return_exceptions=True)
            if not teller.cancelled() and (error := teller.exception()) is not None:
                _log.error("socket failed", exc_info=error)

    async def close_all(self) -> None:
        """Let every client go; each may come back to another gateway."""
        self._leaving = True
        tasks = tuple(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, socket: WebSocket, account_id: str) -> None:
        code = _GOING_AWAY
        try:
            code = await self._tell_until_end(socket, account_id)
        except NotFound:
            code = UNKNOWN_JOB
        except MaquetteError:
            code = _TRY_AGAIN
        except (WebSocketDisconnect, TimeoutError):
            return
        finally:
            if socket.application_state is WebSocketState.CONNECTED:
                await _close(socket, code)

    async def _tell_until_end(self, socket: WebSocket, account_id: str) -> int:
        parts, said = self._parts, Said()
        events = parts.feed.watch(
            account_id,
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


def client_of(principal: auth.Principal, address: str) -> str:
    """Return whose sockets count together: an account's, or of the public one those of an address.

    An IPv6 address counts with its /64, which is what one subscriber is given.
    """
    if principal.account_id != auth.PUBLIC_ACCOUNT:
        return f"account {principal.account_id}"
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"address {address}"
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64)
    return f"address {parsed}"


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
