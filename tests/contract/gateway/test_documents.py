"""D43–D45: the documents describe what is served, and need nothing from outside."""

from __future__ import annotations

import re

import pytest

from services.gateway.routes import public_routes


def test_openapi_names_every_route(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert (document["info"]["title"], document["info"]["version"]) == ("3D Generative Models API", "1.0.0")
    told = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    assert told == {(route.verb, route.template) for route in public_routes()}


def test_openapi_references_resolve(client):
    response = client.get("/openapi.json")
    schemas = response.json()["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', response.text))
    assert references <= set(schemas)
    names = [op["operationId"] for verbs in response.json()["paths"].values() for op in verbs.values()]
    assert len(names) == len(set(names))


def test_answers_have_exactly_the_fields_openapi_tells(client, finished):
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    answers = {
        "/health": "/health",
        "/": "/",
        "/api/v1/system/jobs/{job_id}": f"/api/v1/system/jobs/{finished}",
        "/api/v1/system/jobs/{job_id}/info": f"/api/v1/system/jobs/{finished}/info",
        "/api/v1/system/jobs/history": "/api/v1/system/jobs/history",
        "/api/v1/system/scheduler-status": "/api/v1/system/scheduler-status",
        "/api/v1/system/supported-formats": "/api/v1/system/supported-formats",
        "/api/v1/mesh-generation/supported-formats": "/api/v1/mesh-generation/supported-formats",
        "/api/v1/file-upload/supported-formats": "/api/v1/file-upload/supported-formats",
    }
    for template, path in answers.items():
        schema = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        told = schemas[schema["$ref"].rpartition("/")[2]]
        assert set(client.get(path).json()) == set(told["properties"]) == set(told["required"]), path


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_work_without_a_network(client, page):
    response = client.get(page)
    assert response.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in response.headers["content-security-policy"]
    assert "//" not in response.text
    links = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert len(links) >= 3
    for link in links:
        found = client.get(link)
        assert found.status_code == 200, link
        assert found.headers["x-content-type-options"] == "nosniff"


def test_no_file_beside_the_viewers_is_served(client):
    for name in ("__init__.py", "..%2f__init__.py", "core.py"):
        assert client.get(f"/docs/static/{name}").status_code == 404
