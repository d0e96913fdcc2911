"""A fake of Meshy that refuses what Meshy refuses.

In mode "real" it answers as the vendor's pages have it, in mode "document" as the document of the polling
flow shows it: other places for URLs, and PENDING with a rising number.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from maquette.geometry.codecs import encode
from maquette.geometry.codecs.gltf_clips import write_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import read_rig
from maquette.geometry.rig import Clip
from services.animation.motion.figure import FIGURE
from tests.support.characters import MOST, splinters
from tests.support.figures import humanoid
from tests.support.provider import Answer, Call, FakeProvider

KEY = "msy_" + "k3y0f4test" * 3
IMAGE, RETEXTURE = "/openapi/v1/image-to-3d", "/openapi/v1/retexture"
RIGGING, ANIMATIONS = "/openapi/v1/rigging", "/openapi/v1/animations"
_TYPES = {IMAGE: "image-to-3d", RETEXTURE: "retexture", RIGGING: "rig", ANIMATIONS: "animate"}
_FIELDS = {
    IMAGE: "image_url input_task_id model_type ai_model should_texture enable_pbr hd_texture texture_prompt "
    "texture_image_url should_remesh topology target_polycount decimation_mode save_pre_remeshed_model "
    "pose_mode image_enhancement remove_lighting moderation target_formats auto_size origin_at "
    "alpha_thumbnail multi_view_thumbnails",
    RETEXTURE: "model_url input_task_id text_style_prompt image_style_url ai_model enable_original_uv "
    "enable_pbr hd_texture remove_lighting target_formats alpha_thumbnail",
    RIGGING: "model_url input_task_id height_meters texture_image_url",
    ANIMATIONS: "rig_task_id action_id post_process",
}
_GAPS = {332, 373, 374, 380, 383, 400, 418, 423, 424, 443, 454, 469, 600, 602, 603, 614, 633, 634, 655}
_MAX_BODY = 100 << 20
FBX = b"Kaydara FBX Binary  \x00\x1a\x00" + b"\0" * 64

Mode = Literal["document", "real"]
Step = tuple[str, int]
REAL: Sequence[Step] = (("PENDING", 0), ("IN_PROGRESS", 15), ("IN_PROGRESS", 89), ("SUCCEEDED", 100))
DOCUMENT: Sequence[Step] = (("PENDING", 0), ("PENDING", 15), ("PENDING", 89), ("SUCCEEDED", 100))


class _No(Exception):
    """Meshy refuses."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Task:
    """One task of the account."""

    id: str
    path: str
    body: dict[str, Any]
    steps: list[Step]
    error: dict[str, Any] = field(default_factory=lambda: {"message": ""})
    status: str = "PENDING"
    progress: int = 0
    deleted: bool = False
    renewals: int = 0

    @property
    def open(self) -> bool:
        return not self.deleted and self.status in ("PENDING", "IN_PROGRESS")


class FakeMeshy(FakeProvider):
    """Meshy's API for one account."""

    def __init__(self, mode: Mode = "real") -> None:
        super().__init__()
        self.mode = mode
        self.tasks: dict[str, Task] = {}
        self.steps: dict[str, Sequence[Step]] = {}
        """Script of the next tasks of a path, where it is not the usual one."""
        self.errors: dict[str, dict[str, Any]] = {}
        """What tasks of a path fail with."""
        self.credits = 1000
        self.most_open = 10
        self.closed = False
        """Takes no new task for the moment."""
        self.retry_after = ""
        """Of polls that find a task open."""
        self.expired = 0
        """So many next downloads find their URL expired."""
        self.redirect = ""
        """Where downloads are sent instead."""

    def made(self, path: str) -> list[Task]:
        """Return the tasks that were made of a path."""
        with self.lock:
            return [task for task in self.tasks.values() if task.path == path]

    def answer(self, call: Call) -> Answer:
        if call.path.startswith("/files/"):
            return self._file(call)
        if call.headers.get("authorization") != f"Bearer {KEY}":
            return Answer(401, {"message": "Invalid API key"})
        path = call.path.partition("?")[0]
        try:
            if call.method == "POST" and path in _TYPES:
                return self._create(path, call.body)
            base, _, task_id = path.rpartition("/")
            task = self.tasks.get(task_id)
            if task is None or task.path != base or task.deleted:
                raise _No(404, "Task not found")
            if call.method == "DELETE":
                task.deleted = True
                return Answer(200)
            return self._poll(task)
        except _No as no:
            return Answer(no.status, {"message": str(no)})

    # -- making tasks

    def _create(self, path: str, raw: bytes) -> Answer:
        if len(raw) > _MAX_BODY:
            raise _No(413, "Request entity too large")
        try:
            body = json.loads(raw)
        except ValueError:
            raise _No(400, "Invalid JSON") from None
        unknown = set(body) - set(_FIELDS[path].split())
        if unknown:
            raise _No(400, f"unknown field {sorted(unknown)[0]}")
        _CHECKS[path](self, body)
        if self.closed:
            raise _No(429, "RateLimitExceeded")
        if self.credits <= 0:
            raise _No(402, "Insufficient credits")
        if sum(task.open for task in self.tasks.values()) >= self.most_open:
            raise _No(429, "NoMoreConcurrentTasks")
        steps = self.steps.get(path, REAL if self.mode == "real" else DOCUMENT)
        task = Task(str(uuid.uuid4()), path, body, list(steps))
        task.error = self.errors.get(path, task.error)
        self.tasks[task.id] = task
        self.credits -= 1
        return Answer(202, {"result": task.id})

    def _check_image(self, body: dict[str, Any]) -> None:
        if "input_task_id" not in body:
            _picture(body.get("image_url"), "image_url")
        if not 100 <= body.get("target_polycount", 30_000) <= 300_000:
            raise _No(400, "target_polycount out of range")
        if body.get("topology", "triangle") not in ("quad", "triangle"):
            raise _No(400, "topology invalid")
        if body.get("pose_mode", "") not in ("", "a-pose", "t-pose"):
            raise _No(400, "pose_mode invalid")

    def _check_retexture(self, body: dict[str, Any]) -> None:
        if not body.get("text_style_prompt") and not body.get("image_style_url"):
            raise _No(400, "text_style_prompt or image_style_url is required")
        if "image_style_url" in body:
            _picture(body["image_style_url"], "image_style_url")
        if not self._known_model(body):
            _glb(body.get("model_url"))

    def _check_rigging(self, body: dict[str, Any]) -> None:
        if not self._known_model(body) and _faces(_glb(body.get("model_url"))) > 300_000:
            raise _No(400, "too many faces")
        if not 0 < body.get("height_meters", 1.7) <= 100:
            raise _No(400, "height_meters invalid")

    def _known_model(self, body: dict[str, Any]) -> bool:
        if "input_task_id" not in body:
            return False
        task = self.tasks.get(body["input_task_id"])
        if task is None or task.deleted or task.path not in (IMAGE, RETEXTURE):
            raise _No(404, "input task not found")
        if task.status != "SUCCEEDED":
            raise _No(400, "input task has not succeeded")
        return True

    def _check_animation(self, body: dict[str, Any]) -> None:
        if not isinstance(body.get("rig_task_id"), str):
            raise _No(400, "rig_task_id is required")
        rig = self.tasks.get(body["rig_task_id"])
        if rig is None or rig.deleted or rig.path != RIGGING or rig.status != "SUCCEEDED":
            raise _No(404, "rig task not found")
        action = body.get("action_id")
        if type(action) is not int or not 0 <= action <= 696 or action in _GAPS:
            raise _No(400, "action_id invalid")
        process = body.get("post_process")
        if process is not None:
            if process.get("operation_type") not in ("change_fps", "fbx2usdz", "extract_armature"):
                raise _No(400, "operation_type invalid")
            if process.get("fps", 30) not in (24, 25, 30, 60):
                raise _No(400, "fps must be one of 24, 25, 30, 60")

    # -- looking at them

    def _poll(self, task: Task) -> Answer:
        if task.steps:
            task.status, task.progress = task.steps.pop(0)
            if task.status == "FAILED":
                self.credits += 1
        answer: dict[str, Any] = {"status": task.status, "progress": task.progress}
        if self.mode == "document":
            answer["task_id"] = task.id
        else:
            answer |= {"id": task.id, "type": _TYPES[task.path], "preceding_tasks": 0}
            answer |= {"created_at": 1, "started_at": 1, "finished_at": 0, "expires_at": 0}
        if self.mode == "real" or task.status == "FAILED":
            answer["task_error"] = task.error if task.status == "FAILED" else {"message": ""}
        if task.status == "SUCCEEDED":
            task.renewals += 1
            answer |= self._outputs(task)
        headers = {"Retry-After": self.retry_after} if self.retry_after and task.open else {}
        return Answer(200, answer, headers)

    def _outputs(self, task: Task) -> dict[str, Any]:
        url = partial(self._url, task)
        if task.path in (IMAGE, RETEXTURE):
            if self.mode == "document":
                return {"result": {"model_url": url("model.glb")}}
            urls = {kind: url(f"model.{kind}") for kind in ("glb", "fbx", "obj", "usdz")}
            return {"model_urls": urls, "thumbnail_url": url("preview.png"), "texture_urls": []}
        if task.path == RIGGING:
            result = {
                "rigged_character_fbx_url": url("rigged.fbx"),
                "rigged_character_glb_url": url("rigged.glb"),
            }
            if self.mode == "real":
                result["basic_animations"] = {"walking_glb_url": url("walking.glb")}  # type: ignore[assignment]
            return {"result": result}
        result = {"animation_glb_url": url("animation.glb"), "animation_fbx_url": url("animation.fbx")}
        if task.body.get("post_process", {}).get("operation_type") == "change_fps" and self.mode == "real":
            result["processed_animation_fps_fbx_url"] = url("rated.fbx")
        return {"result": result}

    def _url(self, task: Task, name: str) -> str:
        return f"{self.url}/files/{task.id}/{task.renewals}/{name}?Expires=1&Signature=s1gn4ture"

    def _file(self, call: Call) -> Answer:
        if "authorization" in call.headers:
            return Answer(400, {"message": "only one auth mechanism allowed"})
        if self.redirect:
            return Answer(302, headers={"Location": self.redirect})
        if self.expired:
            self.expired -= 1
            return Answer(
                403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            )
        _, _, task_id, _, name = call.path.partition("?")[0].split("/")
        task = self.tasks.get(task_id)
        if task is None or task.deleted:
            return Answer(404)
        data = FBX if name.endswith(".fbx") else _glb_of(task.path)
        return Answer(200, data, {"Content-Type": "application/octet-stream"})


_CHECKS = {
    IMAGE: FakeMeshy._check_image,
    RETEXTURE: FakeMeshy._check_retexture,
    RIGGING: FakeMeshy._check_rigging,
    ANIMATIONS: FakeMeshy._check_animation,
}


def _data(value: Any, name: str) -> tuple[str, bytes]:
    if not isinstance(value, str) or not value:
        raise _No(400, f"{name} is required")
    head, comma, body = value.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise _No(400, f"{name} is no URL and no data URI")
    try:
        return head[5:-7], base64.b64decode(body, validate=True)
    except binascii.Error:
        raise _No(400, f"{name} is no base64") from None


def _picture(value: Any, name: str) -> None:
    kind, data = _data(value, name)
    magic = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}.get(kind)
    if magic is None or not data.startswith(magic):
        raise _No(400, f"{name} must be .jpg, .jpeg or .png")


def _glb(value: Any) -> bytes:
    kind, data = _data(value, "model_url")
    if kind != "application/octet-stream" or data[:4] != b"glTF":
        raise _No(400, "Invalid model file, only .glb is supported")
    return data


def _faces(glb: bytes) -> int:
    (length,) = struct.unpack_from("<I", glb, 12)
    document = json.loads(glb[20 : 20 + length])
    accessors = document["accessors"]
    return sum(
        int(accessors[primitive["indices"]]["count"]) // 3
        for mesh in document["meshes"]
        for primitive in mesh["primitives"]
    )


@cache
def _glb_of(path: str) -> bytes:
    if path in (IMAGE, RETEXTURE):
        return encode(humanoid(), "glb")[0].data
    rigged = splinters(FIGURE)
    return rigged if path == RIGGING else animated(rigged, 30.0)


def animated(rigged: bytes, fps: float, seconds: float = 1.0) -> bytes:
    """Return a rigged character with a clip that turns its hips once."""
    document = GltfDocument(rigged, MOST)
    rig = read_rig(document)
    assert rig is not None
    times = np.arange(round(seconds * fps) + 1) / fps
    rotations = np.zeros((len(times), len(rig.skeleton.names), 4))
    rotations[..., 3] = 1.0
    half = np.pi * times / seconds
    rotations[:, 0] = np.stack([0 * half, np.sin(half), 0 * half, np.cos(half)], axis=1)
    write_clips(document, rig, [Clip("Armature|clip0|baselayer", times, rotations, {})])
    return document.encode()
