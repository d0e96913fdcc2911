"""What a run tells while it goes on: bounded, whatever the worker sends and however slow the reader."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.runtime.structs import to_struct

_MAX_WAITING = 64
_MAX_LOGS = 200
_MAX_TEXT = 2000
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


class EventQueue:
    """Responses of one run on their way out.

    Progress that the reader has not taken yet is replaced by later progress; log lines beyond 200 a
    run are dropped. Sequence numbers are given when a response leaves, so they have no gaps.
    """

    def __init__(self) -> None:
        self._waiting: deque[pb.RunResponse] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._seq = 0
        self._logs = 0
        self._fraction = 0.0

    def put(self, response: pb.RunResponse) -> None:
        """Add a response that must not be lost."""
        self._waiting.append(response)
        self._arrived.set()

    def hear(self, message: dict[str, Any]) -> None:
        """Add a worker's message: `progress` or `log`. Nonsense in it is made harmless."""
        if message["op"] == "progress":
            self._progress(message)
        elif self._logs < _MAX_LOGS and len(self._waiting) < _MAX_WAITING:
            self._logs += 1
            level = str(message.get("level", ""))
            text = str(message.get("message", ""))[:_MAX_TEXT]
            line = pb.RunResponse.Log(level=level if level in _LEVELS else "info", message=text)
            self.put(pb.RunResponse(log=line))

    def _progress(self, message: dict[str, Any]) -> None:
        fraction = _number(message.get("fraction"), 0.0)
        self._fraction = max(self._fraction, min(1.0, fraction))
        progress = pb.RunResponse.Progress(
            stage=str(message.get("stage", ""))[:64],
            fraction=self._fraction,
            message=str(message.get("message", ""))[:_MAX_TEXT],
            upstream_status=str(message.get("upstream_status", ""))[:64],
        )
        eta = _number(message.get("eta"), -1.0)
        if 0 <= eta < 1e7:
            progress.eta.CopyFrom(Duration(seconds=int(eta), nanos=int(eta % 1 * 1e9)))
        if self._waiting and self._waiting[-1].HasField("progress"):
            self._waiting.pop()
        self.put(pb.RunResponse(progress=progress))

    def note(self, state: Mapping[str, Any]) -> None:
        """Add what the next attempt of the task shall know."""
        self.put(pb.RunResponse(checkpoint=pb.RunResponse.Checkpoint(state=to_struct(state))))

    def close(self) -> None:
        """End the queue after what is in it."""
        self._closed = True
        self._arrived.set()

    async def next(self, timeout: float) -> pb.RunResponse | None:
        """Return the next response, a heartbeat after ``timeout`` seconds, None at the end."""
        if not self._waiting and not self._closed:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return pb.RunResponse(heartbeat=pb.RunResponse.Heartbeat())
        if not self._waiting:
            return None
        response = self._waiting.popleft()
        if response.HasField("progress"):
            self._seq += 1
            response.progress.seq = self._seq
        return response


def _number(value: Any, default: float) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return default
