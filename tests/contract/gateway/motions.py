"""An animation node as the gateway sees it: a library, previews, and the engine that plays them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from maquette.api.animation.v1 import motions_pb2, motions_pb2_grpc
from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.rpc.server import create_server, serve
from tests.contract.gateway.moments import now

WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L"


def motion(number: int, name: str, **more) -> motions_pb2.Motion:
    fields = {"category": "WalkAndRun", "match": motions_pb2.MATCH_EXACT, "mood": "neutral", "seconds": 2.5}
    return motions_pb2.Motion(id=number, name=name, motion=name.replace(" ", "_"), **{**fields, **more})


MOTIONS = [
    motion(0, "idle", category="DailyActions", loop=True),
    motion(30, "casual walk", loop=True, tags=["stroll"]),
    motion(31, "march", in_place=True, match=motions_pb2.MATCH_CLOSE),
    motion(
        40,
        "climb a rope",
        category="BodyMovements",
        match=motions_pb2.MATCH_APPROXIMATE,
        reason="without the rope",
    ),
    *(motion(100 + number, f"step {'i' * number}") for number in range(60)),
]


class Node(motions_pb2_grpc.MotionLibraryServiceServicer):
    """An animation node that counts what it is asked; no other has its id or its revision."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.lists = 0
        self.drawn: list[int] = []

    async def ListMotions(self, request, context):
        self.lists += 1
        names = [*(each.motion for each in MOTIONS), "quadruped_trot", "vault"]
        return motions_pb2.ListMotionsResponse(motions=MOTIONS, names=names, revision=self.id)

    async def GetPreview(self, request, context):
        self.drawn.append(request.id)
        return motions_pb2.GetPreviewResponse(webp=WEBP)


@contextmanager
def animation_node(gateway) -> Iterator[Node]:
    """Announce a node without FBX to a gateway's ledger."""
    backends, settings = gateway.backends, gateway.settings
    told = Node()
    address = settings.socket(f"moves-{told.id[:8]}")

    async def start():
        server = create_server(settings)
        motions_pb2_grpc.add_MotionLibraryServiceServicer_to_server(told, server)
        return await serve(server, address, [], settings)

    running = backends.run(start())
    engine = capability_pb2.Engine(
        id="motion_library",
        kind=capability_pb2.ENGINE_KIND_EMBEDDED,
        features=["animate"],
        input_formats=["glb", "gltf", "bvh"],
        output_formats=["glb"],
        state=capability_pb2.ENGINE_STATE_LOADED,
        missing_formats={"fbx": "install it with: make fbx"},
    )
    row = jobs_pb2.Node(
        id=told.id, capability="animation", slots=1, engines=[engine], start_time=now(), address=address
    )
    backends.do(backends.ledger.nodes.append, row)
    try:
        yield told
    finally:
        backends.do(backends.ledger.nodes.remove, row)
        backends.run(running.server.stop(0))
