"""Buckets to test with: of moto, and of a real S3 where the environment names one.

MAQUETTE_TEST_S3_ENDPOINT, MAQUETTE_TEST_S3_ACCESS_KEY and MAQUETTE_TEST_S3_SECRET_KEY name the real
one; each test makes a bucket there for itself and removes it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from services.storage.backends.s3 import S3Config, connect

PREFIX = "prefix/"


@dataclass(frozen=True)
class Server:
    """An S3 and the keys of an account there."""

    endpoint: str
    access_key: str = "key"
    secret_key: str = "secret"
    real: bool = False
    """It looks at signatures, which moto does not."""


def real_server() -> Server:
    """Return the one that the environment names; skip the test where it names none."""
    endpoint = os.environ.get("MAQUETTE_TEST_S3_ENDPOINT", "")
    if not endpoint:
        pytest.skip("MAQUETTE_TEST_S3_ENDPOINT names no S3")
    access, secret = os.environ["MAQUETTE_TEST_S3_ACCESS_KEY"], os.environ["MAQUETTE_TEST_S3_SECRET_KEY"]
    return Server(endpoint, access, secret, real=True)


@contextmanager
def moto_server() -> Iterator[Server]:
    """Run moto while the block runs."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Server(f"http://{host}:{port}")
    finally:
        server.stop()


@contextmanager
def new_bucket(server: Server, *, part_bytes: int, versions: bool = False) -> Iterator[S3Config]:
    """Make a bucket that goes with all that is in it; with ``versions`` it keeps what is written over."""
    config = S3Config(
        bucket=f"maquette-{uuid.uuid4().hex[:12]}",
        prefix=PREFIX,
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        part_bytes=part_bytes,
        connections=4,
    )
    client, where = connect(config), {"Bucket": config.bucket}
    client.create_bucket(**where)
    if versions:
        client.put_bucket_versioning(**where, VersioningConfiguration={"Status": "Enabled"})
    yield config
    for page in client.get_paginator("list_object_versions").paginate(**where):
        for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(**where, Key=entry["Key"], VersionId=entry["VersionId"])
    for upload in client.list_multipart_uploads(**where).get("Uploads", ()):
        client.abort_multipart_upload(**where, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_bucket(**where)
    client.close()
