"""Choose the engine and the node for a task. Pure: nodes are values.

The order of choice among nodes that can run the engine: the model is in memory already, then enough
video memory is free, then the cheapest eviction, then the least busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ANY_ENGINE = ""


@dataclass(frozen=True, slots=True)
class EngineView:
    """An engine on a node."""

    id: str
    features: frozenset[str]
    rank: int = 0
    vram_mib: int = 0
    loaded: bool = False
    available: bool = True
    remote: bool = False
    """It runs at somebody else's: its runs take none of the node's own slots."""


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A GPU of a node; ``free_mib`` is what the node measured."""

    id: str
    total_mib: int
    free_mib: int
    reserved: Mapping[str, int] = field(default_factory=dict)
    """Engine id → MiB that running tasks hold here."""
    resident: Mapping[str, int] = field(default_factory=dict)
    """Engine id → MiB of the models that were loaded here."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node that may be given a task."""

    id: str
    slots: int
    busy: int
    engines: Mapping[str, EngineView]
    devices: Sequence[DeviceView] = ()
    remote_slots: int = 0
    remote_busy: int = 0

    def free(self, *, remote: bool) -> int:
        """Return how many more tasks of engines here, or of remote ones, fit."""
        return max(0, self.remote_slots - self.remote_busy if remote else self.slots - self.busy)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a task goes, and what must leave before it."""

    node_id: str
    engine_id: str
    device_id: str = ""
    vram_mib: int = 0
    evict: tuple[str, ...] = ()
    remote: bool = False


def choose_engine(nodes: Iterable[NodeView], feature: str, preference: str, *, fallback: bool) -> str | None:
    """Return the engine that shall serve a feature; None when no node has one.

    The preference wins wherever it is available; else, where falling back is allowed, the highest
    rank does (the first id among equals, so that the choice never depends on the order of nodes).
    A remote engine runs only by preference: it costs money and the client's data leave the house.
    """
    offered = {
        engine.id: engine
        for node in nodes
        for engine in node.engines.values()
        if engine.available and feature in engine.features
    }
    if preference:
        if preference in offered:
            return preference
        if not fallback:
            return None
    here = [engine for engine in offered.values() if not engine.remote]
    best = min(here, key=lambda engine: (-engine.rank, engine.id), default=None)
    return best.id if best else None


def place(nodes: Iterable[NodeView], engine_id: str, feature: str) -> Placement | None:
    """Return the best place for one run of an engine; None when none has room now."""
    best: tuple[tuple[int, int, float, str], Placement] | None = None
    for node in nodes:
        engine = node.engines.get(engine_id)
        if engine is None or not engine.available or feature not in engine.features:
            continue
        if not node.free(remote=engine.remote):
            continue
        fit = _fit(node, engine)
        if fit is None:
            continue
        tier, cost, placement = fit
        load = node.remote_busy / node.remote_slots if engine.remote else node.busy / node.slots
        key = (tier, cost, load, node.id)
        if best is None or key < best[0]:
            best = (key, placement)
    return best[1] if best else None


def _fit(node: NodeView, engine: EngineView) -> tuple[int, int, Placement] | None:
    """Return (tier, cost, placement) of an engine on a node."""
    if engine.vram_mib == 0:
        return (0 if engine.loaded else 1), 0, Placement(node.id, engine.id, remote=engine.remote)
    fits = [fit for device in node.devices if (fit := _fit_device(node, device, engine)) is not None]
    return min(fits, key=lambda fit: (fit[0], fit[1], fit[2].device_id), default=None)


def _fit_device(node: NodeView, device: DeviceView, engine: EngineView) -> tuple[int, int, Placement] | None:
    need = engine.vram_mib
    if engine.id in device.reserved or engine.id in device.resident:
        # One process holds the model for all its runs: a second one reserves nothing more.
        others = sum(mib for held, mib in device.reserved.items() if held != engine.id)
        if others + need > device.total_mib:
            return None
        return 0, 0, Placement(node.id, engine.id, device.id, need)
    reserved = sum(device.reserved.values())
    if reserved + need > device.total_mib:
        return None
    # What is reserved but not loaded yet is not missing from the measured free memory yet.
    coming = sum(mib for held, mib in device.reserved.items() if held not in device.resident)
    free = device.free_mib - coming
    if free >= need:
        return 1, -free, Placement(node.id, engine.id, device.id, need)
    evict = _cheapest_eviction(
        {held: mib for held, mib in device.resident.items() if held not in device.reserved}, need - free
    )
    if evict is None:
        return None
    cost = sum(device.resident[held] for held in evict)
    return 2, cost, Placement(node.id, engine.id, device.id, need, evict)


def _cheapest_eviction(idle: Mapping[str, int], missing: int) -> tuple[str, ...] | None:
    """Return the idle models of least total size that free ``missing`` MiB; None when all do not."""
    best: dict[int, tuple[str, ...]] = {0: ()}
    for engine_id in sorted(idle):
        for size, chosen in list(best.items()):
            best.setdefault(size + idle[engine_id], (*chosen, engine_id))
    enough = [size for size in best if size >= missing]
    return best[min(enough)] if enough else None
