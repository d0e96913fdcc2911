"""Write the OpenAPI 3.1 document from the descriptor set and the route options. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from maquette.api.common.v1 import options_pb2
from maquette.api.dialects.aigc.v1 import files_pb2, generation_pb2, system_pb2
from maquette.api.dialects.animate.v1 import animate_pb2
from maquette.api.dialects.core.v1 import animations_pb2, core_pb2
from maquette.api.dialects.pocket3d.v1 import sockets_pb2
from services.gateway.dialects import registry
from services.gateway.dialects.aigc.errors import WORDS
from services.gateway.dialects.aigc.words import DESCRIPTION, TITLE, VERSION
from services.gateway.routes import PublicRoute, public_routes

Json = dict[str, Any]

# Importing the stubs brings their messages into the pool.
_STUBS = (files_pb2, generation_pb2, system_pb2, animate_pb2, animations_pb2, core_pb2, sockets_pb2)
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "int64",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "int64",
}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "number", "description": "Seconds."},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
}


def openapi_document() -> Json:
    """Return the document of every public route."""
    schemas: dict[str, Json] = {}
    paths: dict[str, Json] = {}
    for route in public_routes():
        paths.setdefault(route.template, {})[route.verb.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                _error_name(words): _error_response(words, schemas)
                for words in (registry.USUAL, *registry.OWN)
            },
        },
    }


def _operation(route: PublicRoute, schemas: dict[str, Json]) -> Json:
    option = route.option
    error = f"#/components/responses/{_error_name(registry.of_method(route.service))}"
    operation: Json = {
        "operationId": _own_id(route),
        "summary": option.summary,
        "tags": [option.tag],
        "parameters": list(_parameters(route, schemas)),
        "responses": {**_success(option, schemas), "default": {"$ref": error}},
    }
    if route.has_body:
        operation["requestBody"] = _request_body(route, schemas)
    return operation


def _own_id(route: PublicRoute) -> str:
    # One method on several paths still needs an id for each; the longest path has its plain name.
    same = [r.template for r in public_routes() if (r.service, r.rpc) == (route.service, route.rpc)]
    place = sorted(same, key=lambda template: (-len(template), template)).index(route.template)
    return route.rpc if not place else f"{route.rpc}{place + 1}"


def _parameters(route: PublicRoute, schemas: dict[str, Json]) -> Iterator[Json]:
    if route.client_streaming:
        return
    for field in _descriptor(route.request_type).fields:
        in_path = field.name in route.parameters
        if not in_path and route.has_body:
            continue
        schema = {name: value for name, value in _field(field, schemas).items() if name != "type"}
        kind = _field(field, schemas).get("type")
        schema["type"] = kind[0] if isinstance(kind, list) else kind
        yield {
            "name": field.name,
            "in": "path" if in_path else "query",
            "required": in_path,
            "schema": schema,
        }


def _request_body(route: PublicRoute, schemas: dict[str, Json]) -> Json:
    if route.option.file_part:
        part = {"type": "string", "format": "binary"}
        form = {
            "type": "object",
            "properties": {route.option.file_part: part} | _form_fields(route, schemas),
            "required": [route.option.file_part],
        }
        return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    name = route.option.request or route.request_type
    return {"required": True, "content": {"application/json": {"schema": _reference(name, schemas)}}}


def _form_fields(route: PublicRoute, schemas: dict[str, Json]) -> Json:
    """Return the fields of a form beside its file."""
    return {field.name: _field(field, schemas) for field in _descriptor(route.request_type).fields}


def _success(option: options_pb2.Route, schemas: dict[str, Json]) -> Json:
    if option.websocket:
        return {"101": {"description": "Switching to WebSocket."}}
    if option.response:
        content: Json = {"application/json": {"schema": _reference(option.response, schemas)}}
    else:
        content = {option.media_type: {"schema": {"type": "string"}}}
    return {"200": {"description": "Success.", "content": content}}


def _error_name(words: registry.ErrorWords) -> str:
    return words.message.rpartition(".")[2]


def _error_response(words: registry.ErrorWords, schemas: dict[str, Json]) -> Json:
    schema = _reference(words.message, schemas)
    if words is registry.USUAL:
        schemas[_error_name(words)]["properties"]["error"]["enum"] = list(WORDS)
    return {"description": "Error.", "content": {"application/json": {"schema": schema}}}


def _reference(full_name: str, schemas: dict[str, Json]) -> Json:
    descriptor = _descriptor(full_name)
    name = descriptor.name
    if name not in schemas:
        schemas[name] = {}
        schemas[name] = _object(descriptor, schemas)
    return {"$ref": f"#/components/schemas/{name}"}


def _object(descriptor: Descriptor, schemas: dict[str, Json]) -> Json:
    properties = {field.name: _field(field, schemas) for field in descriptor.fields}
    schema: Json = {"type": "object", "properties": properties}
    if not descriptor.name.endswith(("Body", "Request")):
        schema["required"] = list(properties)
    return schema


def _field(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {
            "type": "object",
            "additionalProperties": _value(field.message_type.fields_by_name["value"], schemas),
        }
    schema = _value(field, schemas)
    if field.is_repeated:
        return {"type": "array", "items": schema}
    return _nullable(schema) if field.has_presence else schema


def _nullable(schema: Json) -> Json:
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _value(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    kind = field.message_type
    if kind is not None:
        known = _WELL_KNOWN.get(kind.full_name)
        return dict(known) if known is not None else _reference(kind.full_name, schemas)
    if field.type in _INTEGERS:
        return {"type": "integer", "format": _INTEGERS[field.type], **_bounds(field)}
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return {"type": "number", **_bounds(field)}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    return {"type": "string", **_bounds(field)}


def _bounds(field: FieldDescriptor) -> Json:
    options = field.GetOptions()
    if not options.HasExtension(options_pb2.bounds):
        return {}
    bounds = options.Extensions[options_pb2.bounds]
    found: Json = {}
    if bounds.HasField("minimum"):
        found["minimum"] = _number(bounds.minimum)
    if bounds.HasField("maximum"):
        found["maximum"] = _number(bounds.maximum)
    if bounds.max_length:
        found["maxLength"] = bounds.max_length
    return found


def _number(value: float) -> float:
    return int(value) if value.is_integer() else value


@cache
def _descriptor(full_name: str) -> Descriptor:
    return descriptor_pool.Default().FindMessageTypeByName(full_name)
