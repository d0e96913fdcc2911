"""What people are sent to in a bucket: an object of its own, a link that ends, a link that stays."""

from __future__ import annotations

import asyncio
import hashlib
import time

import httpx
import pytest

from services.storage.backends.s3_public import S3Bucket
from tests.contract.storage.conftest import Subject

KEY = "meshy_tmp/12345/model.glb"


@pytest.fixture(params=["moto", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


async def _stored(subject: Subject, data: bytes) -> str:
    spool = await subject.backend.open_spool()
    await spool.write(data)
    await spool.finish()
    await subject.backend.publish(spool)
    return hashlib.sha256(data).hexdigest()


async def test_a_copy_opens_by_its_link(subject: Subject) -> None:
    data = b"glTF published"
    digest = await _stored(subject, data)
    bucket = S3Bucket(subject.backend, subject.s3, "", subject.executor)
    await bucket.copy(digest, KEY, "model/gltf-binary", "model.glb")
    await bucket.copy(digest, KEY, "model/gltf-binary", "model.glb")
    assert sorted(subject.visible()) == sorted([bucket.full_key(KEY), subject.backend.key(digest)])
    assert bucket.full_key(KEY) == f"prefix/{KEY}"
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(bucket.presigned(KEY, 60))
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "model/gltf-binary"
    assert bucket.direct(KEY) == f"{subject.s3.endpoint}/{subject.s3.bucket}/prefix/{KEY}"
    await bucket.delete(KEY)
    await bucket.delete(KEY)
    assert subject.visible() == [subject.backend.key(digest)]


async def test_a_link_ends_and_a_direct_one_is_closed(subject: Subject, kind: str) -> None:
    if kind == "moto":
        pytest.skip("moto looks at no signature")
    digest = await _stored(subject, b"glTF published")
    bucket = S3Bucket(subject.backend, subject.s3, "", subject.executor)
    await bucket.copy(digest, KEY, "model/gltf-binary", "model.glb")
    link, direct = bucket.presigned(KEY, 1), bucket.direct(KEY)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        assert (await client.get(direct)).status_code == 403
        deadline = time.monotonic() + 60
        while (await client.get(link)).status_code != 403:
            assert time.monotonic() < deadline, "the link never ends"
            await asyncio.sleep(0.1)
        assert (await client.get(bucket.presigned(KEY, 60))).status_code == 200


async def test_links_name_the_server_as_clients_reach_it(subject: Subject) -> None:
    bucket = S3Bucket(subject.backend, subject.s3, "https://files.example.org", subject.executor)
    link = f"https://files.example.org/{subject.s3.bucket}/prefix/{KEY}"
    assert bucket.direct(KEY) == link
    signed = bucket.presigned(KEY, 86_400)
    assert signed.startswith(f"{link}?") and "X-Amz-Expires=86400" in signed
