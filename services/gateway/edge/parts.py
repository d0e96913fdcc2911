"""What the edge's handlers work with."""

from __future__ import annotations

from dataclasses import dataclass

from maquette.runtime.clock import Clock
from maquette.runtime.rpc.byte_client import ByteClient
from maquette.runtime.settings import GatewaySettings
from services.gateway.auth import Authenticator
from services.gateway.backends import Backends
from services.gateway.feed import Feed
from services.gateway.ingest import Ingestor


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """Handles, passed in once."""

    backends: Backends
    storage: ByteClient
    """Where the bytes of files come from."""
    feed: Feed
    ingestor: Ingestor
    authenticator: Authenticator
    clock: Clock
    base_url: str
    limits: GatewaySettings
