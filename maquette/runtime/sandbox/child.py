"""The program of a worker process: ``child.main(<descriptor in>, <descriptor out>)``.

A worker reads its configuration, imports what it is told to, runs the preparing steps, closes its
door (`confine`), and then runs one call after another on its main thread. A second thread listens
for cancellation and for the end of the pipe, which is the parent's death.

What the parent can rely on:

- no foreign byte is read before the door is closed;
- messages come in the order things happened, and every call ends with one `result` or `error`,
  or with the end of the pipe;
- whatever is written to stdout or stderr is log text, never a message.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import queue
import resource
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from maquette.runtime.errors import Cancelled, MaquetteError
from maquette.runtime.sandbox import confine, frames

_LEAST_GAP = 0.03
"""Seconds between two progress messages of one stage."""
_MAX_TRACEBACK = 8000
_MAX_MESSAGE = 2000
_OUR_LOGGERS = ("maquette", "services")


class _Pipe:
    """The way out; messages of several threads do not mix."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        with self._lock:
            frames.send(self._fd, message)


class _Reporter:
    """Report of one call; implements :class:`maquette.runtime.engine.Report`."""

    def __init__(self, pipe: _Pipe, call: int, cancelled: threading.Event) -> None:
        self._pipe = pipe
        self._call = call
        self._cancelled = cancelled
        self._stage = ""
        self._sent_at = 0.0
        self._fraction = 0.0

    def __call__(
        self,
        stage: str,
        fraction: float,
        message: str = "",
        *,
        eta: float | None = None,
        upstream_status: str = "",
    ) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the task was cancelled")
        now = time.monotonic()
        if stage == self._stage and now - self._sent_at < _LEAST_GAP and fraction < 1:
            return
        self._stage, self._sent_at = stage, now
        self._fraction = max(self._fraction, min(1.0, float(fraction)))
        self._pipe.send(
            {
                "op": "progress",
                "id": self._call,
                "stage": stage,
                "fraction": self._fraction,
                "message": message[:_MAX_MESSAGE],
                "eta": eta,
                "upstream_status": upstream_status,
            }
        )


class _LogForwarder(logging.Handler):
    """Sends what libraries and engines log to the parent, as part of the call in hand."""

    def __init__(self, pipe: _Pipe) -> None:
        super().__init__(logging.INFO)
        self._pipe = pipe
        self.call = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and not record.name.startswith(_OUR_LOGGERS):
            return
        text = record.getMessage()[:_MAX_MESSAGE]
        self._pipe.send({"op": "log", "id": self.call, "level": record.levelname.lower(), "message": text})


class _Inbox:
    """Calls to do, and the cancellation of the one in hand."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._cancels: dict[int, threading.Event] = {}
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()

    def _listen(self) -> None:
        while (message := frames.receive(self._fd)) is not None:
            if message["op"] == "call":
                with self._lock:
                    self._cancels[message["id"]] = threading.Event()
                self._calls.put(message)
            elif message["op"] == "cancel":
                with self._lock:
                    event = self._cancels.get(message["id"])
                if event is not None:
                    event.set()
        os._exit(0)

    def next(self) -> tuple[dict[str, Any], threading.Event]:
        call = self._calls.get()
        return call, self._cancels[call["id"]]

    def done(self, call: int) -> None:
        with self._lock:
            self._cancels.pop(call, None)


def main() -> None:
    """Work until the parent closes the pipe."""
    fd_in, fd_out = int(sys.argv[-2]), int(sys.argv[-1])
    faulthandler.enable()
    os.set_inheritable(fd_in, False)
    os.set_inheritable(fd_out, False)
    pipe = _Pipe(fd_out)
    config = frames.receive(fd_in)
    if config is None:
        return
    try:
        abi = confine.before_import(config)
        _prepare(config, pipe)
        held = confine.before_work(config)
    except Exception as error:  # noqa: BLE001 — told to the parent, which decides
        traceback.print_exc()
        pipe.send({"op": "unfit", "kind": type(error).__name__, "message": str(error)[:_MAX_MESSAGE]})
        return
    logs = _LogForwarder(pipe)
    logging.basicConfig(level=logging.INFO, handlers=[logs])
    inbox = _Inbox(fd_in)
    pipe.send({"op": "ready", "held": {**held, "landlock": abi}})
    while True:
        call, cancelled = inbox.next()
        logs.call = call["id"]
        answer = _answer(call, _Reporter(pipe, call["id"], cancelled))
        inbox.done(call["id"])
        try:
            pipe.send(answer)
        except frames.FrameError as error:
            pipe.send({"op": "error", "id": call["id"], "kind": "FrameError", "message": str(error)})


def _prepare(config: dict[str, Any], pipe: _Pipe) -> None:
    for name in config["modules"]:
        importlib.import_module(name)
    for step in config["steps"]:
        value = resolve(step["target"])(**step["payload"])
        pipe.send({"op": "prepared", "target": step["target"], "value": value})


def resolve(target: str) -> Callable[..., Any]:
    """Return the function that `module:function` names."""
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _answer(call: dict[str, Any], report: _Reporter) -> dict[str, Any]:
    workdir = call["workdir"]
    os.chdir(workdir)
    os.environ["TMPDIR"] = tempfile.tempdir = workdir
    confine.limit_call(int(call["memory_mib"]), float(call["cpu_seconds"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    extra = {"report": report} if call["reports"] else {}
    try:
        value = resolve(call["target"])(**call["payload"], **extra)
        return {"op": "result", "id": call["id"], "value": value, "peak_mib": _peak_mib(before)}
    except MaquetteError as error:
        told: dict[str, Any] = {
            "reason": error.reason,
            "message": error.message[:_MAX_MESSAGE],
            "metadata": error.metadata,
        }
        failure: BaseException = error
    except MemoryError as error:
        told = {"reason": "OUT_OF_MEMORY", "message": "the run needs more memory than it may use"}
        failure = error
    except Exception as error:  # noqa: BLE001 — told to the parent
        told = {"message": str(error)[:_MAX_MESSAGE], "traceback": traceback.format_exc()[-_MAX_TRACEBACK:]}
        failure = error
    finally:
        os.chdir("/")
    return {
        "op": "error",
        "id": call["id"],
        "kind": type(failure).__name__,
        **told,
        "peak_mib": _peak_mib(before),
    }


def _peak_mib(before: int) -> float:
    """Return the peak of resident memory if this call raised it, else 0: the parent saw it then."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if peak > before else 0.0
