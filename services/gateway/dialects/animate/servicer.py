"""The dialect's gRPC servicer: what is known of jobs."""

# ruff: noqa: N802 — methods carry the names of their RPCs
from __future__ import annotations

from collections import OrderedDict
from typing import Any

import orjson
from google.api import httpbody_pb2

from maquette.api.dialects.animate.v1 import animate_pb2, animate_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from services.gateway import auth
from services.gateway.backends import Backends, call
from services.gateway.dialects.animate.mapping import status_view
from services.gateway.dialects.animate.submit import find_job
from services.gateway.feed import Feed

_JSON = "application/json"
_KEPT = 4096


class StatusServicer(animate_pb2_grpc.StatusServiceServicer):
    """Answers polls from the gateway's mirror of the ledger."""

    def __init__(self, backends: Backends, feed: Feed, base_url: str) -> None:
        self._backends = backends
        self._feed = feed
        self._base_url = base_url
        self._told: OrderedDict[str, int] = OrderedDict()
        """The last progress told of jobs: a ledger that restarts remembers a little less than it told."""

    async def GetStatus(self, request: animate_pb2.GetStatusRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Serve F2."""
        return self._answer(await find_job(self._feed, request.job_id))

    async def CancelAnimation(
        self, request: animate_pb2.CancelAnimationRequest, context: Any
    ) -> httpbody_pb2.HttpBody:
        """Cancel a job; one that has ended stays as it is."""
        found = await find_job(self._feed, request.job_id)
        jobs = self._backends.jobs
        key = jobs_pb2.JobKey(account_id=auth.account(), id=found.id)
        response = await call(jobs.jobs.CancelJob, jobs_pb2.CancelJobRequest(key=key), jobs.channel)
        return self._answer(self._feed.note(response.job).job)

    def _answer(self, job: jobs_pb2.Job) -> httpbody_pb2.HttpBody:
        view = status_view(job, self._base_url)
        view["progress"] = self._told[job.id] = max(view["progress"], self._told.get(job.id, 0))
        self._told.move_to_end(job.id)
        while len(self._told) > _KEPT:
            self._told.popitem(last=False)
        return httpbody_pb2.HttpBody(content_type=_JSON, data=orjson.dumps(view))
