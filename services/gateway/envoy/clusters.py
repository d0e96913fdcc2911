"""The upstreams of Envoy's configuration: the gateway's two doors, and the collector of traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maquette.runtime.settings import Settings
from services.gateway.envoy.names import typed

EDGE_SOCKET = "gateway-edge"
_MIB = 1 << 20

Json = dict[str, Any]


def edge_target(settings: Settings) -> str:
    """Return the target of the edge app: ``unix:<path>`` or ``host:port``."""
    return settings.gateway.edge_address or settings.socket(EDGE_SOCKET)


def gateway_cluster(settings: Settings) -> Json:
    """Return the upstream of the dialects' servicers, health-checked."""
    target = settings.address("gateway")
    check = {
        "timeout": "2s",
        "interval": "1s",
        "no_traffic_interval": "2s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "grpc_health_check": {},
    }
    http2 = {
        "connection_keepalive": {"interval": "30s", "timeout": "5s"},
        "initial_stream_window_size": _MIB,
        "initial_connection_window_size": 4 * _MIB,
    }
    return _cluster("gateway", target, settings, {"http2_protocol_options": http2}) | {
        "health_checks": [check]
    }


def edge_cluster(settings: Settings) -> Json:
    """Return the upstream of the edge app."""
    cluster = _cluster("edge", edge_target(settings), settings, {"http_protocol_options": {}})
    options = cluster["typed_extension_protocol_options"][
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]
    # Shorter than the edge server's own, so that no request meets a connection being closed.
    options["common_http_protocol_options"] = {"idle_timeout": "60s"}
    return cluster


def _cluster(name: str, target: str, settings: Settings, protocol: Json) -> Json:
    threshold = {
        "max_connections": 16_384,
        "max_requests": 16_384,
        "max_pending_requests": 4_096,
        "max_retries": 256,
    }
    cluster: Json = {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": _MIB,
        "circuit_breakers": {"thresholds": [threshold]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "http_protocol_options", explicit_http_config=protocol
            )
        },
        **_endpoint(name, target),
    }
    tls = settings.tls
    if not target.startswith("unix:") and tls.certificate and tls.key and tls.authority:
        cluster["transport_socket"] = _mutual_tls(tls.certificate, tls.key, tls.authority, target)
    return cluster


def _endpoint(name: str, target: str) -> Json:
    address: Json
    if target.startswith("unix:"):
        kind, address = "STATIC", {"pipe": {"path": target.removeprefix("unix:")}}
    else:
        host, _, port = target.removeprefix("dns:///").rpartition(":")
        kind, address = (
            "STRICT_DNS",
            {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}},
        )
    return {
        "type": kind,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _mutual_tls(certificate: Path, key: Path, authority: Path, target: str) -> Json:
    context = {
        "tls_certificates": [
            {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
        ],
        "validation_context": {"trusted_ca": {"filename": str(authority)}},
    }
    name = target.removeprefix("dns:///").rpartition(":")[0]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed("tls", common_tls_context=context, sni=name),
    }


def collector_cluster(endpoint: str) -> Json:
    """Return the upstream that takes traces."""
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    http2: Json = {"explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": "collector",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed("http_protocol_options", **http2)
        },
        **_endpoint("collector", f"{parts.hostname}:{parts.port or 4317}"),
    }
