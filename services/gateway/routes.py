"""The public routes, read from the descriptor set that the stubs were made from.

Envoy's routes, its 405 answers, the edge app's and the OpenAPI document all come from this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from maquette.api.common.v1 import options_pb2

DIALECTS = "maquette.api.dialects."
_PARAMETER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """One verb on one path."""

    verb: str
    template: str
    """Path with parameters in braces, e.g. ``/api/v1/system/jobs/{job_id}``."""
    service: str
    """Full name of the gRPC service."""
    rpc: str
    request_type: str
    """Full name of the message with the path and query parameters."""
    has_body: bool
    client_streaming: bool
    option: options_pb2.Route

    @property
    def at_edge(self) -> bool:
        """The edge app answers, not a gRPC servicer behind the transcoder."""
        return self.option.served_by == options_pb2.SERVED_BY_EDGE

    @property
    def takes_json(self) -> bool:
        """The request body is JSON."""
        return self.has_body and not self.option.file_part

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path parameters, in order."""
        return tuple(_PARAMETER.findall(self.template))

    @property
    def pattern(self) -> str:
        """The path as an RE2 pattern; equal to the template where it has no parameter."""
        return "[^/]+".join(re.escape(part) for part in _PARAMETER.split(self.template)[::2])


@cache
def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """Read the descriptor set that ships with the stubs."""
    return descriptor_pb2.FileDescriptorSet.FromString(descriptor_bytes())


def descriptor_bytes() -> bytes:
    """Return the bytes of the descriptor set, as Envoy wants them."""
    return (files("maquette.api") / "descriptors.binpb").read_bytes()


@cache
def public_routes() -> tuple[PublicRoute, ...]:
    """Return every public route; paths without parameters come first, as they must match first."""
    found = [route for file in descriptor_set().file for route in _routes_of(file)]
    return tuple(sorted(found, key=lambda route: (len(route.parameters) > 0, route.template)))


def _routes_of(file: descriptor_pb2.FileDescriptorProto) -> Iterator[PublicRoute]:
    if not file.package.startswith(DIALECTS):
        return
    for service in file.service:
        for method in service.method:
            rule = method.options.Extensions[annotations_pb2.http]
            for binding in (rule, *rule.additional_bindings):
                verb = binding.WhichOneof("pattern")
                if verb is None:
                    raise ValueError(f"{service.name}.{method.name} has no google.api.http binding")
                yield PublicRoute(
                    verb=verb.upper(),
                    template=_template(binding, verb),
                    service=f"{file.package}.{service.name}",
                    rpc=method.name,
                    request_type=method.input_type.removeprefix("."),
                    has_body=bool(binding.body),
                    client_streaming=method.client_streaming,
                    option=method.options.Extensions[options_pb2.route],
                )


def _template(binding: http_pb2.HttpRule, verb: str) -> str:
    return str(getattr(binding, verb))
