"""The node's library: told by its workers, drawn once for all who ask at once."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace
from typing import Any

import pytest

from maquette.api.animation.v1 import motions_pb2 as pb
from maquette.runtime.errors import Internal, NotFound, ResourceExhausted, Unavailable
from maquette.runtime.settings import Settings
from services.animation.engines.motion_library.catalogue import list_motions
from services.animation.motions import LIST, MotionLibrary


class Pool:
    """Draws when it is let."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.calls: list[int] = []
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.failure: Exception | None = None

    async def call(self, target: str, payload: dict[str, Any], **limits: Any) -> str:
        assert target == "services.animation.engines.motion_library.previews:preview"
        assert limits["timeout"] > 0 and limits["memory_mib"] > 0
        self.calls.append(payload["number"])
        self.begun.put_nowait(payload["number"])
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        return base64.b64encode(b"webp %d" % payload["number"]).decode()


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def library(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> MotionLibrary:
    made = MotionLibrary(Settings())

    async def drawers() -> Pool:
        return pool

    monkeypatch.setattr(made, "_drawers", drawers)
    monkeypatch.setattr(made, "_node", SimpleNamespace(told={LIST.target: list_motions()}))
    return made


async def ask(library: MotionLibrary, number: int) -> bytes:
    answer = await library.GetPreview(pb.GetPreviewRequest(id=number), None)  # type: ignore[arg-type]
    return bytes(answer.webp)


async def listed(library: MotionLibrary) -> pb.ListMotionsResponse:
    return await library.ListMotions(pb.ListMotionsRequest(), None)  # type: ignore[arg-type]


async def test_the_library_is_told_as_the_workers_told_it(library: MotionLibrary) -> None:
    told = await listed(library)
    meant = list_motions()
    assert [motion.id for motion in told.motions] == [row["id"] for row in meant["motions"]]
    assert told.motions[0].match == pb.MATCH_EXACT and told.revision == meant["revision"]
    assert told.ByteSize() < 1 << 20


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "still starting"),
        ({LIST.target: {"motions": [], "names": [], "revision": ""}}, "lacks packages"),
    ],
)
async def test_before_a_worker_has_told_it_the_library_is_away(
    library: MotionLibrary, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(library, "_node", SimpleNamespace(told=told))
    with pytest.raises(Unavailable, match=says):
        await listed(library)


async def test_all_who_ask_at_once_get_one_drawing(library: MotionLibrary, pool: Pool) -> None:
    asking = [asyncio.create_task(ask(library, 30)) for _ in range(5)]
    await pool.begun.get()
    asking[0].cancel()
    pool.may.set()
    assert await asyncio.gather(*asking[1:]) == [b"webp 30"] * 4
    assert await ask(library, 30) == b"webp 30"
    assert pool.calls == [30]


async def test_a_drawing_that_failed_is_tried_again(library: MotionLibrary, pool: Pool) -> None:
    pool.failure = Internal("no")
    pool.may.set()
    with pytest.raises(Internal):
        await ask(library, 30)
    pool.failure = None
    assert await ask(library, 30) == b"webp 30"


async def test_an_unknown_id_starts_no_drawing(library: MotionLibrary, pool: Pool) -> None:
    with pytest.raises(NotFound):
        await ask(library, 999_999)
    assert not pool.calls


async def test_too_many_drawings_at_once_are_refused(library: MotionLibrary, pool: Pool) -> None:
    ids = [motion.id for motion in (await listed(library)).motions]
    asking = [asyncio.create_task(ask(library, number)) for number in ids[:32]]
    for _ in asking:
        await pool.begun.get()
    with pytest.raises(ResourceExhausted):
        await ask(library, ids[32])
    await library.close()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
