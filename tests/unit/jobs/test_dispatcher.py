"""Where the dispatcher looks for work when it knows what came."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import SystemClock
from maquette.runtime.settings import JobsSettings
from services.jobs.attempts import Attempts
from services.jobs.dispatcher import Dispatcher
from services.jobs.graph import ProgressBook
from services.jobs.hub import Hub
from services.jobs.registry import NodeRegistry


class Claims:
    """A ledger without work, which notes what was looked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.changed = asyncio.Event()

    async def claim(self, scope: Any, served: Any, silence: float) -> list[Any]:
        self.asked += scope.features
        self.changed.set()
        return []

    async def next(self) -> list[str]:
        """Return what the next round looked for."""
        await asyncio.wait_for(self.changed.wait(), 20.0)
        # A round asks for one set of nodes after the other without waiting for anything else.
        await asyncio.sleep(0)
        self.changed.clear()
        asked, self.asked = self.asked, []
        return sorted(asked)


def _node(name: str, *features: str) -> jobs_pb2.Node:
    engine = capability_pb2.Engine(
        id=f"engine-{name}", features=features, state=capability_pb2.ENGINE_STATE_LOADED
    )
    return jobs_pb2.Node(id=name, capability=name, address=f"unix:{name}", slots=1, engines=[engine])


@pytest.fixture
async def house() -> Any:
    """A dispatcher with a node for meshes and one for rigs, whose poll is far away."""
    claims, clock = Claims(), SystemClock()
    registry = NodeRegistry(
        clock, silence=600.0, on_change=lambda features: dispatcher.wake(features=features)
    )
    dispatcher = Dispatcher(
        jobs=None,  # type: ignore[arg-type]
        tasks=claims,  # type: ignore[arg-type]
        hub=Hub(clock),
        book=ProgressBook(),
        registry=registry,
        attempts=Attempts(),
        clock=clock,
        settings=JobsSettings(poll_seconds=600.0),
    )
    registry.announce(_node("meshgen", "mesh")).streams = 1
    registry.announce(_node("rigging", "rig")).streams = 1
    running = asyncio.create_task(dispatcher.run())
    assert await claims.next() == ["mesh", "rig"]
    yield dispatcher, registry, claims
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_looks_for_what_it_was_told_of_alone(house: Any) -> None:
    dispatcher, _registry, claims = house
    dispatcher.wake(features={"rig"})
    assert await claims.next() == ["rig"]
    dispatcher.wake(features={"rig"})
    dispatcher.wake(features={"mesh"})
    assert await claims.next() == ["mesh", "rig"]


async def test_it_looks_for_everything_when_nobody_knows_what_came(house: Any) -> None:
    dispatcher, _registry, claims = house
    dispatcher.wake(features={"rig"})
    dispatcher.wake()
    assert await claims.next() == ["mesh", "rig"]


async def test_a_delay_keeps_what_it_was_told_of(house: Any) -> None:
    dispatcher, _registry, claims = house
    dispatcher.wake(0.01, {"mesh"})
    assert await claims.next() == ["mesh"]


async def test_a_node_with_news_is_looked_for_alone(house: Any) -> None:
    _dispatcher, registry, claims = house
    registry.announce(_node("rigging", "rig", "skin"))
    assert await claims.next() == ["rig", "skin"]


async def test_a_node_that_has_begun_its_task_is_not_looked_for(house: Any) -> None:
    dispatcher, registry, claims = house
    begun = _node("rigging", "rig")
    begun.busy = 1
    registry.announce(begun)
    dispatcher.wake(features={"mesh"})
    assert await claims.next() == ["mesh"]


async def test_a_node_is_looked_for_when_another_replica_s_task_ends_there(house: Any) -> None:
    dispatcher, registry, claims = house
    registry.alone = False
    taken = _node("rigging", "rig")
    taken.busy = 1
    registry.announce(taken)
    dispatcher.wake(features={"mesh"})
    assert await claims.next() == ["mesh"]
    registry.announce(_node("rigging", "rig"))
    assert await claims.next() == ["rig"]


async def test_a_node_that_comes_again_is_looked_for(house: Any) -> None:
    _dispatcher, registry, claims = house
    registry.suspect("rigging")
    registry.announce(_node("rigging", "rig"))
    assert await claims.next() == ["rig"]
