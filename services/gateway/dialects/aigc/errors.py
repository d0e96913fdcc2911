"""Reasons of the catalogue in this dialect's words: `{error, message, detail}` and an HTTP code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maquette.runtime.errors import CATALOGUE, MaquetteError

# The body travels in a header, escaped to ASCII.
_LONGEST = 500

WORDS: Mapping[str, str] = {
    "INVALID_VALUE": "Invalid input parameter value",
    "NOT_FOUND": "Resource not found",
    "API_ERROR": "General API error",
    "INTERNAL_ERROR": "Internal server error",
    "FILE_UPLOAD_ERROR": "File upload failed",
    "MODEL_NOT_AVAILABLE": "Requested model not available",
    "INSUFFICIENT_VRAM": "Not enough VRAM for operation",
    "JOB_FAILED": "Job processing failed",
}
"""The document's codes and what it says of each."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one reason reads; ``message`` empty takes the document's sentence for the code."""

    error: str
    message: str = ""


SHAPES: Mapping[str, Shape] = {
    "INVALID_VALUE": Shape("INVALID_VALUE"),
    "INVALID_INPUT_FILE": Shape("FILE_UPLOAD_ERROR"),
    "RIGGING_FAILED": Shape("JOB_FAILED"),
    "FILE_TOO_LARGE": Shape("FILE_UPLOAD_ERROR", "File too large"),
    "DIGEST_MISMATCH": Shape("FILE_UPLOAD_ERROR"),
    "NOT_FOUND": Shape("NOT_FOUND"),
    "IDEMPOTENCY_MISMATCH": Shape("INVALID_VALUE", "Idempotency key used for another request"),
    "UNAUTHENTICATED": Shape("API_ERROR", "Authentication required"),
    "PERMISSION_DENIED": Shape("API_ERROR", "Permission denied"),
    "BAD_SIGNATURE": Shape("API_ERROR", "Invalid or expired link"),
    "GRANT_REFUSED": Shape("INTERNAL_ERROR"),
    "REQUEST_TOO_SLOW": Shape("API_ERROR", "The request took too long"),
    "MODEL_NOT_AVAILABLE": Shape("MODEL_NOT_AVAILABLE"),
    "NOT_READY": Shape("API_ERROR", "Job not completed"),
    "QUEUE_FULL": Shape("API_ERROR", "Job queue is full"),
    "STORAGE_FULL": Shape("FILE_UPLOAD_ERROR", "Storage is full"),
    "NODE_BUSY": Shape("API_ERROR", "The server is busy"),
    "INSUFFICIENT_VRAM": Shape("INSUFFICIENT_VRAM"),
    "LEASE_LOST": Shape("INTERNAL_ERROR"),
    "CANCELLED": Shape("JOB_FAILED", "Job was cancelled"),
    "TIMED_OUT": Shape("API_ERROR", "The server took too long"),
    "NODE_LOST": Shape("API_ERROR", "The server is busy"),
    "UNAVAILABLE": Shape("API_ERROR", "A part of the server is away for the moment"),
    "WORKER_CRASHED": Shape("JOB_FAILED"),
    "OUT_OF_MEMORY": Shape("JOB_FAILED"),
    "PROCESSING_FAILED": Shape("JOB_FAILED"),
    "INTERNAL": Shape("INTERNAL_ERROR"),
}


def error_fields(error: MaquetteError) -> dict[str, str]:
    """Return the members of the error body. The reason stands in front where the code hides it."""
    shape = SHAPES[error.reason]
    named = error.reason in (shape.error, "INTERNAL")
    text = error.message if len(error.message) <= _LONGEST else error.message[:_LONGEST] + "…"
    return {
        "error": shape.error,
        "message": shape.message or WORDS[shape.error],
        "detail": text if named else f"{error.reason}: {text}",
    }


def http_status(error: MaquetteError) -> int:
    """Return the HTTP code of an error."""
    return CATALOGUE[error.reason].http


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a refusal by Envoy itself reads; an empty ``detail`` takes Envoy's own text."""

    status: int
    error: str
    message: str
    detail: str = ""


REFUSALS: tuple[Refusal, ...] = (
    Refusal(400, "INVALID_VALUE", WORDS["INVALID_VALUE"]),
    Refusal(403, "API_ERROR", "Permission denied"),
    Refusal(404, "NOT_FOUND", WORDS["NOT_FOUND"], "There is no such route."),
    Refusal(405, "API_ERROR", "Method not allowed"),
    Refusal(408, "API_ERROR", "The request took too long", "The request did not arrive in time."),
    Refusal(413, "INVALID_VALUE", "Request body too large", "The body is larger than this route takes."),
    Refusal(415, "INVALID_VALUE", "Unsupported media type"),
    Refusal(421, "API_ERROR", "Unknown host"),
    Refusal(426, "API_ERROR", "Upgrade required"),
    Refusal(429, "API_ERROR", "Too many requests", "The server takes no more requests now; try again soon."),
    Refusal(431, "INVALID_VALUE", "Request headers too large", "The request's headers are too large."),
    Refusal(503, "API_ERROR", "A part of the server is away for the moment", "Try again soon."),
    Refusal(504, "API_ERROR", "The server took too long", "There was no answer in time."),
)

OTHER_REFUSAL = Refusal(500, "INTERNAL_ERROR", WORDS["INTERNAL_ERROR"])
