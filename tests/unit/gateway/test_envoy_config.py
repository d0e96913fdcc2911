"""Envoy's configuration says what the protos and the settings say."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from maquette.runtime.errors import CATALOGUE
from maquette.runtime.settings import Settings
from services.gateway.dialects.aigc.errors import REFUSALS, SHAPES, WORDS
from services.gateway.envoy.config import envoy_binary, envoy_config
from services.gateway.envoy.virtual_hosts import own_origins, virtual_hosts
from services.gateway.envoy.write import write_config
from services.gateway.routes import public_routes


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path)


def routes_of(settings):
    return virtual_hosts(settings)[0]["routes"]


def test_every_reason_has_a_shape_in_the_dialects_words():
    assert set(SHAPES) == set(CATALOGUE)
    assert {shape.error for shape in SHAPES.values()} <= set(WORDS)
    assert {refusal.error for refusal in REFUSALS} <= set(WORDS)


def test_every_public_route_is_served_and_refuses_other_verbs(settings):
    entries = routes_of(settings)
    for route in public_routes():
        path = route.template if not route.parameters else re.sub(r"\{[a-z_]+\}", "x", route.template)
        mine = [e for e in entries if matches(e["match"], path)]
        served = [e for e in mine if "route" in e and method(e) == route.verb]
        assert served, route.template
        assert served[0]["route"]["cluster"] == ("edge" if route.at_edge else "gateway")
        assert any(e.get("direct_response", {}).get("status") == 405 for e in mine)


def matches(match, path):
    if "path" in match:
        return match["path"] == path
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return False


def method(entry):
    return next(h["string_match"]["exact"] for h in entry["match"]["headers"] if h["name"] == ":method")


def test_the_literal_path_comes_before_the_pattern(settings):
    found = [e for e in routes_of(settings) if matches(e["match"], "/api/v1/system/jobs/history")]
    assert "path" in found[0]["match"]


def test_no_answer_of_a_stream_is_cut_off(settings):
    for entry in routes_of(settings):
        if "route" in entry and entry["route"]["cluster"] == "edge":
            assert entry["route"]["timeout"] == "0s"


def test_unknown_hosts_are_refused_unless_all_are_allowed(settings, tmp_path):
    known, unknown = virtual_hosts(settings)
    assert {"localhost", "127.0.0.1", "[::1]"} <= set(known["domains"])
    assert unknown["routes"][0]["direct_response"]["status"] == 421
    named = Settings(
        data_dir=tmp_path, allowed_hosts=["Maquette.Example"], public_base_url="https://a.example"
    )
    assert {"maquette.example", "a.example"} <= set(virtual_hosts(named)[0]["domains"])
    anything = Settings(data_dir=tmp_path, allowed_hosts=["*"])
    assert [host["domains"] for host in virtual_hosts(anything)] == [["*"]]


def test_cors_is_off_until_origins_are_listed(settings, tmp_path):
    def policy(settings):
        return virtual_hosts(settings)[0]["typed_per_filter_config"]["envoy.filters.http.cors"]

    assert policy(settings)["allow_origin_string_match"] == []
    listed = Settings(data_dir=tmp_path, allowed_origins=["https://studio.example"])
    assert policy(listed)["allow_origin_string_match"] == [{"exact": "https://studio.example"}]
    assert "allow_credentials" not in policy(listed)


def test_our_own_pages_may_call_us(tmp_path):
    settings = Settings(data_dir=tmp_path, port=8000, public_base_url="https://maquette.example")
    origins = own_origins(settings)
    assert "https://maquette.example" in origins
    assert "http://localhost:8000" in origins
    assert "http://localhost:3000" not in origins


def test_internal_headers_are_stripped_before_routing(settings):
    text = json.dumps(envoy_config(settings))
    assert '{"remove": "x-error-json"}' in text
    assert '{"remove": "x-http-status"}' in text
    assert '{"key_matcher": {"prefix": "x-maquette-"}}' in text


def test_the_admin_interface_is_a_socket_of_our_own(settings):
    admin = envoy_config(settings)["admin"]["address"]
    assert admin == {"pipe": {"path": str(settings.run_dir / "envoy-admin.sock"), "mode": 0o600}}


def test_traces_and_logs_are_there_when_asked_for(settings, tmp_path):
    assert "opentelemetry" not in json.dumps(envoy_config(settings))
    asked = Settings(
        data_dir=tmp_path,
        telemetry={"otlp_endpoint": "http://collector:4317"},
        gateway={"access_log": "json"},
    )
    config = envoy_config(asked)
    names = [cluster["name"] for cluster in config["static_resources"]["clusters"]]
    assert names == ["gateway", "edge", "collector"]
    assert "StdoutAccessLog" in json.dumps(config)


VARIANTS = {
    "default": {},
    "other machines": {
        "addresses": {"gateway": "dns:///gateway:50051"},
        "gateway": {"edge_address": "gateway:8080", "access_log": "json", "requests_per_second": 0},
        "telemetry": {"otlp_endpoint": "http://127.0.0.1:4317"},
        "allowed_hosts": ["*"],
        "allowed_origins": ["*"],
        "bind": "0.0.0.0",
    },
    "shares": {"gateway": {"requests_per_second": 0, "requests_per_second_per_client": 5, "proxy_hops": 2}},
    "named": {
        "public_base_url": "https://maquette.example",
        "allowed_hosts": ["maquette.example", "other.example"],
        "allowed_origins": ["https://studio.example"],
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_envoy_takes_the_configuration(tmp_path, name):
    settings = Settings(data_dir=tmp_path, **VARIANTS[name])
    path = tmp_path / "envoy.json"
    write_config(settings, path)
    assert path.stat().st_mode & 0o777 == 0o600
    run = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", str(path), "-l", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "deprecated" not in run.stderr.lower(), run.stderr


def test_one_clients_share_is_off_until_it_is_set(settings, tmp_path):
    def limit(settings):
        text = json.dumps(envoy_config(settings))
        return "masked_remote_address" in text, "local_ratelimit" in text

    assert limit(settings) == (False, True)
    for whole in (0, 1000):
        gateway = {"requests_per_second": whole, "requests_per_second_per_client": 5}
        assert limit(Settings(data_dir=tmp_path, gateway=gateway)) == (True, True)
    assert limit(Settings(data_dir=tmp_path, gateway={"requests_per_second": 0})) == (False, False)


def test_only_sockets_are_told_the_clients_address(settings):
    told = [entry for entry in routes_of(settings) if "x-maquette-client" in json.dumps(entry)]
    assert len(told) == sum(route.option.websocket for route in public_routes())


def test_further_ports_serve_the_same_routes(tmp_path):
    settings = Settings(data_dir=tmp_path, port=7842, more_ports=[8000, 7842])
    listeners = envoy_config(settings)["static_resources"]["listeners"]
    ports = [listener["address"]["socket_address"]["port_value"] for listener in listeners]
    assert ports == [7842, 8000]
    assert len({listener["name"] for listener in listeners}) == 2
    assert listeners[0]["filter_chains"] == listeners[1]["filter_chains"]
    assert "http://localhost:8000" in own_origins(settings)


def test_a_dialects_own_paths_refuse_in_its_words(settings):
    [manager] = [
        filter_["typed_config"]
        for listener in envoy_config(settings)["static_resources"]["listeners"]
        for filter_ in listener["filter_chains"][0]["filters"]
    ]
    first = manager["local_reply_config"]["mappers"][0]
    path = first["filter"]["and_filter"]["filters"][0]["header_filter"]["header"]
    pattern = re.compile(path["string_match"]["safe_regex"]["regex"])
    for known in ("/animate/image", "/status/abc", "/status/abc?x=1", "/jobs/abc/files/mesh/a.glb"):
        assert pattern.fullmatch(known)
    assert not pattern.fullmatch("/api/v1/system/jobs/abc")
    assert set(first["body_format_override"]["json_format"]) == {"detail"}
