"""Meshy's protocol: make a task, poll it, take its files, give it up.

Sources: docs.meshy.ai (API reference, state of June 2026). The shapes of answers are read with some
tolerance: a mesh is under `model_urls` or under `result`, as the vendor's page or its clients have it.

A task is paid for when it is made, and Meshy knows no idempotency key. So its id is noted for the next
attempt at the moment the answer comes, also when the run is cancelled just then; an attempt that finds
an id goes on with that task. What stays open is an answer that never came (see `remote.http`).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maquette.runtime.engine import InputFile
from maquette.runtime.errors import DeadlineExceeded, Internal, InvalidArgument, MaquetteError
from maquette.runtime.remote.addresses import Resolve, resolve
from maquette.runtime.remote.answers import Gone, Refusal, Reply
from maquette.runtime.remote.engine import Desk
from maquette.runtime.remote.http import Upstream
from maquette.runtime.remote.patience import Turns, retry_after
from maquette.runtime.settings import MeshySettings
from maquette.runtime.telemetry import get_logger

PROVIDER = "meshy"
BYTES = "application/octet-stream"
"""Media type that Meshy wants of a model in a `data:` URI."""
KEY_VARIABLE = "MAQUETTE_MESHY__API_KEY"
RANK = -100
"""Below every engine of our own."""
_MOST_UNKNOWN = 3
"""Polls that may not find a task that was made a moment ago."""
_MOST_RENEWALS = 3
"""Times that a task is asked for fresh URLs of its files."""
_FULL = "NoMoreConcurrentTasks"
_ENDED_BADLY = frozenset({"CANCELED", "CANCELLED", "EXPIRED"})
_INPUT_IS_BAD = frozenset(
    {
        "invalid_input",
        "image_too_complex",
        "model_missing_uv",
        "model_insufficient_uv",
        "moderation_blocked",
    }
)
_OWN_FAULT = frozenset({"timeout", "service_unavailable", "server_error"})
_log = get_logger()

Body = Callable[[], Awaitable[Mapping[str, Any]]]
"""Returns the fields of a new task; asked only where one is made."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of task."""

    path: str
    label: str
    """Of progress messages."""
    stage: str
    bad_input: str
    """Reason of the catalogue where the input is at fault."""


IMAGE_TO_3D = Kind("/openapi/v1/image-to-3d", "3D Generation", "generating", "INVALID_INPUT_FILE")
RETEXTURE = Kind("/openapi/v1/retexture", "Retexturing", "retexturing", "INVALID_INPUT_FILE")
RIGGING = Kind("/openapi/v1/rigging", "Rigging", "rigging", "RIGGING_FAILED")
ANIMATION = Kind("/openapi/v1/animations", "Animation", "animating", "INVALID_INPUT_FILE")


@dataclass(frozen=True, slots=True)
class Wish:
    """A task that is wanted."""

    kind: Kind
    body: Body
    name: str = "task"
    """Unique within the run."""
    label: str = ""
    """Of progress messages, where it is not the kind's."""
    share: tuple[float, float] = (0.0, 1.0)
    """Which part of the run's progress it is."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that succeeded."""

    id: str
    answer: Mapping[str, Any]


class Meshy:
    """Meshy's API with the operator's key."""

    def __init__(self, settings: MeshySettings, *, ask: Resolve = resolve) -> None:
        key = settings.api_key.get_secret_value()
        self._settings = settings
        self._upstream = Upstream(
            "Meshy",
            KEY_VARIABLE,
            settings,
            settings.base_url,
            key,
            {"Authorization": f"Bearer {key}"},
            turns=Turns(settings.queue_seconds, settings.wait_seconds),
            ask=ask,
        )
        self.unavailable = "" if key else f"needs a key of Meshy: set {KEY_VARIABLE}"

    async def close(self) -> None:
        """Close connections."""
        await self._upstream.close()

    # -- tasks

    async def finish(self, wish: Wish, desk: Desk) -> Finished:
        """Return a finished task: the one that an earlier attempt made, or a new one.

        Raises InvalidArgument where the input is at fault, FailedPrecondition (MODEL_NOT_AVAILABLE) where the
        key or the account is, DeadlineExceeded after `wait_seconds`, Internal for everything else.
        """
        task_id = noted(desk.checkpoint).get(wish.name, ("", ""))[1]
        if not task_id:
            task_id = await self._create(wish, desk)
        try:
            answer = await self._poll(wish, task_id, desk)
        finally:
            await self._upstream.place_freed()
        return Finished(task_id, answer)

    async def _create(self, wish: Wish, desk: Desk) -> str:
        fields = await wish.body()
        # Files go along inside: tens of MiB are nothing for the event loop.
        body = await asyncio.to_thread(lambda: json.dumps(fields).encode())
        stage, begin = wish.kind.stage, wish.share[0]

        def arrived(reply: Reply) -> None:
            # Here and not after the await: a run that is cancelled now still has to know what it made.
            tasks = {**noted(desk.checkpoint), wish.name: (wish.kind.path, _task_id(reply))}
            desk.note({"provider": PROVIDER, "tasks": {name: list(task) for name, task in tasks.items()}})

        try:
            reply = await self._upstream.request(
                "POST",
                wish.kind.path,
                body=body,
                paid=True,
                arrived=arrived,
                queue_full=lambda text: _FULL.lower() in text.lower(),
                tell=lambda text: desk.report(stage, begin, text),
            )
        except Refusal as refusal:
            raise _refused(wish.kind, refusal) from refusal
        return _task_id(reply)

    async def _poll(self, wish: Wish, task_id: str, desk: Desk) -> Mapping[str, Any]:
        """Ask until the task has ended, and pass on what it says word for word."""
        now = asyncio.get_running_loop().time
        end = now() + self._settings.wait_seconds
        label, stage = wish.label or wish.kind.label, wish.kind.stage
        begin, width = wish.share[0], wish.share[1] - wish.share[0]
        done, unknown = begin, 0
        while True:
            pause = self._settings.poll_seconds
            try:
                reply = await self._upstream.request(
                    "GET",
                    f"{wish.kind.path}/{task_id}",
                    tell=lambda text, done=done: desk.report(stage, done, text),  # type: ignore[misc]
                )
            except Refusal as refusal:
                unknown += 1
                if refusal.status != 404 or unknown >= _MOST_UNKNOWN:
                    raise Internal(
                        f"Meshy does not know the task any more ({refusal})", reason="PROCESSING_FAILED"
                    ) from refusal
            else:
                answer = _object(reply)
                status, percent = str(answer.get("status", ""))[:64], _percent(answer.get("progress"))
                word = status.upper()
                percent = 100 if word == "SUCCEEDED" else percent
                # The whole is done when the files are here.
                done = begin + width * min(percent, 99) / 100
                desk.report(stage, done, f"{label}: {status} ({percent}%)", upstream_status=status)
                if word == "SUCCEEDED":
                    return answer
                self._raise_if_ended(wish.kind, word, answer)
                pause = max(pause, retry_after(reply.headers) or 0.0)
            if now() + pause > end:
                raise DeadlineExceeded(f"Meshy did not finish in {self._settings.wait_seconds:g} s")
            await asyncio.sleep(pause)

    def _raise_if_ended(self, kind: Kind, word: str, answer: Mapping[str, Any]) -> None:
        if word == "FAILED":
            raise self._failed(kind, answer.get("task_error"))
        if word in _ENDED_BADLY:
            raise Internal(f"the task ended at Meshy: {word}", reason="PROCESSING_FAILED")

    def _failed(self, kind: Kind, told: Any) -> MaquetteError:
        error = told if isinstance(told, dict) else {}
        words = {str(error.get(name, "")).lower() for name in ("type", "code")} - {""}
        text = self._upstream.clean(str(error.get("message") or "")) or "the task failed at Meshy"
        if error.get("code"):
            text = f"{text} ({self._upstream.clean(str(error['code']))})"
        if words & _INPUT_IS_BAD:
            return InvalidArgument(text, reason=kind.bad_input)
        if kind is RIGGING and not words & _OWN_FAULT:
            return InvalidArgument(text, reason=kind.bad_input)
        return Internal(text, reason="PROCESSING_FAILED")

    async def discard(self, checkpoint: Mapping[str, Any]) -> None:
        """Delete what a run made."""
        for name, (path, task_id) in noted(checkpoint).items():
            try:
                await self._upstream.request("DELETE", f"{path}/{task_id}")
                _log.info("a task at Meshy was given up", name=name)
            except Refusal as refusal:
                # It had ended, or was deleted before.
                _log.info("a task at Meshy could not be given up", name=name, status=refusal.status)
            except MaquetteError as error:
                _log.warning("a task at Meshy may go on", name=name, why=error.message)

    async def finish_either(self, first: Wish, other: Wish, desk: Desk) -> Finished:
        """Finish ``first``, or ``other`` where Meshy no longer knows what the first one builds upon."""
        try:
            return await self.finish(first, desk)
        except InvalidArgument as error:
            if error.metadata.get("http") not in ("400", "404"):
                raise
            return await self.finish(other, desk)

    # -- files

    async def files(
        self, wish: Wish, task: Finished, wanted: Mapping[str, Sequence[str]], desk: Desk
    ) -> dict[str, Path]:
        """Download files of a finished task; those it does not have are left out.

        ``wanted`` maps a file's name to the places in the answer where its URL may stand ("a.b"). URLs
        expire: then the task is asked for fresh ones.
        """
        answer = task.answer
        found: dict[str, Path] = {}
        for renewal in range(_MOST_RENEWALS + 1):
            try:
                for name, places in wanted.items():
                    url = _first_url(answer, places)
                    if name not in found and url:
                        await self._upstream.download(url, desk.folder / name)
                        found[name] = desk.folder / name
                return found
            except Gone as gone:
                if renewal == _MOST_RENEWALS:
                    raise Internal(
                        f"a file of Meshy's is not to be had ({gone})", reason="PROCESSING_FAILED"
                    ) from gone
                answer = await self._poll(wish, task.id, desk)
        return found

    async def data_uri(self, path: Path, media_type: str) -> str:
        """Return a file as a `data:` URI. Raises InvalidArgument (FILE_TOO_LARGE).

        Meshy takes a URL or the bytes; a server of our kind rarely has a URL that Meshy could open.
        """
        most = self._settings.max_upload_mib
        if path.stat().st_size > most << 20:
            raise InvalidArgument(
                f"The file is larger than the {most} MiB that are sent to Meshy.", reason="FILE_TOO_LARGE"
            )
        data = await asyncio.to_thread(lambda: base64.b64encode(path.read_bytes()).decode())
        return f"data:{media_type};base64,{data}"


def noted(checkpoint: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the tasks a checkpoint names: name to path and id."""
    tasks = checkpoint.get("tasks") if checkpoint.get("provider") == PROVIDER else None
    return {str(name): (str(path), str(task)) for name, (path, task) in (tasks or {}).items()}


def upstream_of(file: InputFile) -> str:
    """Return the id of the Meshy task that made a file; empty when none did."""
    told = file.meta.get("upstream")
    if isinstance(told, dict) and told.get("provider") == PROVIDER:
        return str(told.get("task_id") or "")
    return ""


def origin(task: Finished) -> dict[str, Any]:
    """Return what a file's meta tells of the task that made it; read by :func:`upstream_of`."""
    return {"provider": PROVIDER, "task_id": task.id}


def _task_id(reply: Reply) -> str:
    answer = _object(reply)
    for name in ("result", "task_id", "id"):
        found = answer.get(name)
        # It becomes part of a path.
        if isinstance(found, str) and found and found.replace("-", "").replace("_", "").isalnum():
            return found[:128]
    raise Internal("Meshy's answer names no task", reason="PROCESSING_FAILED")


def _object(reply: Reply) -> Mapping[str, Any]:
    answer = reply.json()
    if not isinstance(answer, dict):
        raise Internal("Meshy's answer is no object", reason="PROCESSING_FAILED")
    return answer


def _percent(value: Any) -> int:
    return max(0, min(100, int(value))) if isinstance(value, int | float) and value == value else 0


def _first_url(answer: Mapping[str, Any], places: Sequence[str]) -> str:
    for place in places:
        value: Any = answer
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            return value
    return ""


def _refused(kind: Kind, refusal: Refusal) -> MaquetteError:
    if refusal.status == 422:
        return InvalidArgument(refusal.text or "Meshy cannot use the model", reason=kind.bad_input)
    if refusal.status == 413:
        return InvalidArgument("the file is too large for Meshy", reason="FILE_TOO_LARGE")
    if refusal.status in (400, 404):
        return InvalidArgument(
            f"Meshy refuses the task: {refusal.text or refusal}",
            reason=kind.bad_input,
            metadata={"http": str(refusal.status)},
        )
    return Internal(f"Meshy refuses the task ({refusal})", reason="PROCESSING_FAILED")
