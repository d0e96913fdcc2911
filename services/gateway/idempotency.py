"""The `Idempotency-Key` of a submit."""

from __future__ import annotations

from collections.abc import Iterable

from maquette.runtime.errors import InvalidArgument

_HEADER = "idempotency-key"
_LONGEST = 255


def idempotency_key(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the key of a call, empty for none. Raises InvalidArgument for two, or one too long."""
    keys = [str(value) for name, value in metadata or () if name == _HEADER]
    if len(keys) > 1:
        raise InvalidArgument("Idempotency-Key is given more than once.")
    key = keys[0] if keys else ""
    if len(key) > _LONGEST:
        raise InvalidArgument(f"Idempotency-Key is longer than {_LONGEST} characters.")
    return key
