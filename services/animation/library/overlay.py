"""Overlays: what the upper body does on top of a gait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.animation.motion.channels import INDEX, expand
from services.animation.motion.keys import Curve


@dataclass(frozen=True, slots=True)
class Wave:
    """A sine on one channel: ``rounds`` whole turns over the motion, ``shift`` in degrees."""

    channel: str
    size: float
    rounds: int = 2
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Overlay:
    """Channels held at a value, moved by an offset, or waved in whole turns."""

    held: Mapping[str, float] = field(default_factory=dict)
    offset: Mapping[str, float] = field(default_factory=dict)
    waves: tuple[Wave, ...] = ()

    def __call__(self, curve: Curve) -> Curve:
        """Return a changed copy of the channels."""
        changed = curve.copy()
        for name, value in expand(self.held).items():
            changed[:, INDEX[name]] = value
        for name, value in expand(self.offset).items():
            changed[:, INDEX[name]] += value
        phase = np.linspace(0.0, 2 * np.pi, len(curve))
        for wave in self.waves:
            changed[:, INDEX[wave.channel]] += wave.size * np.sin(
                wave.rounds * phase + np.radians(wave.shift)
            )
        return changed
