"""The dialects' error bodies: whose words a refusal is written in, by route.

What has no dialect of its own (our own routes, paths that no route has) speaks the words of `aigc`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from maquette.runtime.errors import MaquetteError
from services.gateway.dialects.aigc import errors as aigc
from services.gateway.dialects.animate import errors as animate
from services.gateway.routes import DIALECTS, PublicRoute, public_routes

OWN_TEXT = "%LOCAL_REPLY_BODY%"
"""Stands for Envoy's own text in a refusal."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """How one dialect writes errors."""

    dialect: str
    """Name of its folder and of its proto package."""
    message: str
    """Full name of the message that documents the body."""
    fields: Callable[[MaquetteError], Mapping[str, Any]]
    status: Callable[[MaquetteError], int]
    refusals: Mapping[int, Body]
    """Bodies of Envoy's own refusals by HTTP code, as Envoy's `json_format`."""
    other: Body
    """The same of every other code."""

    @property
    def prefix(self) -> str:
        """What the full names of its services begin with."""
        return f"{DIALECTS}{self.dialect}."

    @property
    def routes(self) -> tuple[PublicRoute, ...]:
        """Its routes."""
        return tuple(route for route in public_routes() if route.service.startswith(self.prefix))


def _aigc(refusal: aigc.Refusal) -> Body:
    return {"error": refusal.error, "message": refusal.message, "detail": refusal.detail or OWN_TEXT}


USUAL = ErrorWords(
    "aigc",
    f"{DIALECTS}aigc.v1.Error",
    aigc.error_fields,
    aigc.http_status,
    {refusal.status: _aigc(refusal) for refusal in aigc.REFUSALS},
    _aigc(aigc.OTHER_REFUSAL),
)
OWN: tuple[ErrorWords, ...] = (
    ErrorWords(
        "animate",
        f"{DIALECTS}animate.v1.AnimateError",
        animate.error_fields,
        animate.http_status,
        {status: {"detail": text or OWN_TEXT} for status, text in animate.REFUSALS.items()},
        {"detail": "Internal Server Error"},
    ),
)
"""Dialects whose errors are shaped otherwise."""


def of_method(method: str) -> ErrorWords:
    """Return the words of a gRPC method (``/package.Service/Method``) or service."""
    name = method.removeprefix("/")
    return next((words for words in OWN if name.startswith(words.prefix)), USUAL)


def of_path(path: str) -> ErrorWords:
    """Return the words of a public path."""
    return next((words for words in OWN if _pattern(words.dialect).fullmatch(path)), USUAL)


def paths(words: ErrorWords) -> str:
    """Return the RE2 pattern of a dialect's own paths."""
    return "|".join(dict.fromkeys(route.pattern for route in words.routes))


@cache
def _pattern(dialect: str) -> re.Pattern[str]:
    return re.compile(next(paths(words) for words in OWN if words.dialect == dialect))
