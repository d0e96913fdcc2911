"""What a provider's answers come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maquette.runtime.errors import Internal


class Refusal(Exception):
    """The provider answered with a 4xx that is no matter of waiting, keys or credits."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.text = text


class Gone(Exception):
    """A file is not to be had under its URL any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    """Empty where it went into a file."""

    def json(self) -> Any:
        """Return the body as JSON. Raises Internal."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Internal("the provider's answer is no JSON", reason="PROCESSING_FAILED") from None
