"""A real node of `animation` with real worker processes: a run, its cancellation, a worker that dies."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest

from maquette.api.animation.v1 import animation_pb2
from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import read_rig
from maquette.runtime.errors import InvalidArgument
from maquette.runtime.rpc.channel import translated
from services.animation.motion.figure import FIGURE
from tests.integration.capability.conftest import Mesh, mesh_in, until
from tests.support.characters import MOST, splinters
from tests.support.folders import open_folder

ENGINES = "services.animation.engines:engines"


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    with open_folder("animation") as folder:
        async with mesh_in(folder, service="animation", engines=ENGINES, slots=1) as running:
            yield running


def request(mesh: Mesh, *motions: str) -> pb.RunRequest:
    made = mesh.request("motion_library", "animate", splinters(FIGURE), deadline_in=90.0)
    made.parameters.Pack(animation_pb2.Animate(motions=motions, output_format="glb"))
    made.inputs[0].role, made.inputs[0].filename = "mesh", "model.glb"
    return made


async def test_a_character_comes_back_with_its_clips(mesh: Mesh) -> None:
    events = [event async for event in mesh.stub.Run(request(mesh, "march", "0"))]
    assert events[0].HasField("accepted") and events[-1].HasField("result")
    outputs = {output.role: output for output in events[-1].result.outputs}
    assert set(outputs) == {"mesh", "thumbnail", "preview"}
    document = GltfDocument(mesh.storage.blobs[outputs["mesh"].digest], MOST)
    rig = read_rig(document)
    assert rig is not None
    assert [clip.name for clip in read_clips(document, rig, 30.0, max_seconds=600.0)] == ["march", "idle"]
    assert not mesh.leftovers()


async def test_an_unknown_motion_is_told_as_such(mesh: Mesh) -> None:
    with pytest.raises(InvalidArgument, match="There is no motion"):
        async with translated():
            _ = [event async for event in mesh.stub.Run(request(mesh, "marsh"))]


async def test_a_cancelled_run_gives_its_place_back(mesh: Mesh) -> None:
    call = mesh.stub.Run(request(mesh, "march", "casual_walk"))
    assert (await call.read()).HasField("accepted")
    call.cancel()
    await until(lambda: mesh.node.pool.busy == 0)
    assert not mesh.leftovers()


async def test_the_node_outlives_its_worker(mesh: Mesh) -> None:
    (seat,) = mesh.node.pool.seats
    assert seat.worker is not None
    old = seat.worker.process.pid
    os.kill(old, signal.SIGKILL)
    await until(
        lambda: seat.worker and seat.worker.process.pid != old and seat.worker.ready.done(),
        60,
    )
    events = [event async for event in mesh.stub.Run(request(mesh, "march"))]
    assert events[-1].HasField("result")
