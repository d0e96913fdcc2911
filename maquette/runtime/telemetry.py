"""Logs, traces and metrics.

One log line is one JSON object with the trace and request ids of the call it belongs to. Traces
follow W3C trace context through Envoy and every gRPC hop. Metrics are prometheus_client's
default registry, served on an internal port.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any

import grpc
import prometheus_client
import structlog
from opentelemetry import propagate, trace

from maquette.runtime.settings import TelemetrySettings

_tracing = False


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return the structured logger."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger()
    return logger


def tracer() -> trace.Tracer:
    """Return the tracer of the mesh."""
    return trace.get_tracer("maquette")


def current_traceparent() -> str:
    """Return the W3C `traceparent` of the call in hand; empty without one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")


def setup_telemetry(service: str, settings: TelemetrySettings) -> None:
    """Set up logs, and traces and metrics as far as the settings name a place for them."""
    _setup_logs(service, settings)
    if settings.otlp_endpoint:
        _setup_traces(service, settings.otlp_endpoint)
    port = settings.metrics_ports.get(service)
    if port is not None:
        server, _thread = prometheus_client.start_http_server(port, addr=settings.metrics_bind)
        get_logger().info("metrics", address=f"{settings.metrics_bind}:{server.server_port}")


def _setup_logs(service: str, settings: TelemetrySettings) -> None:
    level = getattr(logging, settings.log_level.upper())
    people = settings.log_format == "text"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)


def _add_trace(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
    return event


def _setup_traces(service: str, endpoint: str) -> None:
    # Imported where traces are on only: an eighth of a service's start.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _tracing
    provider = TracerProvider(resource=Resource.create({"service.name": f"maquette-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    trace.set_tracer_provider(provider)
    _tracing = True


def server_interceptors(own_spans: Iterable[str] = ()) -> Sequence[grpc.aio.ServerInterceptor]:
    """Return the interceptors that open a span for each call; none while traces are off.

    Methods named in ``own_spans`` (``/package.Service/Method``) open their spans themselves.
    """
    if not _tracing:
        return ()
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    left_out = (filters.health_check(), *(filters.full_method_name(name) for name in own_spans))
    return (aio_server_interceptor(filter_=filters.negate(filters.any_of(*left_out))),)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def server_span(name: str, traceparent: str) -> Iterator[None]:
    """Be in the trace of one of several requests that came with one call; nothing while traces are off."""
    if not _tracing:
        yield
        return
    parent = propagate.extract({"traceparent": traceparent})
    with tracer().start_as_current_span(name, parent, trace.SpanKind.SERVER):
        yield


def trace_context(metadata: Iterable[tuple[str, Any]]) -> Sequence[tuple[str, str]]:
    """Return the metadata that puts a call into the trace in hand, unless it already names one."""
    if not _tracing or any(name == "traceparent" for name, _ in metadata):
        return ()
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())
