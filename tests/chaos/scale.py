"""How large the tests are, the seeds that reproduce them, and where their figures go.

``MAQUETTE_CHAOS_SCALE`` multiplies the work (1 in ``make test``); ``MAQUETTE_CHAOS_FIGURES`` names
the JSON file that figures are added to, and without it they are only printed.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

SCALE = max(1, int(os.environ.get("MAQUETTE_CHAOS_SCALE", "1")))
_FIGURES = os.environ.get("MAQUETTE_CHAOS_FIGURES", "")
_SEED = int(os.environ.get("MAQUETTE_CHAOS_SEED", "7842"))


def chance(name: str) -> random.Random:
    """Return the random numbers of one test, and print what reproduces them."""
    sys.stdout.write(f"{name}: MAQUETTE_CHAOS_SEED={_SEED} MAQUETTE_CHAOS_SCALE={SCALE}\n")
    return random.Random(f"{_SEED} {name}")


def within(promised: float) -> float:
    """Return how long something may take: as long as promised where that is measured, else far longer.

    The machine that runs all tests may be slow and busy with something else.
    """
    return promised if _FIGURES else 10 * promised


def record(promise: str, **figures: float | int | str) -> None:
    """Keep what was measured for a promise."""
    sys.stdout.write(f"{promise}: {json.dumps(figures)}\n")
    if not _FIGURES:
        return
    path = Path(_FIGURES)
    known = json.loads(path.read_text()) if path.exists() else {}
    known[promise] = {"scale": SCALE, "seed": _SEED, **figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
