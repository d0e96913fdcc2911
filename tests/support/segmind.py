"""A fake of Segmind's Hunyuan3D 2.1: one request, three shapes of answers."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Literal

from maquette.geometry.codecs import encode
from tests.support.figures import humanoid
from tests.support.provider import Answer, Call, FakeProvider

KEY = "SG_" + "0123456789abcdef"
PATH = "/v1/hunyuan3d-2.1"
_FIELDS = {
    "seed": (0, 2**63),
    "steps": (1, 100),
    "num_chunks": (1, 20_000),
    "max_facenum": (100, 200_000),
    "guidance_scale": (0.1, 20.0),
    "octree_resolution": (64, 512),
    "texture_resolution": (512, 4096),
}
_FLAGS = {"generate_texture", "remove_background", "bake_normals", "bake_ao"}

Shape = Literal["bytes", "url", "download_url", "output.url", "data.url", "error", "nonsense"]


class FakeSegmind(FakeProvider):
    """Segmind's API for one account."""

    def __init__(self, shape: Shape = "bytes") -> None:
        super().__init__()
        self.shape = shape
        self.forms: list[dict[str, str]] = []
        self.link = ""
        """The URL that answers name, where it is not our own."""

    def answer(self, call: Call) -> Answer:
        if call.path.startswith("/files/"):
            if "x-api-key" in call.headers:
                return Answer(400, {"error": "the key has no business here"})
            return Answer(200, encode(humanoid(), "glb")[0].data)
        if call.headers.get("x-api-key") != KEY:
            return Answer(401, {"error": "Invalid API Key"})
        if call.method != "POST" or call.path != PATH:
            return Answer(404, {"error": "no such model"})
        wrong = self._wrong(call)
        if wrong:
            return Answer(400, {"error": wrong})
        return self._good()

    def _good(self) -> Answer:
        if self.shape == "bytes":
            glb = encode(humanoid(), "glb")[0].data
            return Answer(200, glb, {"Content-Type": "model/gltf-binary", "X-remaining-credits": "7"})
        if self.shape == "error":
            return Answer(200, {"error": "Prediction failed"})
        if self.shape == "nonsense":
            return Answer(200, b"<html>busy</html>")
        link = self.link or f"{self.url}/files/model.glb?Signature=s1gn4ture"
        outer, _, inner = self.shape.partition(".")
        return Answer(200, {outer: {inner: link} if inner else link})

    def _wrong(self, call: Call) -> str:
        head = f"Content-Type: {call.headers.get('content-type', '')}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + call.body)
        parts = {
            str(part.get_param("name", header="content-disposition")): part for part in message.iter_parts()
        }
        picture = parts.pop("image", None)
        if picture is None or not _is_picture(picture):
            return "image is required"
        form = {name: str(part.get_content()).strip() for name, part in parts.items()}
        for name, value in form.items():
            if name in _FLAGS:
                if value not in ("true", "false"):
                    return f"{name} is no boolean"
            elif name not in _FIELDS:
                return f"unknown field {name}"
            elif not _FIELDS[name][0] <= float(value) <= _FIELDS[name][1]:
                return f"{name} out of range"
        self.forms.append(form)
        return ""


def _is_picture(part: Message) -> bool:
    data = part.get_payload(decode=True)
    return isinstance(data, bytes) and data.startswith((b"\x89PNG", b"\xff\xd8\xff"))
