"""What every benchmark writes: figures, the bar they are held to, and the machine they were taken on."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure held to a limit: at least (``minimum``) or at most (``maximum``)."""

    name: str
    value: float
    unit: str
    minimum: float | None = None
    maximum: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is within its limit."""
        above = self.minimum is None or self.value >= self.minimum
        return above and (self.maximum is None or self.value <= self.maximum)


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark's outcome."""

    name: str
    bars: list[Bar]
    details: dict[str, Any] = field(default_factory=dict)

    def write(self) -> Path:
        """Write `bench/results/<name>.json` and print one line a bar."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        machine = {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
        }
        bars = [{**{k: v for k, v in asdict(b).items() if v is not None}, "met": b.met} for b in self.bars]
        document = {"benchmark": self.name, "machine": machine, "bars": bars, "details": self.details}
        path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
        for bar in self.bars:
            limit = (
                f"≥ {bar.minimum:g}"
                if bar.minimum is not None
                else f"≤ {bar.maximum:g}"
                if bar.maximum is not None
                else "—"
            )
            print(f"{'✓' if bar.met else '✗'} {self.name}: {bar.name} {bar.value:.3g} {bar.unit} ({limit})")
        return path
