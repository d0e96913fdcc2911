"""The one way a message becomes JSON.

Proto field names, every field always; an unset optional field or message is null; 64-bit integers
are numbers; timestamps are ISO 8601 with milliseconds and ``Z``; durations are seconds; a Struct is
the object it holds. Compact.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_Plain = Callable[[Any], Any]
_LARGEST_EXACT = 2.0**53


def write_json(message: Message) -> bytes:
    """Write a message as JSON."""
    return orjson.dumps(to_plain(message))


def to_plain(message: Message) -> Any:
    """Return the plain value that `write_json` writes."""
    return _message_writer(message.DESCRIPTOR)(message)


def iso_time(value: timestamp_pb2.Timestamp) -> str:
    """Return ISO 8601 in UTC with milliseconds, e.g. ``2024-01-01T00:00:00.000Z``."""
    moment = datetime.fromtimestamp(value.seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{value.nanos // 1_000_000:03d}Z"


def seconds_of(value: duration_pb2.Duration) -> float:
    """Return a duration in seconds."""
    return value.seconds + value.nanos / 1e9


def plain_struct(value: struct_pb2.Struct) -> dict[str, Any]:
    """Return the object a Struct holds; whole numbers come back as integers."""
    return {name: _plain_value(member) for name, member in value.fields.items()}


def _plain_value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(member) for member in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _LARGEST_EXACT else number
    if kind == "null_value" or kind is None:
        return None
    return getattr(value, kind)


_WELL_KNOWN: dict[str, _Plain] = {
    "google.protobuf.Timestamp": iso_time,
    "google.protobuf.Duration": seconds_of,
    "google.protobuf.Struct": plain_struct,
    "google.protobuf.Value": _plain_value,
    "google.protobuf.ListValue": lambda value: [_plain_value(member) for member in value.values],
}


@cache
def _message_writer(descriptor: Descriptor) -> _Plain:
    """Build the writer of one message type once."""
    known = _WELL_KNOWN.get(descriptor.full_name)
    if known is not None:
        return known
    fields = [(field.name, _field_writer(field)) for field in descriptor.fields]

    def write(message: Message) -> dict[str, Any]:
        return {name: writer(message) for name, writer in fields}

    return write


def _field_writer(field: FieldDescriptor) -> _Plain:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        one = _value_writer(field.message_type.fields_by_name["value"])
        return lambda message: {str(key): one(value) for key, value in getattr(message, name).items()}
    one = _value_writer(field)
    if field.is_repeated:
        return lambda message: [one(value) for value in getattr(message, name)]
    if field.has_presence:
        return lambda message: one(getattr(message, name)) if message.HasField(name) else None
    return lambda message: one(getattr(message, name))


def _value_writer(field: FieldDescriptor) -> _Plain:
    if field.message_type is not None:
        kind = field.message_type
        # Looked up late: a message type may hold itself.
        return lambda value: _message_writer(kind)(value)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda value: names.get(value, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return lambda value: value
