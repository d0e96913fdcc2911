"""What a node knows about its engines, as told by its workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.engine import EngineDescription, EngineKind
from maquette.runtime.errors import InvalidArgument, Unavailable

_KINDS = {
    EngineKind.EMBEDDED: pb.ENGINE_KIND_EMBEDDED,
    EngineKind.NEURAL: pb.ENGINE_KIND_NEURAL,
    EngineKind.PROVIDER: pb.ENGINE_KIND_PROVIDER,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One engine: what it is and where it stands."""

    description: EngineDescription
    loaded: bool = False

    @property
    def state(self) -> pb.EngineState.ValueType:
        """The engine's state on this node."""
        if self.description.unavailable:
            return pb.ENGINE_STATE_UNAVAILABLE
        return pb.ENGINE_STATE_LOADED if self.loaded else pb.ENGINE_STATE_AVAILABLE

    def to_proto(self, failure: str) -> pb.Engine:
        """Return the message; ``failure`` tells why nothing can run here at all."""
        about = self.description
        return pb.Engine(
            id=about.id,
            kind=_KINDS[about.kind],
            features=about.features,
            input_formats=about.input_formats,
            output_formats=about.output_formats,
            memory_mib=about.memory_mib,
            vram_mib=about.vram_mib,
            rank=about.rank,
            state=pb.ENGINE_STATE_UNAVAILABLE if failure else self.state,
            reason=failure or about.unavailable,
            description=about.description,
            missing_formats=about.missing_formats,
            pending_formats=about.pending_formats,
        )


class EngineTable:
    """The engines of a node. Every worker tells the same; the last word counts."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def described(self, descriptions: Iterable[Mapping[str, Any]]) -> None:
        """Take in what :func:`maquette.runtime.capability.engines.describe` returned."""
        for plain in descriptions:
            about = EngineDescription(
                id=plain["id"],
                kind=EngineKind(plain["kind"]),
                features=tuple(plain["features"]),
                input_formats=tuple(plain["input_formats"]),
                output_formats=tuple(plain["output_formats"]),
                memory_mib=plain["memory_mib"],
                description=plain["description"],
                vram_mib=plain["vram_mib"],
                rank=plain["rank"],
                unavailable=plain["unavailable"],
                missing_formats=plain["missing_formats"],
                pending_formats=plain["pending_formats"],
            )
            before = self.rows.get(about.id)
            self.rows[about.id] = Row(about, before is not None and before.loaded)

    def added(self, descriptions: Iterable[EngineDescription]) -> None:
        """Take in engines that run in no worker."""
        self.rows.update({about.id: Row(about) for about in descriptions})

    def loaded(self, reasons: Mapping[str, str]) -> None:
        """Take in what :func:`maquette.runtime.capability.engines.load` returned."""
        for name, reason in reasons.items():
            about = replace(self.rows[name].description, unavailable=reason)
            self.rows[name] = Row(about, loaded=not reason)

    def set_loaded(self, name: str, loaded: bool) -> None:
        """Note that an engine was loaded or unloaded. Unknown engines are ignored."""
        if name in self.rows:
            self.rows[name] = replace(self.rows[name], loaded=loaded)

    def choose(self, name: str, feature: str) -> EngineDescription:
        """Return the engine a run names. Raises InvalidArgument or Unavailable."""
        row = self.rows.get(name)
        if row is None:
            raise InvalidArgument(f"this node has no engine {name!r}")
        if feature not in row.description.features:
            raise InvalidArgument(f"engine {name!r} does not serve {feature!r}")
        if row.description.unavailable:
            raise Unavailable(f"engine {name!r} cannot run here: {row.description.unavailable}")
        return row.description
