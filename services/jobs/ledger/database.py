"""Reach PostgreSQL, also when it was away for a moment."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from maquette.runtime.clock import Clock
from maquette.runtime.errors import Internal, InvalidArgument, Unavailable
from maquette.runtime.migrations import migrate
from maquette.runtime.telemetry import get_logger

MIGRATIONS = "services.jobs.migrations"
SCHEMA = "ledger"

# The connection is of no use any more. asyncpg calls a connection that broke in the middle of an
# operation an error of its own (InternalClientError), and would hand it out again.
BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# The server is away, going, or coming: the same statement may succeed in a moment.
AWAY = (
    *BROKEN,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)

# Every statement here finds its rows by an index. Without this a plan made while a table was empty
# would scan it, and stay for as long as its connection.
_SESSION = {"enable_seqscan": "off", "jit": "off", "application_name": "maquette-jobs"}


class Database:
    """A pool whose calls wait for a database that restarts."""

    def __init__(self, dsn: str, clock: Clock, *, size: int, patience: float) -> None:
        self.dsn = dsn
        self._clock = clock
        self._size = size
        self._patience = patience
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect and bring the schema up to date."""
        pool = asyncpg.create_pool(
            self.dsn,
            min_size=2,
            max_size=self._size,
            max_inactive_connection_lifetime=0,
            command_timeout=30,
            timeout=5,
            server_settings=_SESSION,
            reset=_keep,
        )
        self._pool = await pool
        async with self._pool.acquire() as connection:
            await migrate(connection, MIGRATIONS, SCHEMA)

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 2.0)
            except TimeoutError:
                self._pool.terminate()

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """Return a connection outside the pool, for LISTEN."""
        return await asyncpg.connect(self.dsn, timeout=5, server_settings=_SESSION)

    async def fetch(self, sql: str, *args: Any, patience: float | None = None) -> list[asyncpg.Record]:
        """Run a statement that is safe to repeat and return its rows.

        ``patience`` is how many seconds to wait for a database that is away; the setting by default.
        Raises Unavailable after that, and InvalidArgument for a value that no column takes.
        """
        if self._pool is None:
            raise Unavailable("the ledger's database is not open")
        until = self._clock.monotonic() + (self._patience if patience is None else patience)
        pause = 0.05
        while True:
            try:
                return await self._fetch(self._pool, sql, args)
            except AWAY as error:
                if self._clock.monotonic() + pause >= until:
                    raise Unavailable("the ledger's database is away") from error
                get_logger().warning("database away", error=repr(error))
            except asyncpg.DataError as error:
                # A NUL in a text, a number out of range: the same value is refused for ever.
                raise InvalidArgument("the ledger cannot hold a value that was given") from error
            except asyncpg.IntegrityConstraintViolationError as error:
                # Rows that contradict each other, as two files of one name: doing it again is no help.
                get_logger().error("rows refused", constraint=error.constraint_name, exc_info=error)
                raise Internal("the ledger refused the rows", reason="PROCESSING_FAILED") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.4)

    @staticmethod
    async def _fetch(
        pool: asyncpg.Pool[asyncpg.Record], sql: str, args: tuple[Any, ...]
    ) -> list[asyncpg.Record]:
        async with pool.acquire() as connection:
            try:
                return await connection.fetch(sql, *args)
            except BROKEN:
                connection.terminate()
                raise


async def _keep(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Leave a connection as it is on its way back to the pool: no statement of ours changes its session."""
