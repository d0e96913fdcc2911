"""How long requests to a provider may fail for the moment, and how long they pause."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from maquette.runtime.errors import Internal
from maquette.runtime.settings import ProviderSettings

_LONGEST_PAUSE = 30.0
_LONGEST_ASKED = 300.0


@dataclass(frozen=True, slots=True)
class Turns:
    """How a queue that is full is waited for, seconds."""

    pause: float = 15.0
    longest: float = 3600.0


@dataclass(frozen=True, slots=True)
class Setback:
    """Why an exchange failed for the moment."""

    text: str
    pause: float | None = None
    """Seconds the provider asks for."""
    queue: bool = False
    """The account has as many tasks as it may have."""


USUAL_TURNS = Turns()


class Patience:
    """How long one request may fail for the moment, and how long it pauses."""

    def __init__(self, title: str, settings: ProviderSettings, turns: Turns) -> None:
        self._title = title
        self._settings = settings
        self._turns = turns
        self._now = asyncio.get_running_loop().time
        self._begin = self._now()
        self._failing_since: float | None = None
        self._failures = 0

    def pause(self, setback: Setback) -> float:
        """Return seconds to wait. Raises Internal when it has been long enough."""
        settings = self._settings
        if setback.queue:
            # The provider is well, and so are we: it is a matter of turns.
            self._failing_since, self._failures = None, 0
            pause, end = setback.pause or self._turns.pause, self._begin + self._turns.longest
        else:
            if self._failing_since is None:
                self._failing_since = self._now()
            pause = min(settings.back_off_seconds * 2.0**self._failures, _LONGEST_PAUSE)
            pause = max(pause, setback.pause or 0.0)
            self._failures += 1
            end = self._failing_since + settings.patience_seconds
        if self._now() + pause > end:
            raise Internal(
                f"{self._title} failed for too long, at last with: {setback.text}",
                reason="PROCESSING_FAILED",
            )
        return pause


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, section 10.2.3); at most 300."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_ASKED)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _LONGEST_ASKED)
