"""A gateway and a real Envoy as processes of their own, in front of in-memory backends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from maquette.runtime.settings import Settings
from services.gateway.envoy.config import envoy_binary
from services.gateway.envoy.write import write_config
from tests.contract.gateway.backends import Backends


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class GatewayUnderTest:
    """Start with `start`, look at `url`, end with `stop`."""

    def __init__(self, **overrides) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mqgw-")
        self.overrides = {"gateway": {"ping_seconds": 1.0}, "drain_seconds": 2.0, **overrides}
        self.settings = Settings(data_dir=Path(self._folder.name), port=free_port(), **self.overrides)
        self.backends = Backends(self.settings)
        self.log = Path(self._folder.name) / "gateway.log"
        self.gateway: subprocess.Popen[bytes] | None = None
        self.envoy: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.settings.port}"

    def start(self) -> GatewayUnderTest:
        self.backends.start()
        self.start_gateway()
        config = self.settings.run_dir / "envoy.json"
        write_config(self.settings, config)
        self.envoy = subprocess.Popen(
            [
                str(envoy_binary()),
                *("-c", str(config), "--concurrency", "1", "-l", "warning"),
                *("--disable-hot-restart", "--use-dynamic-base-id"),
            ],
            stderr=self.log.open("ab"),
        )
        self.wait_ready()
        return self

    def start_gateway(self) -> None:
        environment = {
            **os.environ,
            "MAQUETTE_DATA_DIR": str(self.settings.data_dir),
            "MAQUETTE_PORT": str(self.settings.port),
            "MAQUETTE_DRAIN_SECONDS": str(self.settings.drain_seconds),
            "MAQUETTE_TELEMETRY__OTLP_ENDPOINT": self.settings.telemetry.otlp_endpoint,
            **{f"MAQUETTE_GATEWAY__{k.upper()}": str(v) for k, v in self.overrides["gateway"].items()},
        }
        self.gateway = subprocess.Popen(
            [sys.executable, "-m", "services.gateway.main"], env=environment, stderr=self.log.open("ab")
        )

    def stop_gateway(self, how: int = signal.SIGTERM) -> int:
        self.gateway.send_signal(how)
        return self.gateway.wait(60)

    def wait_ready(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        with httpx.Client(timeout=30) as client:
            while True:
                try:
                    if client.get(f"{self.url}/health").json().get("status") == "healthy":
                        return
                except (httpx.HTTPError, ValueError):
                    pass
                if time.monotonic() > deadline:
                    raise TimeoutError(self.log.read_text()[-4000:])
                time.sleep(0.05)

    def stop(self) -> None:
        for process in (self.envoy, self.gateway):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.envoy, self.gateway):
            if process is not None:
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(30)
        self.backends.stop()
        self._folder.cleanup()
