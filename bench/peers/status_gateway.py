"""A FastAPI gateway in front of the same jobs service: each poll is one `JobService.GetJob`.

It writes the same document with the same code, so only the way there differs.
Run: ``python -m bench.peers.status_gateway PORT``.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Response

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.errors import NotFound
from maquette.runtime.rpc.channel import open_channel, translated
from maquette.runtime.settings import load_settings
from services.gateway.dialects.aigc.mapping import job_view
from services.gateway.json_writer import write_json

_settings = load_settings()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_channel(_settings, _settings.address("jobs"), privileged=True) as channel:
        app.state.jobs = jobs_pb2_grpc.JobServiceStub(channel)
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/api/v1/system/jobs/{job_id}")
async def get_job(job_id: str) -> Response:
    """Ask the jobs service and write what it says."""
    jobs: Any = app.state.jobs
    key = jobs_pb2.JobKey(account_id="public", public=jobs_pb2.JobKey.PublicId(id=job_id))
    try:
        async with translated():
            found = await jobs.GetJob(jobs_pb2.GetJobRequest(key=key), timeout=10)
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    return Response(write_json(job_view(found.job, _settings.base_url)), media_type="application/json")


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
