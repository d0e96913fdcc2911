"""Server-sent events of any dialect's job (WHATWG HTML, section 9.2)."""

# ruff: noqa: N802 — methods carry the names of their RPCs
from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.api import httpbody_pb2

from maquette.api.dialects.core.v1 import core_pb2, core_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from services.gateway import auth
from services.gateway.feed import Feed
from services.gateway.json_writer import seconds_of, write_json

_TYPE = "text/event-stream"
_SIGN_OF_LIFE = b": still here\n\n"
_MOST_DIGITS = 18
_KEPT_FRAMES = 256

STATES: Mapping[int, str] = {
    jobs_pb2.STATE_QUEUED: "queued",
    jobs_pb2.STATE_RUNNING: "running",
    jobs_pb2.STATE_SUCCEEDED: "succeeded",
    jobs_pb2.STATE_FAILED: "failed",
    jobs_pb2.STATE_CANCELLED: "cancelled",
}


class EventServicer(core_pb2_grpc.EventServiceServicer):
    """Streams events from the gateway's mirror."""

    def __init__(self, feed: Feed, ping_seconds: float) -> None:
        self._feed = feed
        self._ping_seconds = ping_seconds
        self._frames: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()

    async def StreamEvents(
        self, request: core_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Send events after `Last-Event-ID`, comments while it is quiet, and end after the last."""
        metadata = dict(context.invocation_metadata())
        seen = last_seen(str(metadata.get("last-event-id", "")))
        events = self._feed.watch(auth.account(), request.job_id, from_seq=seen, idle=self._ping_seconds)
        async for batch in events:
            data = b"".join([self._frame(event) for event in batch]) or _SIGN_OF_LIFE
            yield httpbody_pb2.HttpBody(content_type=_TYPE, data=data)

    def _frame(self, event: jobs_pb2.JobEvent) -> bytes:
        """Return an event's frame, written once for all who watch."""
        key = (event.job.id, event.seq, event.type)
        found = self._frames.get(key)
        if found is None:
            found = self._frames[key] = frame(event)
            if len(self._frames) > _KEPT_FRAMES:
                self._frames.popitem(last=False)
        return found


def last_seen(header: str) -> int:
    """Return the sequence number in `Last-Event-ID`; 0 for none, or for what is no number."""
    text = header.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


def frame(event: jobs_pb2.JobEvent) -> bytes:
    """Write one event: id, name and data."""
    view = event_view(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (view.seq, view.type.encode(), write_json(view))


def event_view(event: jobs_pb2.JobEvent) -> core_pb2.Event:
    """Return an event in our own words."""
    job = event.job
    view = core_pb2.Event(
        seq=event.seq,
        type=jobs_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower(),
        job_id=job.public_id,
        state=STATES[job.state],
        progress=1.0 if job.state == jobs_pb2.STATE_SUCCEEDED else job.progress.fraction,
        stage=job.progress.stage,
        message=job.progress.message,
        attempt=job.attempt,
    )
    if event.HasField("time"):
        view.time.CopyFrom(event.time)
    if job.progress.HasField("eta"):
        view.eta_seconds = seconds_of(job.progress.eta)
    if job.HasField("error"):
        view.error.CopyFrom(core_pb2.EventError(reason=job.error.reason, message=job.error.message))
    if job.HasField("result"):
        view.result.CopyFrom(result_view(job))
    return view


def result_view(job: jobs_pb2.Job) -> core_pb2.EventResult:
    """Return a job's result in our own words."""
    result = job.result
    view = core_pb2.EventResult(
        model_used=result.model_used,
        info=result.info,
        warnings=result.warnings,
        files=[
            core_pb2.EventFile(
                role=artifact.role,
                filename=artifact.filename,
                path=artifact.path,
                size=artifact.size,
                media_type=artifact.media_type,
            )
            for artifact in result.artifacts
        ],
    )
    if job.requested_model:
        view.requested_model = job.requested_model
    return view
