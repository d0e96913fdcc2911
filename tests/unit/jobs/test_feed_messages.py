"""Events of the feed in few messages, none of them too large for a channel."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from services.jobs.convert import feed_events
from services.jobs.model import JobEvent
from services.jobs.servicers import feed_responses
from services.jobs.states import Event
from tests.unit.jobs.values import START, make_job


def _event(number: int, size: int = 0) -> JobEvent:
    request = Struct()
    request.update({"text": "x" * size})
    return JobEvent(number, Event.QUEUED, START, make_job(f"job {number}").at(request=request))


def test_events_that_come_together_share_a_message() -> None:
    responses = list(feed_responses([_event(number) for number in range(10)]))
    assert len(responses) == 1
    assert [event.seq for event in feed_events(responses[0])] == list(range(10))


def test_a_message_stays_below_what_a_channel_takes() -> None:
    responses = list(feed_responses([_event(number, 600_000) for number in range(8)]))
    assert max(response.ByteSize() for response in responses) < 2 << 20
    assert [event.seq for response in responses for event in feed_events(response)] == list(range(8))
