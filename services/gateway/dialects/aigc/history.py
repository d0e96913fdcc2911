"""D7's filters, checked. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from google.protobuf import timestamp_pb2

from maquette.api.dialects.aigc.v1 import system_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import InvalidArgument
from services.gateway.dialects.aigc.words import NAME, STATES_OF

_MOST = 500
_DEFAULT = 100
# A plus sign that nobody escaped arrives as a space.
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$")


def history_query(request: system_pb2.ListJobHistoryRequest, account_id: str) -> jobs_pb2.ListJobsRequest:
    """Return the ledger's query. Raises `InvalidArgument` for a filter that makes no sense."""
    limit = request.limit if request.HasField("limit") else _DEFAULT
    if not 1 <= limit <= _MOST:
        raise InvalidArgument(f"limit must be 1–{_MOST}.")
    if request.offset < 0:
        raise InvalidArgument("offset must not be negative.")
    query = jobs_pb2.ListJobsRequest(
        account_id=account_id,
        dialect=NAME,
        feature=request.feature,
        page_size=limit,
        offset=request.offset,
    )
    if request.status:
        if request.status not in STATES_OF:
            raise InvalidArgument(f"status must be one of {', '.join(STATES_OF)}.")
        query.states.extend(STATES_OF[request.status])
    if request.start_date:
        query.created_after.CopyFrom(_moment("start_date", request.start_date))
    if request.end_date:
        query.created_before.CopyFrom(_moment("end_date", request.end_date))
    return query


def filters_view(request: system_pb2.ListJobHistoryRequest) -> system_pb2.HistoryFilters:
    """Return the filters as they were given."""
    view = system_pb2.HistoryFilters()
    for name in ("status", "feature", "start_date", "end_date"):
        if request.HasField(name) and getattr(request, name):
            setattr(view, name, getattr(request, name))
    return view


def _moment(name: str, text: str) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    try:
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"+\1", text.strip()))
        stamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"{name} is not an ISO 8601 date: {text!r}.") from error
    return stamp
