"""Type URLs of Envoy's configuration, by the short names used here."""

from __future__ import annotations

from typing import Any

_TYPES = {
    "access_log_json": "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "cors": "envoy.extensions.filters.http.cors.v3.Cors",
    "cors_policy": "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "downstream_connections": (
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    ),
    "early_headers": "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    "filter_config": "envoy.config.route.v3.FilterConfig",
    "fixed_heap": "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
    "http_connection_manager": (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    ),
    "http_protocol_options": "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "local_ratelimit": "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "lua": "envoy.extensions.filters.http.lua.v3.Lua",
    "lua_route": "envoy.extensions.filters.http.lua.v3.LuaPerRoute",
    "opentelemetry": "envoy.config.trace.v3.OpenTelemetryConfig",
    "previous_hosts": "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "router": "envoy.extensions.filters.http.router.v3.Router",
    "tls": "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "transcoder": "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
}


def typed(name: str, /, **fields: Any) -> dict[str, Any]:
    """Return a typed configuration (`google.protobuf.Any` in JSON)."""
    return {"@type": f"type.googleapis.com/{_TYPES[name]}", **fields}


def seconds(value: float) -> str:
    """Return a duration as proto3 JSON writes it."""
    return f"{value:.3f}s"
