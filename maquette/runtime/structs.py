"""Turn `google.protobuf.Struct` into JSON values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value


def to_struct(values: Mapping[str, Any]) -> Struct:
    """Return a Struct of JSON values. Raises ValueError for what JSON does not know."""
    result = Struct()
    if values:
        result.update(values)
    return result


def from_struct(value: Struct) -> dict[str, Any]:
    """Return a Struct's JSON values; whole numbers as integers."""
    return {name: _from_value(item) for name, item in value.fields.items()}


def _from_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)
