"""The REST API as the command line uses it: upload, submit, follow, download."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from maquette.cli import motions
from maquette.cli.motions import Animation

_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
# Signs of life come more often than this on an event stream.
_STREAM_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0
_TERMINAL = frozenset({"succeeded", "failed", "cancelled", "deleted"})

OnProgress = Callable[["Progress"], None]


class ClientError(Exception):
    """The server cannot be reached, or said no; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a job stands. ``fraction`` is 0–1, ``eta`` seconds or None."""

    stage: str
    message: str
    fraction: float
    eta: float | None


@dataclass(frozen=True, slots=True)
class Generation:
    """What to make of a picture, or of several of one thing.

    ``views`` tells where each picture was taken from; empty leaves that to be guessed.
    """

    output_format: str = "glb"
    raw: bool = False
    texture_resolution: int | None = None
    model: str | None = None
    quality: str | None = None
    seed: int | None = None
    views: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Route of the request."""
        return f"/api/v1/mesh-generation/image-to-{'raw' if self.raw else 'textured'}-mesh"

    def body(self, *file_ids: str) -> dict[str, Any]:
        """Return the request's JSON, without what was left open."""
        fields = {
            "image_file_id": file_ids[0] if len(file_ids) == 1 else None,
            "image_file_ids": list(file_ids) if len(file_ids) > 1 else None,
            "views": list(self.views) or None,
            "output_format": self.output_format,
            "texture_resolution": None if self.raw else self.texture_resolution,
            "model_preference": self.model,
            "quality": self.quality,
            "seed": self.seed,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Rigging:
    """How to rig a mesh."""

    output_format: str = "glb"
    mode: str = "full"
    character_type: str | None = None
    bone_count: int | None = None
    model: str | None = None

    path = "/api/v1/auto-rigging/generate-rig"

    def body(self, file_id: str) -> dict[str, Any]:
        """Return the request's JSON, without what was left open."""
        fields = {
            "mesh_file_id": file_id,
            "output_format": self.output_format,
            "rig_mode": self.mode,
            "character_type": self.character_type,
            "bone_count": self.bone_count,
            "model_preference": self.model,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(slots=True)
class Result:
    """A finished job and the files saved from it, by role."""

    job: dict[str, Any]
    saved: list[tuple[str, Path]] = field(default_factory=list)

    @property
    def info(self) -> dict[str, Any]:
        """What was measured on the files."""
        info: dict[str, Any] = (self.job.get("result") or {}).get("generation_info") or {}
        return info


class Client:
    """One running mesh, by its public address. Every method raises ClientError."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # The address is ours or the user's own: no proxy of the environment comes between.
        self._http = httpx.Client(base_url=self._url, timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def generate(self, pictures: Path | Sequence[Path], what: Generation, told: OnProgress) -> Result:
        """Upload a picture, or several of one thing, submit the job and follow it to its end."""
        file_ids = []
        for picture in [pictures] if isinstance(pictures, Path) else pictures:
            told(Progress("upload", f"sending {picture.name}", 0.0, None))
            file_ids.append(self.upload(picture))
        return self._make(what.path, what.body(*file_ids), told)

    def rig(self, mesh: Path, what: Rigging, told: OnProgress) -> Result:
        """Upload a mesh, submit the job and follow it to its end."""
        told(Progress("upload", f"sending {mesh.name}", 0.0, None))
        return self._make(what.path, what.body(self.upload(mesh, "mesh")), told)

    def animate(self, character: Path, what: Animation, told: OnProgress) -> Result:
        """Upload a rigged character, and a clip of one's own, submit the job and follow it to its end."""
        ids, names = motions.chosen(what.motions, self.library)
        told(Progress("upload", f"sending {character.name}", 0.0, None))
        model = self.upload(character, "mesh")
        clip = self.upload(what.clip, "mesh") if what.clip is not None else None
        return self._make(motions.PATH, what.body(model, clip, ids, names), told)

    def library(self, search: str = "", **wanted: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Return what a search of the motion library finds: motions, and names of those without an id."""
        found: list[dict[str, Any]] = []
        query = {"search": search, "page_size": "1000", **wanted}
        while True:
            page = self._json(self._request("GET", motions.PATH, params=query))
            found += page["animations"]
            if not page["next_page_token"]:
                return found, page["names_without_id"]
            query["page_token"] = page["next_page_token"]

    def _make(self, path: str, body: dict[str, Any], told: OnProgress) -> Result:
        """Submit a job and follow it to its end."""
        job_id = self._json(self._request("POST", path, json=body))["job_id"]
        self.follow(job_id, told)
        job = self.job(job_id)
        if job["status"] != "completed":
            raise ClientError(f"The job failed: {job.get('error') or 'no reason was given'}")
        return Result(job)

    def upload(self, path: Path, kind: str = "image") -> str:
        """Send a picture, or a file of ``kind`` "mesh"; return its file id."""
        try:
            with path.open("rb") as file:
                media_type = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
                answer = self._request(
                    "POST", f"/api/v1/file-upload/{kind}", files={"file": (path.name, file, media_type)}
                )
        except OSError as error:
            raise ClientError(f"Cannot read {path}: {error.strerror}") from error
        return str(self._json(answer)["file_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return how a job stands."""
        return self._json(self._request("GET", f"/api/v1/system/jobs/{job_id}"))

    def health(self) -> dict[str, Any]:
        """Return the gateway's word on itself."""
        return self._json(self._request("GET", "/health"))

    def scheduler(self) -> dict[str, Any]:
        """Return what waits, what runs, and where."""
        return self._json(self._request("GET", "/api/v1/system/scheduler-status"))

    def follow(self, job_id: str, told: OnProgress) -> None:
        """Return when the job has ended; a stream that breaks is taken up where it ended."""
        last_id, lost_since = "", None
        while True:
            try:
                for identifier, event in self._events(job_id, last_id):
                    last_id, lost_since = identifier or last_id, None
                    told(_progress(event))
                    if event["state"] in _TERMINAL:
                        return
            except httpx.TransportError as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > _PATIENCE_SECONDS:
                    raise ClientError(f"Lost the connection to {self._url}: {error}") from error
            time.sleep(0.2)

    def _events(self, job_id: str, last_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        timeout = httpx.Timeout(_STREAM_SECONDS, connect=5.0)
        with self._http.stream("GET", f"/v1/events/{job_id}", headers=headers, timeout=timeout) as answer:
            if answer.status_code in (502, 503, 504):
                raise httpx.ConnectError(f"status {answer.status_code}")
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            yield from parse_events(answer.iter_lines())

    def get(self, path: str) -> dict[str, Any]:
        """Return what a route answers."""
        return self._json(self._request("GET", path))

    def send_picture(self, path: str, picture: Path, fields: Mapping[str, str]) -> dict[str, Any]:
        """Post a picture with the fields of a form; return the answer."""
        try:
            with picture.open("rb") as file:
                media_type = _MEDIA_TYPES.get(picture.suffix.lower(), "application/octet-stream")
                form = {"file": (picture.name, file, media_type)}
                return self._json(self._request("POST", path, files=form, data=dict(fields)))
        except OSError as error:
            raise ClientError(f"Cannot read {picture}: {error.strerror}") from error

    def download(self, job_id: str, to: Path, *, role: str = "mesh", ordinal: int = 0) -> None:
        """Save a file of the result; it appears under its name whole or not at all."""
        path = f"/api/v1/system/jobs/{job_id}/download"
        self.fetch(str(httpx.URL(path, params={"role": role, "ordinal": ordinal})), to)

    def fetch(self, link: str, to: Path) -> None:
        """Save what a link or a path leads to; it appears under its name whole or not at all."""
        draft = to.with_name(f".{to.name}.part")
        try:
            self._fetch(link, draft)
            draft.replace(to)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        except OSError as error:
            raise ClientError(f"Cannot write {to}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _fetch(self, link: str, to: Path) -> None:
        with self._http.stream("GET", link) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            with to.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise _refusal(answer)
        return answer

    def _unreachable(self, error: httpx.TransportError) -> ClientError:
        if isinstance(error, httpx.ConnectError):
            return ClientError(f"Maquette is not running on {self._url}; start it with: maquette up")
        return ClientError(f"Lost the connection to {self._url}: {error}")

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        document: dict[str, Any] = answer.json()
        return document


def parse_events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read server-sent events (https://html.spec.whatwg.org/#parsing-an-event-stream): id and JSON data."""
    identifier, data = "", []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            identifier = value
        elif name == "data":
            data.append(value)
        elif not line and data:
            yield identifier, json.loads("\n".join(data))
            data = []


def _progress(event: dict[str, Any]) -> Progress:
    return Progress(
        stage=event.get("stage") or event["state"],
        message=event.get("message") or "",
        fraction=float(event.get("progress") or 0.0),
        eta=event.get("eta_seconds"),
    )


def _refusal(answer: httpx.Response) -> ClientError:
    """Say what the server said, in its own words where it has any."""
    try:
        document = answer.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    words = [str(document[name]) for name in ("message", "detail") if document.get(name)]
    text = ": ".join(dict.fromkeys(words)) or answer.reason_phrase
    return ClientError(f"The server refused ({answer.status_code}): {text}")
