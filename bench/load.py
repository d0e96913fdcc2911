"""A small HTTP/1.1 load generator: keep-alive connections, one request in flight on each.

Written on asyncio protocols so that it costs little beside what it measures; ratios are taken
between runs of this same client. Sends to loopback only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import uvloop


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

    def as_json(self) -> dict[str, object]:
        """Return what goes into the result file."""
        return {
            "requests": self.requests,
            "per_second": round(self.rate, 1),
            "p50_ms": round(self.percentile(0.5), 3),
            "p99_ms": round(self.percentile(0.99), 3),
            "statuses": self.statuses,
        }


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self.run = run
        self.buffer = b""
        self.sent_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        assert self.transport is not None
        request = self.run.next_request()
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        start = lower.find(b"content-length:")
        if start < 0:
            raise RuntimeError(f"no content-length in {head[:200]!r}")
        length = int(lower[start + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.buffer = b""
        self.run.done(int(head[9:12]), (time.perf_counter() - self.sent_at) * 1000)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.closed(exc)


class _Run:
    def __init__(self, make: Callable[[int], bytes], count: int, connections: int) -> None:
        self.make, self.count, self.open = make, count, connections
        self.sent = 0
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        if self.sent == self.count:
            return None
        self.sent += 1
        return self.make(self.sent)

    def done(self, status: int, latency_ms: float) -> None:
        self.latencies.append(latency_ms)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def closed(self, exc: Exception | None) -> None:
        self.open -= 1
        if self.open == 0 and not self.finished.done():
            self.finished.set_result(None)


def request(
    method: str, path: str, *, host: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """Write one request with its body."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _load(make: Callable[[int], bytes], port: int, count: int, connections: int) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(make, count, connections)
    started = time.perf_counter()
    await asyncio.gather(
        *(loop.create_connection(lambda: _Connection(run), "127.0.0.1", port) for _ in range(connections))
    )
    await run.finished
    return Load(len(run.latencies), time.perf_counter() - started, run.latencies, run.statuses)


def load(make: Callable[[int], bytes], *, port: int, count: int, connections: int) -> Load:
    """Send ``count`` requests made by ``make(index)`` over ``connections`` to a loopback port."""
    return uvloop.run(_load(make, port, count, connections))
