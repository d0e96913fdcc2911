"""Know the nodes that announce themselves, and what we gave them to do.

Invariant: what is reserved on a device never exceeds it. A reservation is made by :meth:`reserve`
with a placement computed from :meth:`views` in the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.clock import Clock
from services.jobs.placement import DeviceView, EngineView, NodeView, Placement


@dataclass(slots=True)
class _Held:
    """Runs of one engine on one device."""

    device_id: str
    mib: int
    runs: int = 0


@dataclass(slots=True)
class LiveNode:
    """A node and what we know of it beyond its own words."""

    node: jobs_pb2.Node
    heard: float
    engines: Mapping[str, EngineView] = field(default_factory=dict)
    """By id, as the node told them last."""
    commands: asyncio.Queue[jobs_pb2.AnnounceResponse] = field(default_factory=lambda: asyncio.Queue(64))
    streams: int = 0
    """Announce streams that speak for it; a reconnecting node has two for a moment."""
    running: int = 0
    foreign: int = 0
    """Busy slots that are not ours."""
    remote_running: int = 0
    remote_foreign: int = 0
    """The same of the slots for remote engines."""
    suspect_since: float | None = None
    full_until: float = 0.0
    held: dict[str, _Held] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)
    """Engine id → device where we sent it last."""

    @property
    def features(self) -> set[str]:
        """What its engines serve, whatever their state."""
        return {feature for engine in self.node.engines for feature in engine.features}


class NodeRegistry:
    """The nodes announced to this replica."""

    def __init__(self, clock: Clock, *, silence: float, on_change: Callable[[Collection[str]], None]) -> None:
        """``on_change`` is told which features a node serves whose state is news."""
        self._clock = clock
        self._silence = silence
        self._on_change = on_change
        self._nodes: dict[str, LiveNode] = {}
        self.alone = True
        """No other replica gives tasks to these nodes: what we count is all there is."""

    def announce(self, node: jobs_pb2.Node) -> LiveNode:
        """Take in a node's state."""
        live = self._nodes.get(node.id)
        if live is None:
            live = self._nodes[node.id] = LiveNode(node, self._clock.monotonic())
        # A node also tells that it has begun what we sent it: nobody need look for work because of that.
        news = live.streams <= 0 or not self._trusted(live) or _offer(node) != _offer(live.node)
        before = _free_slots(live)
        live.node = node
        live.engines = {engine.id: _engine_view(engine) for engine in node.engines}
        live.heard = self._clock.monotonic()
        live.foreign = 0 if self.alone else max(0, node.busy - live.running)
        live.remote_foreign = 0 if self.alone else max(0, node.remote_busy - live.remote_running)
        live.suspect_since = None
        if news or any(now > then for now, then in zip(_free_slots(live), before, strict=True)):
            self._on_change(live.features)
        return live

    def withdraw(self, live: LiveNode) -> None:
        """Choose a node no more whose last stream has ended; it is forgotten with its last run."""
        live.streams -= 1
        self._forget_if_gone(live)

    def _forget_if_gone(self, live: LiveNode) -> None:
        running = live.running + live.remote_running
        if live.streams <= 0 and running == 0 and self._nodes.get(live.node.id) is live:
            del self._nodes[live.node.id]

    def nodes(self) -> list[jobs_pb2.Node]:
        """Return the nodes as they announced themselves."""
        return [live.node for live in self._nodes.values() if live.streams > 0]

    def count_by_capability(self) -> Counter[str]:
        """Count the live nodes of each capability."""
        return Counter(node.capability for node in self.nodes())

    def address(self, node_id: str) -> str | None:
        """Return where a node is dialled."""
        live = self._nodes.get(node_id)
        return live.node.address if live else None

    def suspect(self, node_id: str) -> None:
        """Choose a node no more until it announces itself again."""
        live = self._nodes.get(node_id)
        if live is not None:
            live.suspect_since = self._clock.monotonic()

    def full(self, node_id: str, seconds: float) -> None:
        """Leave a node alone that said it is busy."""
        live = self._nodes.get(node_id)
        if live is not None:
            live.full_until = self._clock.monotonic() + seconds

    def views(self) -> list[NodeView]:
        """Return the nodes that may be given tasks: heard of lately, not draining, not suspect."""
        now = self._clock.monotonic()
        return [
            _view(live, busy=now < live.full_until)
            for live in self._nodes.values()
            if live.streams > 0 and not live.node.draining and self._trusted(live)
        ]

    def _trusted(self, live: LiveNode) -> bool:
        return live.suspect_since is None and self._clock.monotonic() - live.heard <= self._silence

    def reserve(self, placement: Placement) -> Callable[[], None]:
        """Take a slot and the video memory of a placement; return how to give them back."""
        live = self._nodes[placement.node_id]
        live.remote_running += placement.remote
        live.running += not placement.remote
        if placement.vram_mib:
            held = live.held.setdefault(placement.engine_id, _Held(placement.device_id, placement.vram_mib))
            held.runs += 1
            live.placed[placement.engine_id] = placement.device_id
        for engine_id in placement.evict:
            live.placed.pop(engine_id, None)
            self._command(
                live, jobs_pb2.AnnounceResponse(unload=jobs_pb2.AnnounceResponse.Unload(engine_id=engine_id))
            )
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if given_back:
                return
            given_back = True
            live.remote_running -= placement.remote
            live.running -= not placement.remote
            held = live.held.get(placement.engine_id)
            if placement.vram_mib and held is not None:
                held.runs -= 1
                if held.runs == 0:
                    del live.held[placement.engine_id]
            self._forget_if_gone(live)
            self._on_change(live.features)

        return give_back

    def _command(self, live: LiveNode, command: jobs_pb2.AnnounceResponse) -> None:
        if not live.commands.full():
            live.commands.put_nowait(command)


def _offer(node: jobs_pb2.Node) -> jobs_pb2.Node:
    """Return what a node says of itself but how busy it is."""
    offer = jobs_pb2.Node()
    offer.CopyFrom(node)
    offer.ClearField("busy")
    offer.ClearField("remote_busy")
    return offer


def _free_slots(live: LiveNode) -> tuple[int, int]:
    """Return how many tasks of engines here, and of remote ones, fit."""
    node = live.node
    here = max(1, node.slots) - live.running - live.foreign
    return here, node.remote_slots - live.remote_running - live.remote_foreign


def _view(live: LiveNode, *, busy: bool) -> NodeView:
    node, engines = live.node, live.engines
    resident = _residents(live, engines.values())
    devices = tuple(
        DeviceView(
            device.id,
            device.vram_total_mib,
            device.vram_free_mib,
            reserved={e: held.mib for e, held in live.held.items() if held.device_id == device.id},
            resident={e: engines[e].vram_mib for e, where in resident.items() if where == device.id},
        )
        for device in node.devices
    )
    used = node.slots if busy else live.running + live.foreign
    remote_used = node.remote_slots if busy else live.remote_running + live.remote_foreign
    return NodeView(node.id, max(1, node.slots), used, engines, devices, node.remote_slots, remote_used)


def _residents(live: LiveNode, engines: Iterable[EngineView]) -> dict[str, str]:
    """Return engine id → device of the models in video memory.

    A node does not say where a model is: it is where we sent it, or else on the device that has most in use.
    """
    devices = live.node.devices
    if not devices:
        return {}
    fullest = max(devices, key=lambda device: device.vram_total_mib - device.vram_free_mib).id
    return {
        engine.id: live.placed.get(engine.id, fullest)
        for engine in engines
        if engine.loaded and engine.vram_mib
    }


def _engine_view(engine: capability_pb2.Engine) -> EngineView:
    return EngineView(
        engine.id,
        frozenset(engine.features),
        engine.rank,
        engine.vram_mib,
        engine.state == capability_pb2.ENGINE_STATE_LOADED,
        engine.state != capability_pb2.ENGINE_STATE_UNAVAILABLE,
        engine.kind == capability_pb2.ENGINE_KIND_PROVIDER,
    )
