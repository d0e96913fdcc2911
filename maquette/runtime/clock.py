"""Time and identity, passed in so that tests can hold them."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class IdSource(Protocol):
    """Makes names that nobody else has."""

    def uuid(self) -> str:
        """Return a lower-case UUID."""

    def token(self) -> str:
        """Return 32 random hex digits."""


class RandomIds:
    """Ids from the system's random source."""

    def uuid(self) -> str:
        """Return a lower-case UUID."""
        return str(uuid.uuid4())

    def token(self) -> str:
        """Return 32 random hex digits."""
        return secrets.token_hex(16)
