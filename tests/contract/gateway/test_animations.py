"""The motion library is told as its nodes tell it, and what cannot be played is refused at the door."""

from __future__ import annotations

import httpx
import pytest

from maquette.api.animation.v1 import animation_pb2
from tests.contract.gateway.harness import GatewayUnderTest
from tests.contract.gateway.motions import MOTIONS, WEBP, animation_node
from tests.contract.gateway.polling import until

LIST = "/v1/animations"
GLB = b"glTF\x02\x00\x00\x00\x1c\x00\x00\x00\x08\x00\x00\x00JSON{}      "
BVH = b"HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\n}\nMOTION\nFrames: 0\n"


def test_without_an_animation_node_the_library_is_away_for_the_moment():
    # A gateway of its own: what one once heard of the library it remembers for a minute.
    alone = GatewayUnderTest()
    try:
        with httpx.Client(base_url=alone.start().url, timeout=60) as client:
            for path in (LIST, f"{LIST}/30", f"{LIST}/30/preview"):
                response = client.get(path)
                assert response.status_code == 503, response.text
                assert "No animation node is there" in response.json()["detail"]
    finally:
        alone.stop()


@pytest.fixture(scope="module")
def node(gateway, client):
    with animation_node(gateway) as told:
        # Asked first of all when it is known: what the gateway remembers may be of a node before.
        until(lambda: client.get(LIST).status_code == 200 and told.lists)
        yield told


@pytest.fixture(scope="module")
def character(client, node) -> str:
    return upload(client, "person.glb", GLB)


def upload(client, name: str, data: bytes) -> str:
    response = client.post("/api/v1/file-upload/mesh", files={"file": (name, data)})
    assert response.status_code == 200, response.text
    return response.json()["file_id"]


def test_a_motion_is_told_in_full(client, node):
    assert client.get(f"{LIST}/40").json() == {
        "id": 40,
        "name": "climb a rope",
        "category": "BodyMovements",
        "motion": "climb_a_rope",
        "summary": "",
        "tags": [],
        "match": "approximate",
        "reason": "without the rope",
        "loop": False,
        "seconds": 2.5,
        "in_place": False,
        "mood": "neutral",
        "preview_url": client.get(LIST).json()["animations"][0]["preview_url"].replace("/0/", "/40/"),
    }
    assert client.get(f"{LIST}/30").json()["reason"] is None


def test_pages_together_hold_every_motion_once(client, node):
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        page = client.get(LIST, params={"page_size": 25, "page_token": token}).json()
        assert page["total"] == len(MOTIONS)
        seen += [each["id"] for each in page["animations"]]
        token, pages = page["next_page_token"], pages + 1
    assert seen == [each.id for each in MOTIONS] and pages == 3
    assert len(client.get(LIST).json()["animations"]) == 50


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"search": "WALK"}, [30]),
        ({"search": "casual_walk"}, [30]),
        ({"search": "stroll casual"}, [30]),
        ({"search": "31"}, [31]),
        ({"search": "rope march"}, []),
        ({"category": "DailyActions"}, [0]),
        ({"match": "close"}, [31]),
        ({"match": "approximate", "category": "BodyMovements", "search": "climb"}, [40]),
    ],
)
def test_a_search_finds_by_word_category_and_match(client, node, query, ids):
    page = client.get(LIST, params=query).json()
    assert ([each["id"] for each in page["animations"]], page["total"]) == (ids, len(ids))


def test_motions_without_an_id_are_told_by_name_and_can_be_played(client, gateway, character):
    assert client.get(LIST).json()["names_without_id"] == ["quadruped_trot", "vault"]
    found = client.get(LIST, params={"search": "trot"}).json()
    assert (found["total"], found["names_without_id"]) == (0, ["quadruped_trot"])
    assert client.get(LIST, params={"match": "close"}).json()["names_without_id"] == []
    asked = {"character_file_id": character, "motions": ["quadruped trot"]}
    assert client.post(LIST, json=asked).status_code == 200


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"category": "Cooking"}, "Dancing"),
        ({"match": "perfect"}, "approximate"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "!"}, "page_token"),
        ({"page_token": "é"}, "page_token"),
        ({"page_token": "bm9uc2Vuc2U"}, "page_token"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(client, node, query, says):
    response = client.get(LIST, params=query)
    assert response.status_code == 400, response.text
    assert says in response.json()["detail"]


def test_a_token_is_good_for_its_own_search_only(client, node):
    token = client.get(LIST, params={"page_size": 1}).json()["next_page_token"]
    response = client.get(LIST, params={"page_token": token, "search": "step"})
    assert response.status_code == 400 and "another search" in response.json()["detail"]


@pytest.mark.parametrize("path", ["32", "999999", "walk", "-1", "1e3", "30%20"])
@pytest.mark.parametrize("part", ["", "/preview"])
def test_an_unknown_id_is_not_found_and_tells_how_to_find_one(client, node, path, part):
    response = client.get(f"{LIST}/{path}{part}")
    assert response.status_code == 404, response.text
    assert "GET /v1/animations?search=" in response.json()["detail"]


def test_a_preview_is_drawn_once_and_the_library_is_asked_for_once(client, node):
    for _ in range(3):
        response = client.get(f"{LIST}/30/preview")
        assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
        assert response.content == WEBP and "max-age" in response.headers["cache-control"]
    assert node.drawn.count(30) == 1
    assert node.lists == 1


def test_the_answer_tells_where_the_job_is(client, gateway, character):
    body = client.post(LIST, json={"character_file_id": character, "animation_ids": [30]}).json()
    assert set(body) == {"job_id", "status", "message", "job_url", "events_url"}
    assert body["status"] == "queued"
    job = client.get(body["job_url"].partition(str(gateway.settings.port))[2]).json()
    assert (job["job_id"], job["feature"], job["status"]) == (body["job_id"], "animate", "queued")


def test_the_ledger_gets_the_request_as_it_was_given(client, gateway, character):
    asked = {
        "character_file_id": character,
        "animation_ids": [30, 0],
        "motions": ["Casual Walk"],
        "clip_file_id": upload(client, "mine.bvh", BVH),
        "fps": 24,
        "in_place": False,
        "output_format": "glb",
        "clip_only": True,
        "keep_clips": True,
        "files": "each",
        "speed": 1.5,
        "energy": 0,
        "mood": "happy",
        "left_handed": True,
    }
    response = client.post(LIST, json=asked)
    assert response.status_code == 200, response.text
    request = gateway.backends.ledger.requests[response.json()["job_id"]]
    assert (request.dialect, request.feature) == ("aigc", "animate")
    inputs = dict(request.request["inputs"])
    assert inputs["fps"] == 24 and list(inputs["animation_ids"]) == [30, 0]
    (task,) = request.tasks
    parameters = animation_pb2.Animate()
    assert task.parameters.Unpack(parameters)
    assert parameters == animation_pb2.Animate(
        motions=["30", "0", "casual_walk"],
        speed=1.5,
        energy=0,
        mood="happy",
        left_handed=True,
        fps=24,
        in_place=False,
        output_format="glb",
        clip_only=True,
        keep_clips=True,
        files="each",
    )
    assert [(each.role, each.file.filename) for each in task.inputs] == [
        ("mesh", "person.glb"),
        ("clip", "mine.bvh"),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"character_file_id": None}, "Exactly one"),
        ({"character_path": "/uploads/meshes/a.glb"}, "Exactly one"),
        ({"animation_ids": []}, "Nothing to play"),
        ({"animation_ids": [30, 32]}, "GET /v1/animations?search="),
        ({"animation_ids": [-1]}, "no motion -1"),
        ({"animation_ids": ["walk"]}, ""),
        ({"animation_ids": [30, 30]}, "asked for twice"),
        ({"animation_ids": list(range(33))}, "more than 32"),
        ({"animation_ids": list(range(20)), "motions": [f"m{n}" for n in range(20)]}, "at most 32"),
        ({"motions": ["casual_wlak"]}, "casual_walk"),
        ({"motions": [" "]}, "empty"),
        ({"fps": 0}, "fps must be at least 1"),
        ({"fps": -30}, "fps must be at least 1"),
        ({"fps": 10_000}, "fps must be at most 240"),
        ({"fps": "NaN"}, "fps must be a number"),
        ({"fps": "Infinity"}, "fps must be at most 240"),
        ({"fps": "fast"}, ""),
        ({"speed": 9}, "speed"),
        ({"energy": "NaN"}, "energy must be a number"),
        ({"mood": "hungry"}, "mood must be one of"),
        ({"files": "some"}, "files must be one of"),
        ({"output_format": "usdz"}, "output_format must be one of glb, fbx"),
        ({"clip_file_id": "0" * 32, "clip_path": "/uploads/meshes/a.bvh"}, "is enough"),
        ({"clip_path": "/etc/passwd"}, "only paths that this API issued"),
        ({"character_file_id": None, "character_path": "/etc/passwd"}, "only paths that this API issued"),
        ({"model_preference": "limb_graph"}, "not a model of animate"),
    ],
)
def test_what_is_wrong_is_refused_before_any_work(client, gateway, character, change, says):
    before = len(gateway.backends.ledger.jobs)
    response = client.post(LIST, json={"character_file_id": character, "animation_ids": [30], **change})
    assert response.status_code == 400, response.text
    assert set(response.json()) == {"error", "message", "detail"}
    assert says in response.json()["detail"]
    assert len(gateway.backends.ledger.jobs) == before


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"character_file_id": "0" * 32}, 404),
        ({"clip_file_id": "0" * 32}, 404),
        ({"character_file_id": None, "character_job_id": "0" * 36}, 404),
        ({"model_preference": "", "fallback": "deny"}, 200),
        ({"output_format": "fbx"}, 503),
    ],
)
def test_what_is_not_there_is_told_so(client, character, change, status):
    response = client.post(LIST, json={"character_file_id": character, "animation_ids": [30], **change})
    assert response.status_code == status, response.text
    if status == 503:
        assert "make fbx" in response.json()["detail"]


def test_a_picture_and_a_mesh_without_a_place_for_a_rig_are_refused(client, character, file_id):
    triangle = upload(client, "a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    for wrong in (
        {"character_file_id": file_id},
        {"character_file_id": triangle},
        {"clip_file_id": triangle},
    ):
        response = client.post(LIST, json={"character_file_id": character, "animation_ids": [30], **wrong})
        assert response.status_code == 400, response.text


def test_what_a_job_made_can_be_animated_when_it_is_made(client, gateway, character, job_id):
    asked = {"character_job_id": job_id, "animation_ids": [30]}
    early = client.post(LIST, json=asked)
    assert early.status_code == 400 and "queued" in early.json()["detail"]
    gateway.backends.begin(job_id)
    gateway.backends.succeed(job_id)
    until(lambda: client.get(f"/api/v1/system/jobs/{job_id}").json()["status"] == "completed")
    assert client.post(LIST, json=asked).status_code == 200
    path = client.get(f"/api/v1/system/jobs/{job_id}").json()["result"]["output_mesh_path"]
    assert client.post(LIST, json={"character_path": path, "animation_ids": [30]}).status_code == 200


def test_one_key_makes_one_animation(client, character):
    headers = {"idempotency-key": f"animate-{character}"}
    asked = {"character_file_id": character, "animation_ids": [30]}
    first = client.post(LIST, json=asked, headers=headers).json()["job_id"]
    assert client.post(LIST, json=asked, headers=headers).json()["job_id"] == first
    assert client.post(LIST, json={**asked, "fps": 60}, headers=headers).status_code == 409


def test_the_routes_are_in_the_document(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths[LIST]) == {"get", "post"}
    assert {f"{LIST}/{{animation_id}}", f"{LIST}/{{animation_id}}/preview"} <= set(paths)
    assert {each["name"] for each in paths[LIST]["get"]["parameters"]} == {
        "search",
        "category",
        "match",
        "page_size",
        "page_token",
    }
