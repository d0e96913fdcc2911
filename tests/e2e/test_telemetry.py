"""One trace leads from the client to the engine, and each service counts what it does."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from maquette.cli.client import Generation
from maquette.cli.running import sample_picture
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.ports import free_port


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans it is sent: trace id → service → span names."""

    def __init__(self) -> None:
        self.traces: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def Export(self, request, context):
        for resource in request.resource_spans:
            service = next(
                a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
            )
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.traces[span.trace_id.hex()][service].add(span.name)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    servicer = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {service: free_port() for service in ("storage", "jobs", "meshgen", "gateway")}


@pytest.fixture(scope="module")
def mesh(collector: tuple[Collector, str], ports: dict[str, int]) -> Iterator[RunningMesh]:
    telemetry = {"otlp_endpoint": collector[1], "metrics_ports": ports}
    with running_mesh(without=("rigging", "animation"), telemetry=telemetry) as running:
        yield running


def test_one_trace_leads_from_the_client_through_envoy_gateway_and_jobs_to_the_capability(
    mesh: RunningMesh, collector: tuple[Collector, str]
) -> None:
    trace_id = secrets.token_hex(16)
    with mesh.client() as client:
        file_id = client.upload(sample_picture())
        answer = mesh.http.post(
            "/api/v1/mesh-generation/image-to-raw-mesh",
            json={"image_file_id": file_id},
            headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"},
        )
        client.follow(answer.json()["job_id"], lambda _: None)
    spans = collector[0].traces[trace_id]
    wanted = {"maquette-envoy", "maquette-gateway", "maquette-jobs", "maquette-meshgen"}
    mesh.until(lambda: wanted <= set(spans), f"spans of {wanted}; seen: {dict(spans)}")
    assert any("CreateJob" in name for name in spans["maquette-jobs"])
    assert any("Run" in name for name in spans["maquette-meshgen"])
    assert not any("health" in name.lower() for names in spans.values() for name in names)


def test_each_service_has_metrics_on_an_internal_port(mesh: RunningMesh, ports: dict[str, int]) -> None:
    with mesh.client() as client:
        client.generate(sample_picture(), Generation(raw=True), lambda _: None)
    for service, port in ports.items():
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert "maquette_" in text, service
        assert "process_resident_memory_bytes" in text, service


def test_metrics_and_admin_are_never_on_the_public_listener(mesh: RunningMesh) -> None:
    for path in ("/metrics", "/stats", "/config_dump", "/clusters", "/ready", "/quitquitquit"):
        assert mesh.http.get(path).status_code == 404, path
    assert mesh.http.post("/quitquitquit").status_code == 404
    assert mesh.http.post("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").status_code == 404
