"""Segmind's engine in a real node: three shapes of answers, and what is never paid for twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from maquette.geometry.codecs import decode
from maquette.runtime.errors import FailedPrecondition, Internal, InvalidArgument
from maquette.runtime.settings import SegmindSettings
from maquette.runtime.structs import from_struct, to_struct
from services.meshgen.engines.segmind import SegmindImageTo3d
from tests.integration.capability.conftest import Mesh
from tests.integration.providers.conftest import QUICK, image_request, node_with, run
from tests.integration.providers.test_meshy import picture
from tests.support.provider import Answer, Fault
from tests.support.segmind import KEY, PATH, FakeSegmind, Shape

ENGINE = "segmind_image_to_3d"


@asynccontextmanager
async def segmind(shape: Shape = "bytes", **more: Any) -> AsyncIterator[tuple[Mesh, FakeSegmind]]:
    fake = FakeSegmind(shape)
    with fake.serving():
        settings = SegmindSettings(api_key=SecretStr(KEY), base_url=fake.url, **QUICK)
        async with node_with([SegmindImageTo3d(settings, **more)]) as mesh:
            yield mesh, fake


async def test_every_shape_of_a_good_answer_becomes_a_mesh() -> None:
    async with segmind() as (mesh, fake):
        shapes: tuple[Shape, ...] = ("bytes", "url", "download_url", "output.url", "data.url")
        for shape in shapes:
            fake.shape = shape
            events = await run(mesh, image_request(mesh, picture(), ENGINE, quality="low"))
            result = events[-1].result
            assert decode(mesh.storage.blobs[result.outputs[0].digest], "glb").face_count > 100, shape
            assert from_struct(result.outputs[0].meta)["upstream"] == {"provider": "segmind"}
        assert fake.count("POST") == len(shapes)
        form = fake.forms[0]
        assert (form["steps"], form["max_facenum"], form["generate_texture"]) == ("20", "10000", "true")
        # It does not tell how far it is, and nobody pretends to know.
        fractions = {e.progress.fraction for e in events if e.progress.stage == "generating"}
        assert fractions == {0.0}


@pytest.mark.parametrize(
    ("shape", "words"), [("error", "Prediction failed"), ("nonsense", "neither a model nor its URL")]
)
async def test_a_bad_answer_fails_with_what_it_says(shape: Shape, words: str) -> None:
    async with segmind(shape) as (mesh, fake):
        with pytest.raises(Internal, match=words):
            await run(mesh, image_request(mesh, picture(), ENGINE))
        assert fake.count("POST") == 1


async def test_refusals_for_the_moment_are_tried_again_and_others_are_not() -> None:
    async with segmind() as (mesh, fake):
        fake.faults += [Fault("POST", PATH, Answer(429)), Fault("POST", PATH, Answer(500, {"error": "oops"}))]
        assert (await run(mesh, image_request(mesh, picture(), ENGINE)))[-1].HasField("result")
        fake.faults.append(Fault("POST", PATH, Answer(401)))
        with pytest.raises(FailedPrecondition, match="MAQUETTE_SEGMIND__API_KEY"):
            await run(mesh, image_request(mesh, picture(), ENGINE))
        fake.faults.append(Fault("POST", PATH, Answer(400, {"error": "no picture"})))
        with pytest.raises(InvalidArgument, match="no picture"):
            await run(mesh, image_request(mesh, picture(), ENGINE))
        fake.faults.append(Fault("POST", PATH, drop=True))
        with pytest.raises(Internal, match="may be paid for"):
            await run(mesh, image_request(mesh, picture(), ENGINE))
        assert fake.count("POST") == 6


async def test_a_task_that_loses_its_node_is_sent_twice_at_most() -> None:
    async with segmind() as (mesh, fake):
        request = image_request(mesh, picture(), ENGINE)
        request.checkpoint.CopyFrom(to_struct({"provider": "segmind", "sent": 1, "_step": 1}))
        assert (await run(mesh, request))[-1].HasField("result")
        again = image_request(mesh, picture(), ENGINE)
        again.checkpoint.CopyFrom(to_struct({"provider": "segmind", "sent": 2, "_step": 2}))
        with pytest.raises(Internal, match="2 times"):
            await run(mesh, again)
        assert fake.count("POST") == 1


async def test_an_url_that_leads_inside_is_not_followed() -> None:
    async def ask(host: str, port: int) -> list[str]:
        return ["93.184.215.14"] if host == "127.0.0.1" else ["169.254.169.254"]

    async with segmind("url", ask=ask) as (mesh, fake):
        fake.link = "https://metadata.test/latest"
        with pytest.raises(Internal, match="not public"):
            await run(mesh, image_request(mesh, picture(), ENGINE))
