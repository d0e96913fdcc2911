"""The back ends under test: a folder, moto, and a real S3 where the environment names one.

MAQUETTE_TEST_S3_ENDPOINT, MAQUETTE_TEST_S3_ACCESS_KEY and MAQUETTE_TEST_S3_SECRET_KEY name the real
one; the suite makes a bucket there for itself and removes it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.storage.backends.base import Backend
from services.storage.backends.local import LocalBackend
from services.storage.backends.s3 import S3Backend, S3Config, connect

PART_BYTES = 5 << 20
PREFIX = "prefix/"


@dataclass
class Subject:
    """A back end and where its temporary files and its blobs are."""

    backend: Backend
    spools: Path
    executor: ThreadPoolExecutor
    folder: Path | None = None
    s3: S3Config | None = None

    def visible(self) -> list[str]:
        """Every name that a reader could see."""
        if self.folder is not None:
            return [path.name for path in self.folder.rglob("*") if path.is_file()]
        client = connect(self.s3)
        return [entry["Key"] for entry in client.list_objects_v2(Bucket=self.s3.bucket).get("Contents", ())]

    def unfinished(self) -> list[str]:
        """Part uploads that nobody completed."""
        if self.s3 is None:
            return []
        answer = connect(self.s3).list_multipart_uploads(Bucket=self.s3.bucket)
        return [entry["UploadId"] for entry in answer.get("Uploads", ())]

    def damage(self, digest: str, data: bytes) -> None:
        """Put other bytes in a blob's place, behind the back end's back."""
        if self.folder is not None:
            self.backend.path(digest).write_bytes(data)
        else:
            connect(self.s3).put_object(Bucket=self.s3.bucket, Key=self.backend.key(digest), Body=data)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["local", "moto", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def s3_config(kind: str, request: pytest.FixtureRequest) -> Iterator[S3Config | None]:
    if kind == "local":
        yield None
        return
    if kind == "real":
        endpoint = os.environ.get("MAQUETTE_TEST_S3_ENDPOINT", "")
        if not endpoint:
            pytest.skip("MAQUETTE_TEST_S3_ENDPOINT names no S3")
        access = os.environ["MAQUETTE_TEST_S3_ACCESS_KEY"]
        secret = os.environ["MAQUETTE_TEST_S3_SECRET_KEY"]
    else:
        endpoint, access, secret = request.getfixturevalue("moto_endpoint"), "key", "secret"
    config = S3Config(
        bucket=f"maquette-{uuid.uuid4().hex[:12]}",
        prefix=PREFIX,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=access,
        secret_access_key=secret,
        part_bytes=PART_BYTES,
        connections=4,
    )
    client = connect(config)
    client.create_bucket(Bucket=config.bucket)
    yield config
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=config.bucket):
        for entry in page.get("Contents", ()):
            client.delete_object(Bucket=config.bucket, Key=entry["Key"])
    for upload in client.list_multipart_uploads(Bucket=config.bucket).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=config.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_bucket(Bucket=config.bucket)
    client.close()


@pytest.fixture
async def subject(s3_config: S3Config | None, tmp_path: Path) -> AsyncIterator[Subject]:
    with ThreadPoolExecutor(4) as executor:
        if s3_config is None:
            root = tmp_path / "blobs"
            found = Subject(LocalBackend(root, executor), root / "incoming", executor, folder=root)
        else:
            spools = tmp_path / "spools"
            found = Subject(S3Backend(s3_config, spools, executor), spools, executor, s3=s3_config)
        yield found
        await found.backend.close()
