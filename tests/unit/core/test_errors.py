"""An error raised in a servicer is the same error at the caller."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from maquette.runtime import errors
from maquette.runtime.rpc.status import to_status, trailing_metadata


@pytest.mark.parametrize("reason", errors.CATALOGUE)
def test_every_reason_builds_an_error_of_its_own_code(reason):
    error = errors.error_for(reason, "told")
    assert error.reason == reason
    assert error.row is errors.CATALOGUE[reason]
    assert type(error) is not errors.MaquetteError


def test_every_class_has_a_default_reason_of_its_own_code():
    classes = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.MaquetteError)
    ]
    for kind in classes:
        if kind is not errors.MaquetteError:
            assert type(errors.error_for(kind.default_reason, "told")) is kind


def test_an_unknown_reason_is_refused():
    with pytest.raises(ValueError, match="NO_SUCH"):
        errors.Internal("told", reason="NO_SUCH")


def test_a_status_carries_exactly_one_error_info():
    status = to_status(errors.ResourceExhausted("no room", reason="STORAGE_FULL", metadata={"free": "0"}))
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert len(status.details) == 1
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == ("STORAGE_FULL", "maquette", {"free": "0"})


def test_trailing_metadata_is_the_rich_status():
    ((key, value),) = trailing_metadata(errors.NotFound("no such job"))
    assert key == "grpc-status-details-bin"
    assert status_pb2.Status.FromString(value).message == "no such job"


def test_a_lost_lease_costs_no_attempt_and_bad_input_is_never_retried():
    assert errors.CATALOGUE["LEASE_LOST"].retry is errors.Retry.SNOOZE
    assert errors.CATALOGUE["NODE_BUSY"].retry is errors.Retry.SNOOZE
    for row in errors.CATALOGUE.values():
        if row.code is grpc.StatusCode.INVALID_ARGUMENT:
            assert row.retry is errors.Retry.NEVER
