from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from services.jobs.placement import DeviceView, EngineView, NodeView, choose_engine, place
from services.jobs.registry import NodeRegistry
from tests.unit.jobs.values import HeldClock


def _engine(
    name: str, *, rank: int = 0, vram: int = 0, loaded: bool = False, here: bool = True
) -> EngineView:
    return EngineView(name, frozenset({"work"}), rank, vram, loaded, here)


def _node(name: str, *engines: EngineView, slots: int = 2, busy: int = 0, **device: object) -> NodeView:
    devices = (DeviceView("gpu", **device),) if device else ()  # type: ignore[arg-type]
    return NodeView(name, slots, busy, {e.id: e for e in engines}, devices)


def _place(*nodes: NodeView) -> str | None:
    found = place(nodes, "e", "work")
    return found.node_id if found else None


def test_the_preferred_model_wins_over_a_higher_rank() -> None:
    nodes = [_node("a", _engine("best", rank=9), _engine("asked", rank=1))]
    assert choose_engine(nodes, "work", "asked", fallback=True) == "asked"


def test_a_missing_model_falls_back_to_the_highest_rank_or_is_denied() -> None:
    nodes = [_node("a", _engine("low"), _engine("high", rank=5)), _node("b", _engine("gone", here=False))]
    assert choose_engine(nodes, "work", "gone", fallback=True) == "high"
    assert choose_engine(nodes, "work", "gone", fallback=False) is None
    assert choose_engine(nodes, "other", "", fallback=True) is None


def test_a_remote_engine_runs_only_where_it_is_named() -> None:
    remote = replace(_engine("there", rank=99), remote=True)
    both = [_node("a", remote, _engine("here", rank=-5))]
    assert choose_engine(both, "work", "", fallback=True) == "here"
    assert choose_engine(both, "work", "gone", fallback=True) == "here"
    assert choose_engine(both, "work", "there", fallback=True) == "there"
    assert choose_engine([_node("a", remote)], "work", "", fallback=True) is None


def test_remote_runs_and_others_have_slots_of_their_own() -> None:
    remote, here = replace(_engine("e"), remote=True), _engine("other")
    node = NodeView("a", 1, 1, {"e": remote, "other": here}, (), 2, 1)
    found = place([node], "e", "work")
    assert found is not None and found.remote
    assert place([node], "other", "work") is None
    assert place([replace(node, busy=0, remote_busy=2)], "e", "work") is None
    assert place([replace(node, busy=0, remote_busy=2)], "other", "work") is not None


def test_a_resident_model_comes_before_an_idle_node() -> None:
    resident = _node(
        "a", _engine("e", vram=10, loaded=True), busy=1, total_mib=100, free_mib=50, resident={"e": 10}
    )
    idle = _node("b", _engine("e", vram=10), total_mib=100, free_mib=100)
    assert _place(idle, resident) == "a"


def test_free_memory_comes_before_eviction() -> None:
    full = _node("a", _engine("e", vram=60), total_mib=100, free_mib=20, resident={"x": 80})
    free = _node("b", _engine("e", vram=60), busy=1, total_mib=100, free_mib=70)
    assert _place(full, free) == "b"


def test_the_cheapest_eviction_wins_and_is_named() -> None:
    dear = _node("a", _engine("e", vram=60), total_mib=100, free_mib=0, resident={"x": 100})
    cheap = _node("b", _engine("e", vram=60), total_mib=100, free_mib=0, resident={"x": 20, "y": 20, "z": 60})
    found = place([dear, cheap], "e", "work")
    assert found is not None
    assert (found.node_id, found.evict) == ("b", ("z",))


def test_a_model_in_use_is_never_evicted() -> None:
    node = _node(
        "a", _engine("e", vram=60), total_mib=100, free_mib=20, resident={"x": 80}, reserved={"x": 80}
    )
    assert _place(node) is None


def test_among_equals_the_least_busy_wins() -> None:
    assert _place(_node("a", _engine("e"), busy=1), _node("b", _engine("e"))) == "b"


def test_a_full_or_unavailable_node_is_never_chosen() -> None:
    assert _place(_node("a", _engine("e"), busy=2), _node("b", _engine("e", here=False))) is None


@settings(max_examples=150, deadline=None)
@given(
    total=st.integers(1, 200),
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 10), st.integers(0, 200)), max_size=40),
)
def test_reserved_memory_never_exceeds_the_device(
    total: int, sizes: list[int], steps: list[tuple[bool, int, int]]
) -> None:
    registry = NodeRegistry(HeldClock(), silence=10, on_change=lambda _features: None)
    engines = [
        capability_pb2.Engine(
            id=str(n), features=["work"], vram_mib=size, state=capability_pb2.ENGINE_STATE_AVAILABLE
        )
        for n, size in enumerate(sizes)
    ]
    given_back: list[Callable[[], None]] = []

    def announce(free: int) -> None:
        device = jobs_pb2.Device(id="gpu", vram_total_mib=total, vram_free_mib=min(free, total))
        node = jobs_pb2.Node(id="n", slots=8, engines=engines, devices=[device])
        registry.announce(node).streams = 1

    announce(total)
    for start, pick, free in steps:
        announce(free)
        if start:
            placement = place(registry.views(), str(pick % len(sizes)), "work")
            if placement is not None:
                given_back.append(registry.reserve(placement))
        elif given_back:
            given_back.pop(pick % len(given_back))()
        [device] = registry.views()[0].devices
        assert sum(device.reserved.values()) <= total
        assert registry.views()[0].busy == len(given_back)
