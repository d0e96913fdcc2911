"""A picture is blamed only when a second worker fails over it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maquette.runtime.errors import InvalidArgument
from maquette.runtime.sandbox import OutOfMemory, RemoteFailure, TimedOut, WorkerCrashed
from maquette.runtime.settings import CapabilitySettings, GatewaySettings
from services.gateway.ingest import FileFacts
from services.gateway.inspection import SandboxInspector, inspector_spec

FACTS = {"format": "png", "media_type": "image/png", "width": 640, "height": 480}
CRASH, SLOW = WorkerCrashed("died of SIGKILL"), TimedOut("too long")


class Pool:
    """Answers calls in order."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def call(self, *_args: Any, **_options: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def inspect(pool: Pool) -> FileFacts:
    inspector = SandboxInspector(pool, GatewaySettings())  # type: ignore[arg-type]
    return await inspector.inspect(Path("picture"))


@pytest.mark.parametrize("first", [CRASH, SLOW])
async def test_a_worker_that_ends_once_is_not_the_pictures_fault(first: Exception) -> None:
    assert await inspect(Pool(first, FACTS)) == FileFacts("png", "image/png", 640, 480)


@pytest.mark.parametrize(
    "answers", [(CRASH, CRASH), (SLOW, CRASH), (CRASH, OutOfMemory("more")), (OutOfMemory("more"),)]
)
async def test_a_picture_that_ends_two_workers_is_refused(answers: tuple[Exception, ...]) -> None:
    pool = Pool(*answers)
    with pytest.raises(InvalidArgument) as error:
        await inspect(pool)
    assert error.value.reason == "INVALID_INPUT_FILE"
    assert pool.answers == []


async def test_what_the_decoder_says_is_final() -> None:
    with pytest.raises(InvalidArgument, match="truncated"):
        await inspect(Pool(RemoteFailure("UnreadableImage", "The picture is truncated.")))
    with pytest.raises(RemoteFailure):
        await inspect(Pool(RemoteFailure("KeyError", "a fault of ours")))


def test_inspectors_are_confined_as_the_operator_says() -> None:
    spec = inspector_spec(CapabilitySettings(uid_base=70_000, require_confinement=False))
    assert (spec.uid_base, spec.require_confinement) == (70_000, False)
    assert inspector_spec(CapabilitySettings()).require_confinement
