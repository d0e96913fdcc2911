"""From one picture to a moving character with S3 behind it: uploads of its own, made once each, whose links
open for 24 hours without us. With moto, and with a real S3 where the environment names one.
"""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pygltflib
import pytest
from PIL import Image

from maquette.cli.running import sample_character
from services.storage.backends.s3 import S3Config, connect
from tests.support.bucket import PREFIX, Server, moto_server, new_bucket, real_server
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.meshy import ANIMATIONS, FBX, IMAGE, KEY, RIGGING, FakeMeshy

pytestmark = pytest.mark.timeout(400)

DAY = 24 * 3600
FORM = {"animation_ids": "106,30", "skip_confirmation": "true"}
_KEY = re.compile(rf"{PREFIX}meshy_tmp/\d+/(\w+\.(?:glb|fbx))")
_STEPS = "SELECT id::text, name, started_at, ended_at FROM ledger.task WHERE job_id = $1::uuid"
_KEYS = "SELECT task_id, key FROM assets.publication"


@dataclass(frozen=True)
class House:
    """A mesh over a bucket, and the provider that its pipeline runs at."""

    mesh: RunningMesh
    bucket: S3Config
    meshy: FakeMeshy
    real: bool

    def objects(self) -> list[str]:
        """Return the keys in the bucket, once for each time that an object was written under them."""
        pages = connect(self.bucket).get_paginator("list_object_versions").paginate(Bucket=self.bucket.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Versions", ())]

    def sql(self, role: Literal["jobs", "storage"], query: str, *values: object) -> list[asyncpg.Record]:
        """Ask a service's tables."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.mesh.settings.dsn(role), timeout=30)
            try:
                return list(await connection.fetch(query, *values))
            finally:
                await connection.close()

        return asyncio.run(fetch())


@pytest.fixture(scope="module", params=["moto", "real"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "real":
        yield real_server()
    else:
        with moto_server() as moto:
            yield moto


@pytest.fixture(scope="module")
def house(server: Server, request: pytest.FixtureRequest) -> Iterator[House]:
    """Everything as `maquette up` runs it, on a bucket that keeps count of what is written over."""
    meshy = FakeMeshy()
    with new_bucket(server, part_bytes=5 << 20, versions=True) as bucket, meshy.serving():
        sections: dict[str, Any] = {
            "storage": {
                "backend": "s3",
                "s3_bucket": bucket.bucket,
                "s3_prefix": bucket.prefix,
                "s3_endpoint": bucket.endpoint,
                "s3_access_key_id": bucket.access_key_id,
                "s3_secret_access_key": bucket.secret_access_key,
                "s3_part_mib": bucket.part_bytes >> 20,
            },
            # No step is taken for lost and done again because the machine is slow.
            "jobs": {"lease_seconds": 300.0},
            "meshy": {"api_key": KEY, "base_url": meshy.url, "poll_seconds": 0.3},
            "pipeline": {
                "mesh_engine": "meshy_image_to_3d",
                "rig_engine": "meshy_rigging",
                "animation_engine": "meshy_animation",
            },
        }
        with running_mesh(**sections) as mesh:
            yield House(mesh, bucket, meshy, server.real)


def _finished(house: House) -> dict[str, Any]:
    """Send a character through and return the last status; what is told to be uploaded is there at once."""
    picture = {"file": ("your_image.png", sample_character().read_bytes())}
    started = house.mesh.http.post("/animate/image", files=picture, data=FORM)
    assert started.status_code == 200, started.text
    deadline, client = time.monotonic() + 240, connect(house.bucket)
    while time.monotonic() < deadline:
        body: dict[str, Any] = house.mesh.http.get(f"/status/{started.json()['job_id']}").json()
        if told := body["result"].get("s3_upload"):
            client.head_object(Bucket=house.bucket.bucket, Key=told["s3_key"])
        if body["status"] in ("completed", "failed"):
            return body
        time.sleep(0.2)
    raise AssertionError(body)


def test_each_file_is_uploaded_once_in_its_own_step_and_opens_for_a_day_without_us(house: House) -> None:
    body = _finished(house)
    result = body["result"]
    assert (body["status"], body["progress"]) == ("completed", 100), body
    assert [len(house.meshy.made(path)) for path in (IMAGE, RIGGING, ANIMATIONS)] == [1, 1, 2]

    links = {
        "model.glb": result["model_url"],
        "rigged.glb": result["rigged_character_glb_url"],
        "rigged.fbx": result["rigged_character_fbx_url"],
    }
    for move in result["animation_urls"]:
        links |= {f"anim_{move['action_id']}.{kind}": move[f"raw_anim_{kind}"] for kind in ("glb", "fbx")}
    assert len(links) == 7 and result["glb_url"] == result["s3_upload"]["presigned_url"] == links["model.glb"]

    # A bucket that keeps what is written over holds each key once.
    uploads = [key for key in house.objects() if "meshy_tmp" in key]
    assert sorted(_KEY.fullmatch(key)[1] for key in uploads) == sorted(links)
    assert result["s3_upload"]["s3_key"] in uploads
    steps = {row["id"]: row for row in house.sql("jobs", _STEPS, body["job_id"])}
    client = connect(house.bucket)
    for row in house.sql("storage", _KEYS):
        key, step = f"{PREFIX}{row['key']}", steps[row["task_id"]]
        uploads.remove(key)
        # S3 tells whole seconds.
        made = client.head_object(Bucket=house.bucket.bucket, Key=key)["LastModified"]
        assert step["name"].startswith("publish")
        assert step["started_at"].replace(microsecond=0) <= made <= step["ended_at"], step["name"]
    assert not uploads

    for name, link in links.items():
        _check_link(house, name, link)
    direct = result["s3_direct_url"]
    assert direct == result["s3_upload"]["s3_direct_url"] == links["model.glb"].partition("?")[0]
    assert direct == f"{house.bucket.endpoint}/{house.bucket.bucket}/{result['s3_upload']['s3_key']}"
    if house.real:
        # Private, unless the bucket's policy says otherwise.
        assert httpx.get(direct, trust_env=False, timeout=60).status_code == 403


def _check_link(house: House, name: str, link: str) -> None:
    """Check that a link opens at the bucket, with nothing of ours, and says for how long."""
    signed = parse_qs(urlsplit(link).query)
    # A link is made a moment after its day began.
    assert DAY - 600 < int(signed["X-Amz-Expires"][0]) <= DAY and signed["X-Amz-Signature"][0]
    answer = httpx.get(link, trust_env=False, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
    if name.endswith(".fbx"):
        assert answer.content == FBX
        return
    assert answer.headers["content-type"] == "model/gltf-binary"
    model = pygltflib.GLTF2().load_from_bytes(answer.content)
    assert model.meshes and bool(model.skins) is (name != "model.glb")
    assert bool(model.animations) is name.startswith("anim_")
    if house.real:
        other = link.replace(signed["X-Amz-Signature"][0], "0" * 64)
        assert httpx.get(other, trust_env=False, timeout=60).status_code == 403


def _jpeg(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (200, 90, 20)).save(out, "JPEG")
    return out.getvalue()


def _file(data: bytes, field: str = "file") -> dict[str, tuple[str, bytes]]:
    return {field: ("your_image.jpg", data)}


BAD: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "no file": (_file(b"", "other"), {}),
    "a text": (_file(b"this is no picture, whatever its name"), {}),
    "64 pixels": (_file(_jpeg(64)), {}),
    "ids abc": ({}, {"animation_ids": "abc"}),
    "ids 106,,30": ({}, {"animation_ids": "106,,30"}),
    "200 ids": ({}, {"animation_ids": ",".join(map(str, range(200)))}),
    "fps 0": ({}, {"fps": "0"}),
}
"""What is sent in place of a good picture, or of good fields."""


@pytest.mark.parametrize("bad", BAD)
def test_what_is_refused_leaves_nothing_in_the_bucket_and_asks_no_provider(house: House, bad: str) -> None:
    files, fields = BAD[bad]
    before = _left(house)
    answer = house.mesh.http.post(
        "/animate/image", files=files or _file(sample_character().read_bytes()), data={**FORM, **fields}
    )
    assert answer.status_code == (422 if bad == "no file" else 400), answer.text
    assert list(answer.json()) == ["detail"]
    assert _left(house) == before


def _left(house: House) -> tuple[Any, ...]:
    jobs = house.sql("jobs", "SELECT id FROM ledger.job")
    uploads = house.sql("storage", "SELECT id FROM assets.upload")
    return len(jobs), len(uploads), Counter(house.objects()), len(house.meshy.calls)
