"""What live nodes can do: engines, models, formats, GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import Clock
from maquette.runtime.errors import MaquetteError
from services.gateway.backends import Backends, call

_STORAGE = "storage"
_PERIOD_SECONDS = 1.0
# Longer than the period: who follows is never kept waiting.
_FRESH_SECONDS = 2.0
_STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Capabilities:
    """The union of what live nodes announced."""

    nodes: tuple[jobs_pb2.Node, ...]

    @property
    def engines(self) -> tuple[capability_pb2.Engine, ...]:
        """Every engine of every node that is not draining."""
        return tuple(engine for node in self.nodes if not node.draining for engine in node.engines)

    @cached_property
    def working(self) -> tuple[capability_pb2.Engine, ...]:
        """Engines that can run a task."""
        return tuple(e for e in self.engines if e.state != capability_pb2.ENGINE_STATE_UNAVAILABLE)

    def serving(self, features: Iterable[str]) -> tuple[capability_pb2.Engine, ...]:
        """Return the working engines of our own that serve any of the features.

        Those of remote providers run only where a client or the operator names them.
        """
        return tuple(e for e in self._offering(features) if e.kind != capability_pb2.ENGINE_KIND_PROVIDER)

    def _offering(self, features: Iterable[str]) -> tuple[capability_pb2.Engine, ...]:
        wanted = set(features)
        return tuple(engine for engine in self.working if wanted & set(engine.features))

    def models(self, feature: str) -> tuple[str, ...]:
        """Return the ids of the working engines of a feature, remote ones too, best first."""
        engines = sorted(self._offering((feature,)), key=lambda engine: -engine.rank)
        return tuple(dict.fromkeys(engine.id for engine in engines))

    def output_formats(self, features: Iterable[str]) -> frozenset[str]:
        """Return the formats that the features can be delivered in now."""
        return frozenset(name for engine in self.serving(features) for name in engine.output_formats)

    def input_formats(self, features: Iterable[str]) -> frozenset[str]:
        """Return the formats that the features take now."""
        return frozenset(name for engine in self.serving(features) for name in engine.input_formats)

    def missing_formats(self, features: Iterable[str]) -> dict[str, str]:
        """Return formats that no node can do now, with what one would have to install."""
        engines = self.serving(features)
        there = {name for engine in engines for name in (*engine.input_formats, *engine.output_formats)}
        told = {name: why for engine in engines for name, why in engine.missing_formats.items()}
        return {name: why for name, why in told.items() if name not in there}

    def pending_formats(self, features: Iterable[str]) -> dict[str, str]:
        """Return formats that no node has ready, and how they will be when they are first asked for."""
        engines = self.serving(features)
        ready = {
            name
            for engine in engines
            for name in (*engine.input_formats, *engine.output_formats)
            if name not in engine.pending_formats
        }
        told = {name: how for engine in engines for name, how in engine.pending_formats.items()}
        return {name: how for name, how in told.items() if name not in ready}


class NodeDirectory:
    """Asks `jobs` for its nodes once a second, so that no request waits for the answer."""

    def __init__(self, backends: Backends, clock: Clock) -> None:
        self._backends = backends
        self._clock = clock
        self._known: Capabilities | None = None
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def follow(self) -> None:
        """Ask for ever."""
        while True:
            with suppress(MaquetteError):
                async with self._lock:
                    await self._refresh()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def capabilities(self) -> Capabilities:
        """Return what live nodes can do; a minute-old answer where `jobs` is away."""
        if self._known is not None and self._age() < _FRESH_SECONDS:
            return self._known
        async with self._lock:
            if self._known is not None and self._age() < _FRESH_SECONDS:
                return self._known
            try:
                return await self._refresh()
            except MaquetteError:
                if self._known is None or self._age() > _STALE_SECONDS:
                    raise
                return self._known

    async def _refresh(self) -> Capabilities:
        known = self._known = Capabilities(tuple(await self._ask()))
        self._read_at = self._clock.monotonic()
        return known

    def _age(self) -> float:
        return self._clock.monotonic() - self._read_at

    async def _ask(self) -> Sequence[jobs_pb2.Node]:
        asked = [
            call(replica.nodes.ListNodes, jobs_pb2.ListNodesRequest(), replica.channel, within=3.0)
            for replica in self._backends.replicas
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not good:
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        # Storage publishes files as a node of its own kind: nothing that clients choose or count.
        return [node for answer in good for node in answer.nodes if node.capability != _STORAGE]
