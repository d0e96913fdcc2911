"""PostgreSQL as storage uses it: a pool that outlives the server's restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from maquette.runtime.clock import Clock
from maquette.runtime.errors import InvalidArgument, Unavailable
from maquette.runtime.migrations import migrate
from maquette.runtime.telemetry import get_logger

if TYPE_CHECKING:  # generic in their stubs only
    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]
    _Pool = asyncpg.Pool[Any]

SCHEMA = "assets"
MIGRATIONS = "services.storage.migrations"

T = TypeVar("T")

# The connection is of no use any more. asyncpg calls a connection that broke in the middle of an
# operation an error of its own (InternalClientError), and would hand it out again.
_BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# The server is away, going, or coming: the same work may succeed in a moment.
_AWAY = (
    *_BROKEN,
    # Class 57: shut down, crashed, starting; class 53: out of disk, memory or connections.
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.25


class Database:
    """Runs transactions, again when the connection breaks.

    ``dsn`` is asked at each new connection: the local server's place is told by files that appear
    when it starts. Work must be safe to repeat: a commit whose answer was lost is done again.
    """

    def __init__(self, dsn: Callable[[], str], clock: Clock, *, wait: float, size: int) -> None:
        self._dsn = dsn
        self._clock = clock
        self._wait = wait
        self._size = size
        self._pool: _Pool | None = None
        self._opening = asyncio.Lock()

    async def transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction and return what it returns.

        Raises Unavailable when the database stays away for longer than the wait, and
        InvalidArgument for a value that no column takes.
        """

        async def atomic(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.statement(atomic)

    async def statement(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work`, a single statement, which is its own transaction. Raises as `transaction`."""
        end = self._clock.monotonic() + self._wait
        pause = _FIRST_PAUSE
        while True:
            try:
                pool = self._pool or await self._open()
                async with pool.acquire(timeout=self._wait) as connection:
                    try:
                        return await work(connection)
                    except _BROKEN:
                        connection.terminate()
                        raise
            except _AWAY as error:
                if self._clock.monotonic() + pause > end:
                    raise Unavailable("the database is away") from error
                get_logger().warning("database away", error=repr(error))
            except asyncpg.DataError as error:
                # A NUL in a text: the same value is refused for ever.
                raise InvalidArgument("storage cannot hold a value that was given") from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def ready(self, stopping: asyncio.Event) -> None:
        """Wait until the schema is up to date, or until the service stops."""
        while not stopping.is_set():
            try:
                await self.transaction(_nothing)
            except Unavailable:
                continue
            return

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(2):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _open(self) -> _Pool:
        async with self._opening:
            if self._pool is None:
                pool = await asyncpg.create_pool(
                    self._dsn(),
                    min_size=1,
                    max_size=self._size,
                    timeout=self._wait,
                    command_timeout=30,
                    server_settings={"application_name": "maquette-storage"},
                    reset=_keep,
                )
                try:
                    async with pool.acquire() as connection:
                        await migrate(connection, MIGRATIONS, SCHEMA)
                except BaseException:
                    pool.terminate()
                    raise
                self._pool = pool
            return self._pool


async def _nothing(_connection: Connection) -> None:
    pass


async def _keep(_connection: Connection) -> None:
    """Leave a connection as it is on its way back to the pool: no work of ours changes its session."""
