"""The back ends under test: a folder, moto, and a real S3 where the environment names one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from services.storage.backends.base import Backend
from services.storage.backends.local import LocalBackend
from services.storage.backends.s3 import S3Backend, S3Config, connect
from tests.support.bucket import Server, moto_server, new_bucket, real_server

PART_BYTES = 5 << 20


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

    def held(self) -> int:
        """Count the open blobs of a folder, or the connections to a bucket, idle ones too.

        Not every open descriptor: moto runs in our process and leaves its own to the garbage collector.
        """
        if self.s3 is None:
            return sum(link.startswith(str(self.folder)) for link in _open_files())
        port = urlsplit(self.s3.endpoint).port
        connections = psutil.Process().net_connections("tcp")
        return sum(bool(one.raddr) and one.raddr.port == port for one in connections)

    @property
    def idle(self) -> int:
        """How many connections may wait for their next use."""
        return 0 if self.s3 is None else self.s3.connections

    def damage(self, digest: str, data: bytes) -> None:
        """Put other bytes in a blob's place, behind the back end's back."""
        if self.folder is not None:
            self.backend.path(digest).write_bytes(data)
        else:
            connect(self.s3).put_object(Bucket=self.s3.bucket, Key=self.backend.key(digest), Body=data)


def _open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(descriptor.readlink())


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(params=["local", "moto", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def s3_config(kind: str, request: pytest.FixtureRequest) -> Iterator[S3Config | None]:
    if kind == "local":
        yield None
        return
    server = real_server() if kind == "real" else request.getfixturevalue("moto")
    with new_bucket(server, part_bytes=PART_BYTES) as config:
        yield config


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
