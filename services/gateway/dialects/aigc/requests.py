"""Turn a parsed body into a checked request. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from maquette.runtime.errors import InvalidArgument, Unavailable, error_for
from maquette.runtime.rpc.bounds import validate
from services.gateway.dialects.aigc.words import MESH_FORMATS, QUALITIES, VIEWS, Feature

_JSON_TYPES: Mapping[int, tuple[type, str]] = {
    FieldDescriptor.TYPE_STRING: (str, "a string"),
    FieldDescriptor.TYPE_INT32: (int, "an integer"),
    FieldDescriptor.TYPE_INT64: (int, "an integer"),
    FieldDescriptor.TYPE_BOOL: (bool, "true or false"),
}
_DEGREES = re.compile(r"[+-]?\d{1,3}(\.\d{1,3})?")
_MAX_ID = 128


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where the pictures come from: one of the three, the others empty."""

    path: str = ""
    file_ids: tuple[str, ...] = ()
    """Uploads; more than one only where a thing is shown from several sides."""
    inline: bool = False


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request to make a mesh of one picture, or of several of one thing."""

    feature: Feature
    source: ImageSource
    output_format: str
    model_preference: str
    deny_fallback: bool
    quality: str
    seed: int
    texture_resolution: int
    """0 for the raw feature."""
    views: tuple[str, ...]
    """Where each picture was taken from; empty where that is to be guessed."""
    given: Mapping[str, Any]
    """The fields the client gave, without bytes."""

    def digest(self, route: str, inline_digest: str) -> str:
        """Return what makes two requests the same: route, fields, and the bytes sent along."""
        words = orjson.dumps(self.given, option=orjson.OPT_SORT_KEYS)
        parts = (route.encode(), words, inline_digest.encode())
        return hashlib.sha256(b"\x00".join(parts)).hexdigest()


def read_fields(values: Mapping[str, Any], message: Message) -> None:
    """Fill a message from JSON values, and check its bounds.

    Unknown names are passed over, as the dialect's other servers do; null leaves a field unset.
    Raises `InvalidArgument` for a value of another JSON type.
    """
    for field in message.DESCRIPTOR.fields:
        value = values.get(field.name)
        if value is None:
            continue
        if field.is_repeated:
            getattr(message, field.name).extend(_strings(field.name, value))
            continue
        kind, words = _JSON_TYPES[field.type]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            _refuse(f"{field.name} must be {words}.")
        try:
            setattr(message, field.name, value)
        except ValueError as error:
            # Out of the integer's range, or half a surrogate pair.
            raise InvalidArgument(f"{field.name} has a value that cannot be used.") from error
    validate(message)


def read_image_request(
    values: Mapping[str, Any], message: Message, feature: Feature, inline: Collection[str]
) -> ImageRequest:
    """Check a body against its message. ``inline`` names the file members that held bytes.

    Raises `InvalidArgument` (INVALID_VALUE) with the one thing that is wrong.
    """
    read_fields(values, message)
    given: dict[str, Any] = {
        field.name: list(value) if field.is_repeated else value for field, value in message.ListFields()
    }
    for name in ("texture_image_path", "texture_image_base64", "texture_image_file_id"):
        if name in inline or name in given:
            _refuse(f"{name} is not supported: no engine takes a second picture.")
    source = _source(given, inline)
    return ImageRequest(
        feature=feature,
        source=source,
        output_format=one_of("output_format", given.get("output_format", "glb"), MESH_FORMATS),
        model_preference=given.get("model_preference", ""),
        deny_fallback=one_of("fallback", given.get("fallback", "allow"), ("allow", "deny")) == "deny",
        quality=one_of("quality", given.get("quality", "medium"), QUALITIES),
        seed=given.get("seed", 0),
        texture_resolution=_texture_resolution(message, given),
        views=_views(given.get("views", ()), max(len(source.file_ids), 1)),
        given=given,
    )


class ModelWish(Protocol):
    """What a request says of the model that shall run."""

    @property
    def feature(self) -> Feature:
        """What shall be done."""

    @property
    def model_preference(self) -> str:
        """The model asked for; empty for any."""

    @property
    def deny_fallback(self) -> bool:
        """No other model shall run."""


def check_model(request: ModelWish, live: Collection[str]) -> None:
    """Check the model asked for against the engines of live nodes.

    Raises `InvalidArgument` for a model that this feature never had, MODEL_NOT_AVAILABLE for one
    that is on no node while fallback is denied, and `Unavailable` while no node can be asked.
    """
    wanted = request.model_preference
    if wanted and wanted not in live and wanted not in request.feature.models:
        if not live:
            # Right after a restart no node has told its models yet: nobody knows whether this is one.
            raise Unavailable("No node is there to be asked for its models; try again in a moment.")
        known = ", ".join(dict.fromkeys((*live, *request.feature.models)))
        _refuse(f"model_preference {wanted[:64]!r} is not a model of {request.feature.name}; known: {known}.")
    if request.deny_fallback and wanted not in live and (wanted or not live):
        raise error_for(
            "MODEL_NOT_AVAILABLE",
            f"The model {wanted or 'of any kind'} is on no node, and fallback is denied.",
        )


def _texture_resolution(message: Message, given: Mapping[str, Any]) -> int:
    if "texture_resolution" not in message.DESCRIPTOR.fields_by_name:
        return 0
    return int(given.get("texture_resolution", 1024))


def _source(given: Mapping[str, Any], inline: Collection[str]) -> ImageSource:
    names = ("image_path", "image_base64", "image_file_id", "image_file_ids")
    used = [name for name in names if given.get(name) or name in inline]
    if len(used) != 1:
        _refuse(f"Exactly one of {', '.join(names)} is needed; {len(used)} were given.")
    return ImageSource(
        path=given.get("image_path", ""),
        file_ids=tuple(given.get("image_file_ids") or [given["image_file_id"]])
        if used[0].startswith("image_file_id")
        else (),
        inline="image_base64" in inline,
    )


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _refuse(f"{name} must be a list of strings.")
    if any(not item or len(item) > _MAX_ID for item in value):
        _refuse(f"Each of {name} has one to {_MAX_ID} characters.")
    return list(value)


def _views(given: Sequence[str], pictures: int) -> tuple[str, ...]:
    if not given:
        return ()
    if len(given) != pictures:
        _refuse(f"views must name each picture: {pictures} pictures, {len(given)} views.")
    for view in given:
        if not (view in VIEWS or (_DEGREES.fullmatch(view) and abs(float(view)) <= 360)):
            known = ", ".join(VIEWS)
            _refuse(f"views takes {known}, or degrees to the right of the front, not {view[:32]!r}.")
    if len(set(given)) < len(given):
        _refuse("views names the same place twice.")
    return tuple(given)


def one_of(name: str, value: str, allowed: Collection[str]) -> str:
    """Return a value that is one of those allowed. Raises `InvalidArgument`."""
    if value not in allowed:
        _refuse(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _refuse(message: str) -> NoReturn:
    raise InvalidArgument(message)
