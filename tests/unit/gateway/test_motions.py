"""The library is asked for once a run of a node, and outlives the node by a minute."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from maquette.api.animation.v1 import motions_pb2, motions_pb2_grpc
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import NotFound, ResourceExhausted, Unavailable, error_for
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.settings import Settings
from services.gateway.capabilities import Capabilities
from services.gateway.motions import MotionDirectory
from tests.support.folders import open_folder


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class Nodes:
    """The nodes there are."""

    def __init__(self) -> None:
        self.rows: list[jobs_pb2.Node] = []

    async def capabilities(self) -> Capabilities:
        return Capabilities(tuple(self.rows))


class Node(motions_pb2_grpc.MotionLibraryServiceServicer):
    def __init__(self) -> None:
        self.ids = [1, 2]
        self.revision = "one"
        self.lists = self.previews = 0
        self.failure = ""

    async def ListMotions(self, request, context):
        self.lists += 1
        motions = [motions_pb2.Motion(id=number) for number in self.ids]
        return motions_pb2.ListMotionsResponse(motions=motions, names=["walk"], revision=self.revision)

    async def GetPreview(self, request, context):
        self.previews += 1
        if self.failure:
            raise error_for(self.failure, "no")
        return motions_pb2.GetPreviewResponse(webp=b"%d %s" % (request.id, self.revision.encode()))


class House:
    """A directory before one node's server, a clock and the nodes that are announced."""

    def __init__(self, settings: Settings) -> None:
        self.clock, self.nodes, self.node = Clock(), Nodes(), Node()
        self.address = settings.socket("motions")
        self.directory = MotionDirectory(
            self.nodes,  # type: ignore[arg-type]
            lambda address: grpc.aio.insecure_channel(address),
            self.clock,  # type: ignore[arg-type]
        )

    def announce(self, *ids: str, **more) -> None:
        rows = [jobs_pb2.Node(id=each, capability="animation", address=self.address, **more) for each in ids]
        self.nodes.rows = [jobs_pb2.Node(id="other", capability="rigging"), *rows]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with open_folder("motions") as folder:
        settings = Settings(data_dir=folder / "data")
        house = House(settings)
        # Who may call is the door's business, which is tested with the doors.
        name = motions_pb2.DESCRIPTOR.services_by_name["MotionLibraryService"].full_name
        server = create_server(settings, open_services=(name,))
        motions_pb2_grpc.add_MotionLibraryServiceServicer_to_server(house.node, server)
        running = await serve(server, house.address, [], settings)
        try:
            yield house
        finally:
            await house.directory.close()
            await running.server.stop(0)


async def test_a_library_is_asked_for_once_while_its_node_lives(house: House) -> None:
    house.announce("a")
    for _ in range(3):
        house.clock.seconds += 1000.0
        library = await house.directory.library()
    assert sorted(library.motions) == [1, 2] and library.names == {"walk"}
    assert house.node.lists == 1


async def test_a_new_node_is_asked_again(house: House) -> None:
    house.announce("a")
    await house.directory.library()
    house.node.ids, house.node.revision = [7], "two"
    house.announce("b")
    assert sorted((await house.directory.library()).motions) == [7]


async def test_without_a_node_the_library_is_remembered_for_a_minute(house: House) -> None:
    with pytest.raises(Unavailable, match="No animation node is there"):
        await house.directory.library()
    assert await house.directory.library_if_known() is None
    house.announce("a")
    await house.directory.library()
    house.announce()
    house.clock.seconds += 59.0
    assert sorted((await house.directory.library()).motions) == [1, 2]
    house.clock.seconds += 2.0
    with pytest.raises(Unavailable):
        await house.directory.library()


async def test_a_node_that_drains_is_not_asked(house: House) -> None:
    house.announce("a", draining=True)
    with pytest.raises(Unavailable):
        await house.directory.library()


async def test_a_preview_is_kept_as_long_as_its_motion_is_the_same(house: House) -> None:
    house.announce("a")
    assert [await house.directory.preview(1) for _ in range(2)] == [b"1 one"] * 2
    assert house.node.previews == 1
    house.node.revision = "two"
    house.announce("b")
    assert await house.directory.preview(1) == b"1 two"


async def test_an_unknown_id_is_refused_without_a_drawing(house: House) -> None:
    house.announce("a")
    with pytest.raises(NotFound, match="2 ids from 1 to 2"):
        await house.directory.preview(3)
    assert house.node.previews == 0


@pytest.mark.parametrize(
    ("reason", "error"),
    [("NODE_BUSY", ResourceExhausted), ("UNAVAILABLE", Unavailable), ("TIMED_OUT", Unavailable)],
)
async def test_a_node_that_cannot_draw_now_says_so(house: House, reason: str, error: type[Exception]) -> None:
    house.announce("a")
    house.node.failure = reason
    with pytest.raises(error):
        await house.directory.preview(1)
