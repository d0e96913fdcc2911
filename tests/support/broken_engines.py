"""Engines that fail before their first run, each in its own way."""

from __future__ import annotations

from maquette.runtime.capability.engines import engine_at
from maquette.runtime.engine import Engine, EngineDescription
from tests.support.engines import TestEngine, sleep


class Undescribed(TestEngine):
    """Fails when it is asked what it is."""

    def describe(self) -> EngineDescription:
        """Fail."""
        raise KeyError("no such table")


class Unloadable(TestEngine):
    """Fails in a way no library does."""

    def load(self) -> None:
        """Fail."""
        raise RuntimeError("the weights are of another model")


def engines() -> tuple[Engine, ...]:
    """Return them."""
    return (
        engine_at("unimportable", "tests.support.absent:Engine"),
        Undescribed("undescribed", "test_sleep", sleep),
        Unloadable("unloadable", "test_sleep", sleep),
    )
