"""One gateway behind one Envoy for all contract tests."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.contract.gateway.harness import GatewayUnderTest


@pytest.fixture(scope="session")
def gateway() -> Iterator[GatewayUnderTest]:
    under_test = GatewayUnderTest()
    try:
        yield under_test.start()
    finally:
        under_test.stop()


@pytest.fixture(scope="session")
def client(gateway: GatewayUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=60, verify=False) as client:
        yield client


@pytest.fixture(scope="session")
def png() -> bytes:
    """A red square on a transparent ground."""
    image = Image.new("RGBA", (64, 64))
    image.paste((200, 30, 30, 255), (12, 12, 52, 52))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def file_id(client: httpx.Client, png: bytes) -> str:
    response = client.post("/api/v1/file-upload/image", files={"file": ("square.png", png)})
    assert response.status_code == 200, response.text
    return response.json()["file_id"]


@pytest.fixture
def job_id(client: httpx.Client, file_id: str) -> str:
    """A job that was just queued."""
    response = client.post("/api/v1/mesh-generation/image-to-textured-mesh", json={"image_file_id": file_id})
    assert response.status_code == 200, response.text
    return response.json()["job_id"]


@pytest.fixture
def finished(gateway: GatewayUnderTest, job_id: str) -> str:
    """A job that is completed, with a mesh of 100,000 bytes."""
    gateway.backends.begin(job_id)
    gateway.backends.succeed(job_id, mesh=bytes(range(250)) * 400)
    return job_id


@pytest.fixture(scope="session")
def figure() -> bytes:
    """A picture that is large enough for a character."""
    image = Image.new("RGBA", (192, 256))
    image.paste((200, 30, 30, 255), (60, 20, 130, 240))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def animation_job(client: httpx.Client, figure: bytes) -> str:
    """A job that makes a picture's character move; it was just queued."""
    form = {"animation_ids": "106,30", "skip_confirmation": "true"}
    response = client.post("/animate/image", files={"file": ("figure.png", figure)}, data=form)
    assert response.status_code == 200, response.text
    return response.json()["job_id"]
