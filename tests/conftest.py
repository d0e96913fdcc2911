"""Fixtures that every test may ask for by name."""

from __future__ import annotations

from tests.support.postgres import postgres, postgres_server

__all__ = ["postgres", "postgres_server"]
