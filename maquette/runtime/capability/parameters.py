"""Parameters of a run: from `google.protobuf.Any` to plain values."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from maquette.runtime.errors import InvalidArgument
from maquette.runtime.rpc.bounds import validate


def unpack_parameters(packed: any_pb2.Any) -> dict[str, Any]:
    """Return the fields by their proto names, defaults filled in; nothing packed gives no fields.

    A `google.protobuf.Struct` gives its own keys. Raises InvalidArgument for a type this process does
    not know, for bytes that are not of the type, and for a value outside its bounds.
    """
    if not packed.type_url:
        return {}
    name = packed.type_url.rpartition("/")[2]
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        raise InvalidArgument(f"unknown type of parameters {name!r}") from None
    message = message_factory.GetMessageClass(descriptor)()
    try:
        message.ParseFromString(packed.value)
    except DecodeError:
        raise InvalidArgument(f"the parameters are no {name}") from None
    if isinstance(message, struct_pb2.Struct):
        return json_format.MessageToDict(message)
    validate(message)
    return _plain(message)


def _plain(message: Message) -> dict[str, Any]:
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Message, field: Any) -> Any:
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return {str(key): _one(field.message_type.fields[1], value[key]) for key in value}
        return [_one(field, item) for item in value]
    return _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name.startswith("google.protobuf."):
            return json_format.MessageToDict(value)
        return _plain(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named is not None else value
    if field.type == FieldDescriptor.TYPE_BYTES:
        raise InvalidArgument(f"{field.name}: bytes travel as inputs, not as parameters")
    return value
