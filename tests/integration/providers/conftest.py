"""Nodes with remote engines whose provider is a fake on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from maquette.api.animation.v1 import animation_pb2
from maquette.api.capability.v1 import capability_pb2 as pb
from maquette.api.meshgen.v1 import meshgen_pb2
from maquette.api.rigging.v1 import rigging_pb2
from maquette.geometry.codecs import encode
from maquette.runtime.remote.engine import RemoteEngine
from maquette.runtime.remote.meshy import Meshy
from maquette.runtime.rpc.channel import translated
from maquette.runtime.settings import MeshySettings
from maquette.runtime.structs import to_struct
from services.animation.engines.meshy import MeshyAnimation
from services.meshgen.engines.meshy import MeshyImageTo3d, MeshyRetexture
from services.rigging.engines.meshy import MeshyRigging
from tests.integration.capability.conftest import Mesh, mesh_in
from tests.support.figures import humanoid
from tests.support.folders import open_folder
from tests.support.meshy import KEY, FakeMeshy

QUICK: dict[str, Any] = {"back_off_seconds": 0.01, "patience_seconds": 60.0, "request_seconds": 30.0}


def meshy_settings(fake: FakeMeshy, **changes: Any) -> MeshySettings:
    """Return settings that lead to a fake."""
    polls = {"poll_seconds": 0.02, "queue_seconds": 0.05}
    return MeshySettings(**{"api_key": SecretStr(KEY), "base_url": fake.url, **QUICK, **polls, **changes})


def meshy_engines(settings: MeshySettings, **more: Any) -> tuple[RemoteEngine, ...]:
    """Return every engine at Meshy; one node serves them all here."""
    meshy = Meshy(settings, **more)
    return (
        MeshyImageTo3d(meshy, settings),
        MeshyRetexture(meshy, settings),
        MeshyRigging(meshy, settings),
        MeshyAnimation(meshy, settings),
    )


@asynccontextmanager
async def node_with(remote: Sequence[RemoteEngine], **capability: Any) -> AsyncIterator[Mesh]:
    """Start a node with one worker."""
    with open_folder("providers") as folder:
        async with mesh_in(folder, remote=remote, **{"slots": 1, **capability}) as mesh:
            yield mesh


@pytest.fixture(params=["real", "document"])
def either(request: pytest.FixtureRequest) -> Iterator[FakeMeshy]:
    """Meshy, in both of its modes."""
    fake = FakeMeshy(request.param)
    with fake.serving():
        yield fake


@pytest.fixture
def meshy() -> Iterator[FakeMeshy]:
    """Meshy as its own pages have it."""
    fake = FakeMeshy()
    with fake.serving():
        yield fake


@pytest.fixture
async def node(meshy: FakeMeshy) -> AsyncIterator[Mesh]:
    """A node whose engines are at Meshy."""
    async with node_with(meshy_engines(meshy_settings(meshy))) as mesh:
        yield mesh


def image_request(
    mesh: Mesh, picture: bytes, engine: str = "meshy_image_to_3d", **more: Any
) -> pb.RunRequest:
    """Ask for a mesh of a picture."""
    request = mesh.request(engine, "image_to_textured_mesh", picture, deadline_in=300.0)
    request.parameters.Pack(meshgen_pb2.ImageToMesh(**{"output_format": "glb", **more}))
    return request


def rig_request(mesh: Mesh, model: bytes = b"", upstream: str = "", **more: Any) -> pb.RunRequest:
    """Ask for a rig of a mesh."""
    model = model or encode(humanoid(), "glb")[0].data
    request = mesh.request("meshy_rigging", "auto_rig", model, deadline_in=300.0)
    request.parameters.Pack(rigging_pb2.AutoRig(**{"rig_mode": "full", "output_format": "glb", **more}))
    return made_by(request, upstream)


def animation_request(mesh: Mesh, *motions: str, upstream: str, **more: Any) -> pb.RunRequest:
    """Ask for clips."""
    request = mesh.request("meshy_animation", "animate", b"glTF of a character", deadline_in=300.0)
    request.parameters.Pack(animation_pb2.Animate(**{"motions": motions, "output_format": "glb", **more}))
    return made_by(request, upstream)


def retexture_request(mesh: Mesh, upstream: str = "", **more: Any) -> pb.RunRequest:
    """Ask for another texture."""
    request = mesh.request(
        "meshy_retexture", "retexture", encode(humanoid(), "glb")[0].data, deadline_in=300.0
    )
    request.parameters.Pack(meshgen_pb2.Retexture(**{"output_format": "glb", **more}))
    return made_by(request, upstream)


def made_by(request: pb.RunRequest, upstream: str) -> pb.RunRequest:
    """Say that the request's mesh was made by a task of Meshy's."""
    request.inputs[0].role, request.inputs[0].filename = "mesh", "model.glb"
    if upstream:
        told = {"upstream": {"provider": "meshy", "task_id": upstream}}
        request.inputs[0].meta.CopyFrom(to_struct(told))
    return request


async def run(mesh: Mesh, request: pb.RunRequest) -> list[pb.RunResponse]:
    """Run to the end and return all that was said. Raises the run's MaquetteError."""
    async with translated():
        return [event async for event in mesh.stub.Run(request)]


async def result_of(mesh: Mesh, request: pb.RunRequest) -> pb.RunResponse.Result:
    """Run to the end and return the result."""
    return (await run(mesh, request))[-1].result
