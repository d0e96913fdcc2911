"""Hear what other replicas did: work enqueued, jobs ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from maquette.runtime.telemetry import get_logger
from services.jobs.ledger.database import AWAY, Database

ENQUEUED = "ledger_enqueued"
CLOSED = "ledger_closed"


class Listener:
    """One connection that listens, made again whenever it breaks."""

    def __init__(
        self,
        database: Database,
        origin: str,
        *,
        on_enqueued: Callable[[], None],
        on_closed: Callable[[list[str]], Awaitable[object]],
        on_gap: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._origin = origin
        self._on_enqueued = on_enqueued
        self._on_closed = on_closed
        self._on_gap = on_gap
        self._closed: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Listen for ever. After a gap everything is looked at once."""
        pause = 0.05
        while True:
            try:
                connection = await self._database.connect()
            except AWAY as error:
                get_logger().warning("cannot listen", error=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
                continue
            pause = 0.05
            try:
                await self._listen(connection)
            except AWAY as error:
                get_logger().warning("listening broke off", error=repr(error))
            finally:
                connection.terminate()

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _connection: ended.set())
        await connection.add_listener(ENQUEUED, self._heard_enqueued)
        await connection.add_listener(CLOSED, self._heard_closed)
        await self._on_gap()
        self._on_enqueued()
        waiting_end = asyncio.create_task(ended.wait())
        try:
            while not ended.is_set():
                heard = asyncio.create_task(self._closed.get())
                await asyncio.wait({heard, waiting_end}, return_when=asyncio.FIRST_COMPLETED)
                if not heard.done():
                    heard.cancel()
                    break
                job_ids = [heard.result()]
                while not self._closed.empty():
                    job_ids.append(self._closed.get_nowait())
                await self._on_closed(job_ids)
        finally:
            waiting_end.cancel()

    def _heard_enqueued(self, _connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        if payload != self._origin:
            self._on_enqueued()

    def _heard_closed(self, _connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        origin, _, job_id = str(payload).partition(" ")
        if origin != self._origin:
            self._closed.put_nowait(job_id)
