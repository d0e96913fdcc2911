"""Check requests against the bounds their protos state (`maquette.api.common.v1.bounds`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from maquette.api.common.v1 import options_pb2
from maquette.runtime.errors import InvalidArgument

_Check = Callable[[Message], str | None]


def validate(message: Message) -> None:
    """Raise InvalidArgument for the first field outside its bounds, nested messages included."""
    for problem in _problems(message, ""):
        raise InvalidArgument(problem)


def _problems(message: Message, prefix: str) -> Iterator[str]:
    for check in _checks(message.DESCRIPTOR):
        problem = check(message)
        if problem:
            yield prefix + problem
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or kind.GetOptions().map_entry or kind.full_name.startswith("google.protobuf."):
            continue
        many = value if field.is_repeated else (value,)
        for index, child in enumerate(many):
            where = f"{field.name}[{index}]" if field.is_repeated else field.name
            yield from _problems(child, f"{prefix}{where}.")


@cache
def _checks(descriptor: Descriptor) -> tuple[_Check, ...]:
    found: list[_Check] = []
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(options_pb2.bounds):
            found.extend(_field_checks(field, options.Extensions[options_pb2.bounds]))
    return tuple(found)


def _field_checks(field: FieldDescriptor, bounds: options_pb2.Bounds) -> Iterator[_Check]:
    name = field.name

    def value(message: Message) -> Any:
        return getattr(message, name)

    def absent(message: Message) -> bool:
        return field.has_presence and not message.HasField(name)

    if bounds.required:
        if field.has_presence:
            yield lambda m: None if m.HasField(name) else f"{name} is required"
        else:
            yield lambda m: None if value(m) else f"{name} is required"
    if bounds.max_length:
        yield (
            lambda m: (
                f"{name} is longer than {bounds.max_length}" if len(value(m)) > bounds.max_length else None
            )
        )
    if bounds.max_items:
        yield (
            lambda m: (
                f"{name} has more than {bounds.max_items} items" if len(value(m)) > bounds.max_items else None
            )
        )
    if bounds.HasField("minimum"):
        yield (
            lambda m: (
                f"{name} must be at least {bounds.minimum:g}"
                if value(m) < bounds.minimum and not absent(m)
                else None
            )
        )
    if bounds.HasField("maximum"):
        yield (
            lambda m: (
                f"{name} must be at most {bounds.maximum:g}"
                if value(m) > bounds.maximum and not absent(m)
                else None
            )
        )
    if bounds.pattern:
        pattern = re.compile(bounds.pattern)
        yield (
            lambda m: (
                None
                if absent(m) or pattern.fullmatch(value(m))
                else f"{name} does not have the form {bounds.pattern}"
            )
        )
