"""A small HTTP/1.1 load generator: keep-alive connections, one request in flight on each.

Written on asyncio protocols so that it costs little beside what it measures; ratios are taken
between runs of this same client. Sends to loopback only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop

Make = Callable[[int], bytes]
"""Writes the request of a number, counted from 0."""


@dataclass(slots=True)
class Load:
    """What one run saw. Latencies in milliseconds."""

    requests: int
    seconds: float
    latencies_ms: list[float] = field(repr=False)
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency that ``share`` (0–1) of the requests did not exceed."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def expect(self, status: int) -> Load:
        """Return this run. Raises RuntimeError when anything but ``status`` came back."""
        if set(self.statuses) != {status}:
            raise RuntimeError(f"expected only {status}, got {self.statuses}")
        return self

    def as_json(self) -> dict[str, object]:
        """Return what goes into the result file."""
        return {
            "requests": self.requests,
            "per_second": round(self.rate, 1),
            "p50_ms": round(self.percentile(0.5), 3),
            "p99_ms": round(self.percentile(0.99), 3),
        }


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.buffer = b""
        self.sent_at = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        request = self.run.next_request()
        if request is None:
            self.transport.close()
            return
        self.busy = True
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        start = head.lower().find(b"content-length:")
        if start < 0:
            self.run.failed(RuntimeError(f"no content-length in {head[:200]!r}"))
            return
        if len(body) < int(head[start + 15 :].split(b"\r\n", 1)[0]):
            return
        self.buffer = b""
        self.busy = False
        self.run.done(int(head[9:12]), (time.perf_counter() - self.sent_at) * 1000)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.run.failed(exc or RuntimeError("the server closed a connection in mid-request"))
        self.run.closed()


class _Run:
    def __init__(self, make: Make, seconds: float, count: float, connections: int) -> None:
        self.make, self.count, self.open = make, count, connections
        self.until = time.perf_counter() + seconds
        self.sent = 0
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        if self.sent >= self.count or time.perf_counter() >= self.until or self.finished.done():
            return None
        self.sent += 1
        return self.make(self.sent - 1)

    def done(self, status: int, latency_ms: float) -> None:
        self.latencies.append(latency_ms)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def failed(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.finished.done():
            self.finished.set_result(None)


def request(
    method: str,
    path: str,
    *,
    host: str = "localhost",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> bytes:
    """Write one request with its body."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    if body or method != "GET":
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _load(make: Make, port: int, connections: int, seconds: float, count: float) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(make, seconds, count, connections)
    started = time.perf_counter()
    await asyncio.gather(
        *(loop.create_connection(lambda: _Connection(run), "127.0.0.1", port) for _ in range(connections))
    )
    async with asyncio.timeout(seconds + 60):
        await run.finished
    return Load(len(run.latencies), time.perf_counter() - started, run.latencies, run.statuses)


def load(
    make: Make, *, port: int, connections: int = 32, seconds: float = 10.0, count: float = float("inf")
) -> Load:
    """Send requests to a loopback port for ``seconds``, at most ``count``.

    Raises whatever broke a connection in mid-request.
    """
    return uvloop.run(_load(make, port, connections, seconds, count))
