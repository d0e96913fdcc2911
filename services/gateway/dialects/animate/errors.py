"""Reasons of the catalogue in this dialect's words: `{"detail": …}` and an HTTP code."""

from __future__ import annotations

from typing import Any

from maquette.runtime.errors import CATALOGUE, InvalidArgument, MaquetteError

_LONGEST = 500
_FIELD, _KIND, _GIVEN = "field", "type", "input"
_UNPROCESSABLE = 422


def wrong_field(name: str, kind: str, text: str, given: str | None = None) -> InvalidArgument:
    """Return the error of a field of the form that is missing or no value of its type (422)."""
    metadata = {_FIELD: name, _KIND: kind} | ({} if given is None else {_GIVEN: given[:100]})
    return InvalidArgument(text, metadata=metadata)


def error_fields(error: MaquetteError) -> dict[str, Any]:
    """Return the members of the error body."""
    field = error.metadata.get(_FIELD) if isinstance(error, InvalidArgument) else None
    if field and _KIND in error.metadata:
        told = {"type": error.metadata[_KIND], "loc": ["body", field], "msg": error.message}
        return {"detail": [{**told, "input": error.metadata.get(_GIVEN)}]}
    text = error.message if len(error.message) <= _LONGEST else error.message[:_LONGEST] + "…"
    return {"detail": text or "The request failed."}


def http_status(error: MaquetteError) -> int:
    """Return the HTTP code of an error."""
    if isinstance(error, InvalidArgument) and _KIND in error.metadata and _FIELD in error.metadata:
        return _UNPROCESSABLE
    return CATALOGUE[error.reason].http


REFUSALS: dict[int, str] = {
    400: "Bad Request",
    403: "",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "The request did not arrive in time.",
    413: "File too large",
    415: "",
    421: "",
    426: "",
    429: "The server takes no more requests now; try again soon.",
    431: "The request's headers are too large.",
    503: "A part of the server is away for the moment; try again soon.",
    504: "There was no answer in time.",
}
"""How Envoy's own refusals read, by HTTP code; an empty one takes Envoy's own text."""
