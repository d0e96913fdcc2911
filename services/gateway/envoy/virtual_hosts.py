"""Envoy's routes: one entry for each public route, and the refusals around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from maquette.runtime.settings import Settings
from services.gateway.auth import CLIENT_HEADER
from services.gateway.dialects import registry
from services.gateway.envoy.names import seconds, typed
from services.gateway.routes import PublicRoute, public_routes

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
LUA = "envoy.filters.http.lua"
HEAD_SCRIPT = "head"
_JSON = r"(?i)application/([a-z0-9.+-]+\+)?json(\s*;.*)?"
_MULTIPART = r"(?i)multipart/form-data(\s*;.*)?"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_LARGEST = 2**62
# Safe to send again: either nothing was sent, or the verb changes nothing.
_RETRY_UNSENT = "connect-failure,refused-stream,reset-before-request"
_RETRY_SAFE = "connect-failure,refused-stream,reset-before-request,reset"

Json = dict[str, Any]


def virtual_hosts(settings: Settings) -> list[Json]:
    """Return the hosts served, and a last one that refuses every other."""
    domains = _domains(settings)
    known: Json = {
        "name": "public",
        "domains": domains,
        "routes": [
            *_foreign_origin(settings),
            *_preflight(settings),
            _grpc_client(),
            *_sockets(settings),
            *_routes(settings),
            _refuse({"prefix": "/"}, 404, ""),
        ],
        "typed_per_filter_config": {"envoy.filters.http.cors": _cors_policy(settings)},
    }
    if "*" in domains:
        return [known]
    unknown = {
        "name": "unknown",
        "domains": ["*"],
        "routes": [_refuse({"prefix": "/"}, 421, "This host name is not served here.")],
    }
    return [known, unknown]


def own_origins(settings: Settings) -> list[str]:
    """Return the origins a page of ours can have."""
    found = [settings.base_url.lower()]
    for host in (*_LOCAL_HOSTS, *settings.allowed_hosts):
        found += [
            f"{scheme}://{host.lower()}:{port}"
            for scheme in ("http", "https")
            for port in settings.public_ports()
        ]
        found += [
            f"{scheme}://{host.lower()}" for scheme in ("http", "https") if host in settings.allowed_hosts
        ]
    return list(dict.fromkeys(found))


def _domains(settings: Settings) -> list[str]:
    if "*" in settings.allowed_hosts:
        return ["*"]
    # Ports are stripped before hosts are compared.
    ours = urlsplit(settings.base_url).hostname or "localhost"
    ours = f"[{ours}]" if ":" in ours else ours
    bind = [] if settings.bind in ("0.0.0.0", "::") else [settings.bind]  # noqa: S104 — compared, not bound
    return list(
        dict.fromkeys([*_LOCAL_HOSTS, ours, *bind, *(host.lower() for host in settings.allowed_hosts)])
    )


def _foreign_origin(settings: Settings) -> Iterator[Json]:
    if "*" in settings.allowed_origins:
        return
    allowed = [*own_origins(settings), *(origin.lower() for origin in settings.allowed_origins)]
    headers: list[Json] = [{"name": "origin", "present_match": True}]
    for origin in allowed:
        same = {"exact": origin, "ignore_case": True}
        headers.append({"name": "origin", "string_match": same, "invert_match": True})
    yield _refuse({"prefix": "/", "headers": headers}, 403, "Requests from this origin are not allowed.")


def _preflight(settings: Settings) -> Iterator[Json]:
    """Let the CORS filter answer a listed page: it looks at routes that lead somewhere only."""
    if not settings.allowed_origins:
        return
    headers = [
        _verb("OPTIONS"),
        {"name": "origin", "present_match": True},
        {"name": "access-control-request-method", "present_match": True},
    ]
    yield {
        "match": {"prefix": "/", "headers": headers},
        "route": {"cluster": "edge"},
        "typed_per_filter_config": {TRANSCODER: typed("filter_config", disabled=True)},
    }


def _grpc_client() -> Json:
    """Refuse gRPC itself: it would pass the transcoder by."""
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc", "ignore_case": True}}
    return _refuse({"prefix": "/", "headers": [grpc]}, 404, "")


def _sockets(settings: Settings) -> Iterator[Json]:
    """Serve WebSockets, and refuse upgrades of every other route: what is behind it knows none."""
    upgrade = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
    for route in public_routes():
        if route.option.websocket:
            match = _path_match(route) | {"headers": [_verb(route.verb), upgrade]}
            yield _served(match, route, settings)
    yield _refuse({"prefix": "/", "headers": [upgrade]}, 400, "This route is no WebSocket.")


def _cors_policy(settings: Settings) -> Json:
    if "*" in settings.allowed_origins:
        origins: list[Json] = [{"safe_regex": {"regex": ".*"}}]
    else:
        origins = [{"exact": origin} for origin in settings.allowed_origins]
    return typed(
        "cors_policy",
        allow_origin_string_match=origins,
        allow_methods="GET, HEAD, POST, PUT, PATCH, DELETE",
        allow_headers="authorization, content-type, idempotency-key, last-event-id, range, x-request-id",
        expose_headers="content-disposition, content-range, etag, x-request-id, x-job-id, x-generation-time, "
        "x-file-size, x-thumbnail-generated",
        max_age="600",
    )


def _routes(settings: Settings) -> Iterator[Json]:
    by_path = groupby(public_routes(), key=lambda route: route.template)
    for _, group in by_path:
        routes = list(group)
        for route in routes:
            yield from _one_route(route, settings)
        yield _wrong_verb(routes)


def _one_route(route: PublicRoute, settings: Settings) -> Iterator[Json]:
    for verb in _verbs(route):
        match = _path_match(route) | {"headers": [_verb(verb)]}
        largest = route.option.max_body_bytes
        if route.has_body and largest:
            yield _refuse(_and(match, _longer_than(largest)), 413, "")
        if route.option.websocket:
            yield _refuse(match, 426, "This route is a WebSocket.", {"upgrade": "websocket"})
            continue
        for entry in _with_media_type(match, route, settings):
            script = _script(route, verb)
            if script:
                entry["typed_per_filter_config"] = {LUA: typed("lua_route", name=script)}
            yield entry


def _script(route: PublicRoute, verb: str) -> str:
    """Return the name of the script of a route behind the transcoder; empty for the usual one."""
    if route.at_edge:
        return ""
    dialect = registry.of_method(route.service).dialect
    own = "" if dialect == registry.USUAL.dialect else dialect
    return "-".join(part for part in (own, HEAD_SCRIPT if verb == "HEAD" else "") if part)


def _with_media_type(match: Json, route: PublicRoute, settings: Settings) -> Iterator[Json]:
    wanted = _MULTIPART if route.option.file_part else _JSON
    right = {"name": "content-type", "string_match": {"safe_regex": {"regex": wanted}}}
    refused = "The content type must be " + (
        "multipart/form-data." if route.option.file_part else "application/json."
    )
    if route.has_body:
        yield _served(_and(match, right), route, settings)
        yield _refuse(match, 415, refused)
    elif route.verb in ("GET", "DELETE"):
        yield _served(match, route, settings)
    else:
        # A body is not needed; one that a form could send is refused all the same.
        wrong = right | {"invert_match": True}
        yield _refuse(_and(match, {"name": "content-type", "present_match": True}, wrong), 415, refused)
        yield _served(match, route, settings)


def _verbs(route: PublicRoute) -> tuple[str, ...]:
    if route.verb != "GET" or route.option.websocket or (route.option.streaming and not route.at_edge):
        return (route.verb,)
    return ("GET", "HEAD")


def _served(match: Json, route: PublicRoute, settings: Settings) -> Json:
    endless = route.option.streaming or route.at_edge
    action: Json = {
        "cluster": "edge" if route.at_edge else "gateway",
        "timeout": "0s" if endless else seconds(settings.gateway.answer_seconds),
        "retry_policy": _retries(route),
    }
    entry: Json = {"match": match, "route": action}
    if route.option.websocket:
        address = {"key": CLIENT_HEADER, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
        entry["request_headers_to_add"] = [{"header": address, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    if route.at_edge:
        entry["typed_per_filter_config"] = {TRANSCODER: typed("filter_config", disabled=True)}
    return entry


def _retries(route: PublicRoute) -> Json:
    # Together about three seconds: as long as a gateway takes to start again.
    return {
        "retry_on": _RETRY_SAFE if route.verb == "GET" else _RETRY_UNSENT,
        "num_retries": 8,
        "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed("previous_hosts")}
        ],
        "host_selection_retry_max_attempts": "3",
    }


def _wrong_verb(routes: Sequence[PublicRoute]) -> Json:
    verbs = sorted({verb for route in routes for verb in _verbs(route)})
    allow = ", ".join(verbs)
    return _refuse(_path_match(routes[0]), 405, f"This route takes {allow}.", {"allow": allow})


def _refuse(match: Json, status: int, detail: str, headers: dict[str, str] | None = None) -> Json:
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": detail or "refused"}},
        "response_headers_to_add": [
            {"header": {"key": name, "value": value}} for name, value in (headers or {}).items()
        ],
        "typed_per_filter_config": {TRANSCODER: typed("filter_config", disabled=True)},
    }


def _path_match(route: PublicRoute) -> Json:
    if route.parameters:
        return {"safe_regex": {"regex": route.pattern}}
    return {"path": route.template}


def _verb(verb: str) -> Json:
    return {"name": ":method", "string_match": {"exact": verb}}


def _longer_than(most: int) -> Json:
    return {"name": "content-length", "range_match": {"start": str(most + 1), "end": str(_LARGEST)}}


def _and(match: Json, *headers: Json) -> Json:
    return match | {"headers": [*match.get("headers", []), *headers]}
