"""What fakes of remote providers share: a real HTTP server on loopback, scripted faults, a count of calls."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    at: float
    """Monotonic seconds."""
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """Return the JSON body."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Answer:
    """What is sent back."""

    status: int
    body: bytes | dict[str, Any] | list[Any] = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """What happens to the next request that fits, in place of an answer or before it."""

    method: str
    path: str
    """What the request's path begins with."""
    answer: Answer | None = None
    """None answers as ever, after the delay."""
    hold: threading.Event | None = None
    """The answer waits for it."""
    drop: bool = False
    """The connection is closed without an answer, after the request did its work."""


class FakeProvider:
    """A provider's server; subclasses answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.url = ""

    def answer(self, call: Call) -> Answer:
        """Answer a request; called under the lock."""
        raise NotImplementedError

    def count(self, method: str, path: str = "") -> int:
        """Return how many requests began so."""
        with self.lock:
            return sum(call.method == method and call.path.startswith(path) for call in self.calls)

    def seen(self, method: str, path: str = "") -> list[Call]:
        """Return the requests that began so."""
        with self.lock:
            return [call for call in self.calls if call.method == method and call.path.startswith(path)]

    def _take_fault(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.method == call.method and call.path.startswith(fault.path):
                self.faults.remove(fault)
                return fault
        return None

    def respond(self, call: Call) -> Answer | None:
        """Return what is sent back; None closes the connection."""
        with self.lock:
            self.calls.append(call)
            fault = self._take_fault(call)
            answer = fault.answer if fault is not None and fault.answer is not None else self.answer(call)
        if fault is not None and fault.hold is not None:
            fault.hold.wait(60.0)
        return None if fault is not None and fault.drop else answer

    def wrap(self, server: ThreadingHTTPServer) -> None:
        """Change the server before it serves."""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve while the block runs; yields the base URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.respond))
        server.daemon_threads = True
        self.wrap(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


def _handler(respond: Callable[[Call], Answer | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = respond(Call(time.monotonic(), self.command, self.path, headers, body))
            if answer is None:
                self.close_connection = True
                return
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    return Handler
