"""One trace from the client through Envoy into the gateway, and no further without being asked."""

from __future__ import annotations

from concurrent import futures

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.contract.gateway.harness import GatewayUnderTest, free_port
from tests.contract.gateway.polling import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps which service took part in which trace."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def Export(self, request, context):
        for resource in request.resource_spans:
            names = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            for scope in resource.scope_spans:
                self.seen |= {(names[0], span.trace_id.hex()) for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector():
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    kept = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    server.start()
    yield kept, f"http://127.0.0.1:{port}"
    server.stop(0)


def test_a_trace_goes_through_every_hop(collector):
    kept, endpoint = collector
    traced = GatewayUnderTest(telemetry={"otlp_endpoint": endpoint})
    try:
        traced.start()
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        wanted = {("maquette-envoy", TRACE), ("maquette-gateway", TRACE)}

        def told():
            # Asked again and again: spans that the collector does not take in time are not sent twice.
            for path in ("/api/v1/system/jobs/unknown", "/docs"):
                httpx.get(traced.url + path, headers=headers, timeout=60)
            return wanted <= kept.seen

        until(told)
    finally:
        traced.stop()
