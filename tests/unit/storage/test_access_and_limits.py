"""Who comes in, and how much fits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from maquette.runtime.errors import MaquetteError, PermissionDenied
from maquette.runtime.grants import mint, verify
from services.storage.access import Doors
from services.storage.limits import Room, check_size

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DOORS = Doors(privileged=b"p" * 64, grants=b"g" * 64)


def token(secret: bytes = DOORS.grants, limit: int = 10) -> str:
    expiry = NOW + timedelta(minutes=1)
    return mint(secret, task_id="t", inputs=[], max_write_bytes=limit, expires_at=expiry)


def test_the_privileged_secret_opens_everything() -> None:
    shown = [("x-maquette-privileged", "p" * 64)]
    assert DOORS.caller(shown, NOW) is None
    DOORS.require_privileged(shown, NOW)


def test_a_grant_opens_itself_only() -> None:
    shown = [("x-maquette-grant", token())]
    grant = DOORS.caller(shown, NOW)
    assert grant is not None
    assert grant.task_id == "t"
    with pytest.raises(PermissionDenied):
        DOORS.require_privileged(shown, NOW)


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [("x-maquette-internal", "p" * 64)],
        [("x-maquette-service", "gateway")],
        [("x-maquette-privileged", "")],
        [("x-maquette-privileged", "p" * 63)],
        [("x-maquette-privileged", "g" * 64)],
        [("x-maquette-grant", "")],
        [("x-maquette-grant", "é.ü.ß")],
        [("x-maquette-grant", token(b"p" * 64))],
        [("x-maquette-privileged", "wrong"), ("x-maquette-grant", token())],
    ],
)
def test_everybody_else_stays_out(shown: list[tuple[str, str]]) -> None:
    with pytest.raises(PermissionDenied):
        DOORS.caller(shown, NOW)


def reason(call, *values: object) -> str:
    with pytest.raises(MaquetteError) as error:
        call(*values)
    return error.value.reason


def test_limits_bind_at_their_edge() -> None:
    room = Room(max_blob_bytes=100, min_free_bytes=50, quota_bytes=1000)
    room.check_free(60, 10)
    assert reason(room.check_free, 60, 11) == "STORAGE_FULL"
    room.check_free(None, 1 << 60)
    room.check_total(1000)
    assert reason(room.check_total, 1001) == "STORAGE_FULL"
    check_size(100, 100)
    assert reason(check_size, 101, 100) == "FILE_TOO_LARGE"
    grant = verify(DOORS.grants, token(limit=10), NOW)
    room.check_grant(grant, 10)
    assert reason(room.check_grant, grant, 11) == "FILE_TOO_LARGE"


def test_a_caller_may_ask_for_less_but_not_for_more() -> None:
    room = Room(max_blob_bytes=100)
    assert [room.stream_limit(asked) for asked in (0, 50, 100, 101)] == [100, 50, 100, 100]


def test_without_a_quota_there_is_none() -> None:
    Room(max_blob_bytes=1).check_total(1 << 60)
