"""What the gateway counts of its own."""

from __future__ import annotations

from prometheus_client import Counter

REFUSALS = Counter("maquette_gateway_refusals", "Requests that ended in an error.", ["reason"])
