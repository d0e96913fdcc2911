"""The one hook that every public request passes.

Authentication is off: everybody is the account ``public``. An authenticator that checks keys or
tokens takes the place of `OpenAuthenticator` in `main.py` and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

PUBLIC_ACCOUNT = "public"
CLIENT_HEADER = "x-maquette-client"
"""The client's address, as Envoy saw it: internal, and so never taken from outside."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says about its sender."""

    headers: Mapping[str, str]
    """Header names in lower case."""
    query_token: str = ""
    """``?token=`` of a WebSocket, whose client cannot set headers."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling."""

    account_id: str


class Authenticator(Protocol):
    """Tells who is calling."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Return the principal. Raises `maquette.runtime.errors.Unauthenticated`."""


class OpenAuthenticator:
    """Takes everybody as the public account."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Return the public account."""
        return Principal(PUBLIC_ACCOUNT)


_principal: ContextVar[Principal] = ContextVar("principal")


def set_principal(principal: Principal) -> None:
    """Note who made the call in hand."""
    _principal.set(principal)


def account() -> str:
    """Return the account of the call in hand. Raises LookupError outside a call."""
    return _principal.get().account_id
