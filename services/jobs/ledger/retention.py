"""Statements that forget what is old. Ages are measured by the database's clock."""

from __future__ import annotations

from services.jobs.ledger.database import Database
from services.jobs.ledger.jobs import ROW_COLUMNS
from services.jobs.ledger.rows import read_job
from services.jobs.model import Job

# Invariants: see ledger.expire_keys and ledger.remove_ended.
EXPIRE_KEYS = "SELECT ledger.expire_keys($1, $2) AS expired"
REMOVE_ENDED = f"""SELECT {ROW_COLUMNS}, NULL::jsonb AS tasks, NULL::jsonb AS artifacts
    FROM ledger.remove_ended($1, $2) j"""  # noqa: S608 — constants only


class RetentionTable:
    """What is forgotten, a batch at a time, by one replica at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expire_keys(self, seconds: float, most: int) -> int:
        """Forget the idempotency keys of jobs made this long ago; return how many."""
        rows = await self._database.fetch(EXPIRE_KEYS, seconds, most, patience=0)
        return int(rows[0]["expired"])

    async def remove_ended(self, seconds: float, most: int) -> list[Job]:
        """Remove jobs that ended this long ago, with all that is theirs, and return them without files."""
        rows = await self._database.fetch(REMOVE_ENDED, seconds, most, patience=0)
        return [read_job(row) for row in rows]
