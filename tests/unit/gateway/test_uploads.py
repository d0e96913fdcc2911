"""An upload is asked for once while it lives, and never served after its end or to others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import NotFound
from services.gateway.uploads import Uploads

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class HeldClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


class Storage:
    """Knows one upload of one account for an hour."""

    def __init__(self, clock: HeldClock) -> None:
        self.clock = clock
        self.asked = 0

    async def GetUpload(self, request: Any, **_: Any) -> storage_pb2.GetUploadResponse:
        self.asked += 1
        end = NOW + timedelta(hours=1)
        named = request.id == "a1" or request.path == "/uploads/images/a1.png"
        if not named or request.account_id != "public" or self.clock.now() >= end:
            raise NotFound("there is no such upload, or it has expired")
        upload = storage_pb2.Upload(id="a1", account_id="public", path="/uploads/images/a1.png")
        upload.expire_time.FromDatetime(end)
        return storage_pb2.GetUploadResponse(upload=upload)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def storage(clock: HeldClock) -> Storage:
    return Storage(clock)


@pytest.fixture
def uploads(storage: Storage, clock: HeldClock) -> Uploads:
    channel = SimpleNamespace(get_state=lambda: grpc.ChannelConnectivity.READY)
    backends: Any = SimpleNamespace(storage=storage, storage_channel=channel)
    return Uploads(backends, clock, kept=2)


async def test_an_upload_is_asked_for_once(uploads: Uploads, storage: Storage) -> None:
    assert (await uploads.find("public", file_id="a1")).id == "a1"
    assert (await uploads.find("public", file_id="a1")).id == "a1"
    assert storage.asked == 1
    assert (await uploads.find("public", path="/uploads/images/a1.png")).id == "a1"


async def test_an_expired_upload_is_not_served_from_memory(uploads: Uploads, clock: HeldClock) -> None:
    await uploads.find("public", file_id="a1")
    clock.time += timedelta(hours=1)
    with pytest.raises(NotFound):
        await uploads.find("public", file_id="a1")


async def test_another_account_does_not_see_what_is_remembered(uploads: Uploads) -> None:
    await uploads.find("public", file_id="a1")
    with pytest.raises(NotFound):
        await uploads.find("somebody", file_id="a1")


async def test_a_deleted_upload_is_asked_for_again(uploads: Uploads, storage: Storage) -> None:
    uploads.forget(await uploads.find("public", file_id="a1"))
    await uploads.find("public", file_id="a1")
    assert storage.asked == 2
