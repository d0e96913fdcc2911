"""A FastAPI endpoint that inserts one row and commits, into the same PostgreSQL.

Run: ``python -m bench.peers.insert_row PORT``.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from maquette.runtime.settings import load_settings
from maquette.runtime.supervisor.postgres import SUPERUSER, LocalPostgres

_TABLE = """CREATE TABLE IF NOT EXISTS job (
    id uuid PRIMARY KEY, account text NOT NULL, feature text NOT NULL, request jsonb NOT NULL,
    state text NOT NULL DEFAULT 'QUEUED', created_at timestamptz NOT NULL DEFAULT now())"""
_INSERT = "INSERT INTO job (id, account, feature, request) VALUES ($1, $2, $3, $4)"


class Body(BaseModel):
    """What a client sends."""

    image_file_id: str
    output_format: str = "glb"
    model_preference: str | None = None


class Queued(BaseModel):
    """What a client gets."""

    job_id: str
    status: str
    message: str


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    dsn = LocalPostgres(load_settings()).dsn(SUPERUSER, "postgres")
    # As many connections as asyncpg makes unless told otherwise.
    async with asyncpg.create_pool(dsn) as pool:
        await pool.execute(_TABLE)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/jobs")
async def create(body: Body) -> Queued:
    """Insert one row; the statement is its own transaction, durable when it returns."""
    job_id = uuid.uuid4()
    await app.state.pool.execute(_INSERT, job_id, "public", "image_to_raw_mesh", body.model_dump_json())
    return Queued(job_id=str(job_id), status="queued", message="Job queued successfully")


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
