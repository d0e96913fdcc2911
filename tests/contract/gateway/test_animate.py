"""F1 and F2 of the dialect `animate`: words, phases, results and refusals."""

from __future__ import annotations

import io
import re
import socket
import time
import uuid

import pytest
from google.protobuf import json_format, struct_pb2
from PIL import Image

from maquette.api.capability.v1 import capability_pb2
from maquette.api.dialects.animate.v1 import animate_pb2
from maquette.api.jobs.v1 import jobs_pb2

DAY = "2027-01-01T00:00:00+00:00"
FORM = {"animation_ids": "106,30", "skip_confirmation": "true"}


def _post(client, figure, **form):
    return client.post("/animate/image", files={"file": ("your_image.jpg", figure)}, data=form)


def _status(client, job_id):
    answer = client.get(f"/status/{job_id}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"job_id", "status", "progress", "message", "result"}
    # Strict: a member that the proto does not know is an error.
    json_format.ParseDict(body, animate_pb2.AnimateStatus())
    return body


def _shown(client, job_id):
    body = _status(client, job_id)
    return body["status"], body["progress"], body["message"]


def _meta(**values) -> struct_pb2.Struct:
    meta = struct_pb2.Struct()
    meta.update(values)
    return meta


def _published(*names: str) -> list[jobs_pb2.Artifact]:
    types = {"glb": "model/gltf-binary", "fbx": "model/fbx"}
    return [
        jobs_pb2.Artifact(
            role="published",
            ordinal=ordinal,
            filename=name,
            digest="ab" * 32,
            size=7,
            media_type=types[name[-3:]],
            meta=_meta(
                published={
                    "key": f"meshy_tmp/12345/{name}",
                    "url": f"/download/{name}?token=t",
                    "direct_url": "",
                    "expires_at": DAY,
                }
            ),
        )
        for ordinal, name in enumerate(names)
    ]


@pytest.fixture
def backends(gateway):
    return gateway.backends


def _run(backends, job_id, name, fraction=0.0, **fields) -> None:
    backends.step(job_id, name, state=jobs_pb2.STATE_RUNNING, started=True, fraction=fraction, **fields)


def _done(backends, job_id, name, *artifacts, **fields) -> None:
    backends.step(
        job_id,
        name,
        state=jobs_pb2.STATE_SUCCEEDED,
        started=True,
        fraction=1.0,
        artifacts=artifacts,
        **fields,
    )


def _failed(backends, job_id, name, message, *, started=True) -> None:
    error = jobs_pb2.JobError(reason="RIGGING_FAILED", message=message)
    backends.step(job_id, name, state=jobs_pb2.STATE_FAILED, started=started, error=error)


def _to_rig(backends, job_id) -> None:
    backends.begin(job_id)
    _done(backends, job_id, "mesh")
    _done(backends, job_id, "publish", *_published("model.glb"))


def test_a_picture_starts_a_job(client, figure, backends):
    answer = _post(client, figure, **FORM)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"forge_id", "job_id", "status", "message", "note"}
    assert body["forge_id"] == body["job_id"] == str(uuid.UUID(body["job_id"]))
    assert body["status"] == "queued"
    assert body["message"] == "🚀 3D generation started - will poll Meshy API for completion status"
    assert "not by Meshy" in body["note"]
    assert _shown(client, body["job_id"]) == ("queued", 0, "Job queued")
    assert _status(client, body["job_id"])["result"] == {}
    request = backends.ledger.requests[body["job_id"]]
    assert [task.name for task in request.tasks] == [
        "mesh", "publish", "rig", "publish_rig", "anim_106", "publish_anim_106", "anim_30", "publish_anim_30",
    ]  # fmt: skip
    assert [task.name for task in request.tasks if not task.soft_fail] == ["mesh", "publish"]


def test_without_animation_ids_there_is_a_mesh_alone(client, figure, backends):
    job_id = _post(client, figure).json()["job_id"]
    assert [task.name for task in backends.ledger.requests[job_id].tasks] == ["mesh", "publish"]
    _to_rig(backends, job_id)
    backends.succeed(job_id)
    result = _status(client, job_id)["result"]
    assert (result["rigging_status"], result["processing_method"]) == ("skipped", "async_no_rigging")
    assert (result["animation_urls"], result["total_animations"]) == ([], 0)


def test_the_whole_way_has_the_documents_bands_messages_and_fields(client, gateway, animation_job, backends):
    """Every step of the document's timeline, with a provider that is polled."""
    job_id, seen = animation_job, []

    def show():
        seen.append(_shown(client, job_id))
        return seen[-1]

    backends.begin(job_id)
    _run(backends, job_id, "mesh")
    assert show() == ("processing", 10, "Generating 3D model from image...")
    _run(backends, job_id, "mesh", 0.67, upstream_status="PENDING", message="ignored")
    assert show() == ("processing", 20, "3D Generation: PENDING (67%)")
    _done(backends, job_id, "mesh")
    _run(backends, job_id, "publish", message="Uploading model.glb")
    assert show() == ("processing", 25, "Uploading model to cloud storage...")
    _done(backends, job_id, "publish", *_published("model.glb"))
    assert show() == ("processing", 30, "Model uploaded to S3")
    direct = f"{gateway.url}/jobs/{job_id}/files/publish/model.glb"
    link = f"{gateway.url}/download/model.glb?token=t"
    uploaded = {"presigned_url": link, "s3_direct_url": direct, "s3_key": "meshy_tmp/12345/model.glb"}
    assert _status(client, job_id)["result"] == {"s3_upload": uploaded}
    _run(backends, job_id, "rig")
    assert show() == ("processing", 45, "Creating character rig...")
    for percent in (15, 34, 58, 76, 89):
        _run(backends, job_id, "rig", percent / 100, upstream_status="PENDING")
        _, progress, message = show()
        assert message == f"Rigging: PENDING ({percent}%)" and 45 <= progress < 60
    _done(backends, job_id, "rig")
    _done(backends, job_id, "publish_rig", *_published("rigged.glb", "rigged.fbx"))
    assert show() == ("processing", 60, "Rigging: SUCCEEDED (100%)")
    rigged = _status(client, job_id)["result"]
    assert rigged["rigged_character_glb_url"] == f"{gateway.url}/download/rigged.glb?token=t"
    assert rigged["rigged_character_fbx_url"] == f"{gateway.url}/download/rigged.fbx?token=t"
    _run(backends, job_id, "anim_106")
    assert show() == ("processing", 70, "Creating animation 106...")
    _run(backends, job_id, "anim_106", 0.42, upstream_status="PENDING")
    assert show()[2] == "Animation 106: PENDING (42%)"
    for number in (106, 30):
        made = jobs_pb2.Artifact(role="mesh", filename="model.glb", meta=_meta(fps=60))
        _done(backends, job_id, f"anim_{number}", made)
        links = _published(f"anim_{number}.glb", f"anim_{number}.fbx")
        _done(backends, job_id, f"publish_anim_{number}", *links)
        assert show() == ("processing", 80 if number == 106 else 90, f"Animation {number} completed")
    backends.succeed(job_id)
    assert show() == ("completed", 100, "Job completed successfully")
    assert [progress for _, progress, _ in seen] == sorted(progress for _, progress, _ in seen)
    result = _status(client, job_id)["result"]
    documented = {
        "model_url": link,
        "glb_url": link,
        "s3_direct_url": direct,
        "animation_urls": [
            {
                "action_id": number,
                "raw_anim_glb": f"{gateway.url}/download/anim_{number}.glb?token=t",
                "raw_anim_fbx": f"{gateway.url}/download/anim_{number}.fbx?token=t",
                "fps": 60,
            }
            for number in (106, 30)
        ],
        "total_animations": 2,
        "rigging_status": "completed",
        "processing_method": "async_with_rigging",
    }
    assert {name: result[name] for name in documented} == documented


def test_local_engines_say_what_they_do_after_the_documents_words(client, animation_job, backends):
    backends.begin(animation_job)
    _run(backends, animation_job, "mesh", 0.4, message="Painting the texture")
    assert _shown(client, animation_job) == (
        "processing", 16, "Generating 3D model from image... Painting the texture",
    )  # fmt: skip


def test_a_rig_that_fails_keeps_the_mesh(client, animation_job, backends):
    _to_rig(backends, animation_job)
    why = "Pose estimation failed - model may not be suitable for rigging"
    _failed(backends, animation_job, "rig", why)
    for name in ("publish_rig", "anim_106", "publish_anim_106", "anim_30", "publish_anim_30"):
        _failed(backends, animation_job, name, f"rig failed: {why}", started=False)
    backends.succeed(animation_job)
    body = _status(client, animation_job)
    assert (body["status"], body["progress"]) == ("completed", 100)
    assert body["message"] == "Job completed successfully (rigging failed, no animations created)"
    result = body["result"]
    assert result["model_url"] and result["rigging_status"] == "failed" and result["rigging_error"] == why
    assert "animation_urls" not in result


def test_an_animation_that_fails_leaves_the_others(client, animation_job, backends):
    _to_rig(backends, animation_job)
    _done(backends, animation_job, "rig")
    _done(backends, animation_job, "publish_rig", *_published("rigged.glb"))
    _failed(backends, animation_job, "anim_106", "the motion is broken")
    _failed(backends, animation_job, "publish_anim_106", "anim_106 failed", started=False)
    _done(backends, animation_job, "anim_30")
    _done(backends, animation_job, "publish_anim_30", *_published("anim_30.glb"))
    backends.succeed(animation_job)
    result = _status(client, animation_job)["result"]
    assert [move["action_id"] for move in result["animation_urls"]] == [30]
    assert (result["total_animations"], result["rigging_status"]) == (1, "completed")
    assert result["rigged_character_fbx_url"] is None
    assert result["animation_urls"][0]["raw_anim_fbx"] is None
    assert "Animation 106 failed: the motion is broken" in result["warnings"]
    assert sum("failed" in warning for warning in result["warnings"]) == 1


def test_a_failed_job_says_why(client, animation_job, backends):
    backends.begin(animation_job)
    _run(backends, animation_job, "mesh", 0.5)
    backends.fail(animation_job, "PROCESSING_FAILED", "nothing is left of the shape")
    assert _shown(client, animation_job) == ("failed", 17, "nothing is left of the shape")


def test_a_cancelled_job_reads_as_failed(client, animation_job):
    answer = client.delete(f"/jobs/{animation_job}")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["message"]) == ("failed", "Job was cancelled")


def test_progress_never_falls_even_if_the_ledger_remembers_less(client, animation_job, backends):
    backends.begin(animation_job)
    _run(backends, animation_job, "mesh", 0.9)
    before = _shown(client, animation_job)[1]
    _run(backends, animation_job, "mesh", 0.2)
    assert _shown(client, animation_job)[1] == before


def test_a_job_whose_attempt_was_lost_has_not_gone_back_to_the_queue(client, animation_job, backends):
    backends.begin(animation_job)
    _run(backends, animation_job, "mesh", 0.5)
    backends.change(animation_job, jobs_pb2.EVENT_TYPE_REQUEUED, state=jobs_pb2.STATE_QUEUED)
    assert _shown(client, animation_job)[:2] == ("processing", 17)


def test_what_a_step_made_is_downloaded_by_its_direct_link(client, animation_job, backends):
    digest = backends.do(backends.storage.put, b"glTF model")
    made = _published("model.glb")[0]
    made.digest, made.size = digest, len(b"glTF model")
    backends.begin(animation_job)
    _done(backends, animation_job, "publish", made)
    path = _status(client, animation_job)["result"]["s3_upload"]["s3_direct_url"]
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (200, b"glTF model")
    missing = client.get(f"/jobs/{animation_job}/files/publish/other.glb")
    assert (missing.status_code, missing.json()) == (404, {"detail": "There is no such file."})


def test_retexture_without_an_engine_keeps_the_texture_and_says_so(client, figure, backends):
    job_id = _post(client, figure, use_retexture="true", **FORM).json()["job_id"]
    assert "retexture" not in [task.name for task in backends.ledger.requests[job_id].tasks]
    _to_rig(backends, job_id)
    backends.succeed(job_id)
    assert any("keeps its texture" in text for text in _status(client, job_id)["result"]["warnings"])


def test_retexture_with_an_engine_is_a_step_between(client, figure, backends):
    engine = capability_pb2.Engine(
        id="painter",
        kind=capability_pb2.ENGINE_KIND_NEURAL,
        features=["retexture"],
        state=capability_pb2.ENGINE_STATE_LOADED,
    )
    node = jobs_pb2.Node(id="painter", capability="meshgen", slots=1, engines=[engine])
    backends.do(backends.ledger.nodes.append, node)
    try:
        # What nodes can do is asked again after a second.
        deadline = time.monotonic() + 60
        names: list[str] = []
        while "retexture" not in names:
            assert time.monotonic() < deadline, "the engine was never seen"
            job_id = _post(client, figure, use_retexture="true", **FORM).json()["job_id"]
            names = [task.name for task in backends.ledger.requests[job_id].tasks]
            time.sleep(0.05)
    finally:
        backends.do(backends.ledger.nodes.remove, node)
    tasks = {task.name: task for task in backends.ledger.requests[job_id].tasks}
    assert tasks["retexture"].soft_fail
    rig = tasks["rig"].inputs[0]
    assert rig.output.task == "publish_retexture"
    assert [other.task for other in rig.otherwise] == ["publish"]
    _to_rig(backends, job_id)
    _run(backends, job_id, "retexture")
    assert _shown(client, job_id) == ("processing", 40, "Enhancing textures...")
    _run(backends, job_id, "retexture", 0.65, upstream_status="PENDING")
    assert _shown(client, job_id) == ("processing", 40, "Retexturing: PENDING (65%)")


def test_false_skip_confirmation_waits_for_nobody_and_says_so(client, figure):
    assert (
        "confirmation" in _post(client, figure, animation_ids="30", skip_confirmation="false").json()["note"]
    )


def _picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 90, 20)).save(out, "JPEG")
    return out.getvalue()


REFUSALS = [
    ({"animation_ids": "abc"}, 400, "Invalid animation_ids format"),
    ({"animation_ids": "106,,30"}, 400, "Invalid animation_ids format"),
    ({"animation_ids": "106,"}, 400, "Invalid animation_ids format"),
    ({"animation_ids": "1.5"}, 400, "Invalid animation_ids format"),
    ({"animation_ids": "-1"}, 400, "Invalid animation_ids format"),
    ({"animation_ids": ",".join(str(n) for n in range(200))}, 400, r"Too many animation_ids: 200 .*"),
    ({"animation_ids": "106,9999"}, 400, "Unknown animation_ids: 9999"),
    ({"animation_ids": "332"}, 400, "Unknown animation_ids: 332"),
    ({"fps": "0"}, 400, "fps must be from 1 to 240"),
    ({"fps": "-5"}, 400, "fps must be from 1 to 240"),
    ({"height_meters": "0"}, 400, "height_meters must be above 0 and at most 100"),
]


@pytest.mark.parametrize(("form", "code", "text"), REFUSALS)
def test_a_wrong_field_is_refused_and_leaves_nothing(client, figure, backends, form, code, text):
    before = _stored(backends)
    answer = _post(client, figure, **form)
    assert answer.status_code == code
    assert set(answer.json()) == {"detail"} and re.fullmatch(text, answer.json()["detail"])
    assert _stored(backends) == before


@pytest.mark.parametrize("field", ["fps", "height_meters", "use_retexture", "skip_confirmation"])
def test_a_field_of_another_type_is_named(client, figure, backends, field):
    before = _stored(backends)
    answer = _post(client, figure, **{field: "many"})
    assert answer.status_code == 422
    [wrong] = answer.json()["detail"]
    assert (wrong["loc"], wrong["input"]) == (["body", field], "many")
    assert _stored(backends) == before


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"this is no picture, whatever its name", "File must be an image"),
        (b"", "File must be an image"),
        (_picture(64, 64), r"The picture is 64 × 64 pixels; at least 128 .*"),
        (_picture(8, 8), r"The picture is 8 × 8 pixels; .*"),
        (_picture(256, 256)[:800], r"The jpg picture is damaged or incomplete\."),
    ],
)
def test_a_file_that_is_no_usable_picture_is_refused_and_leaves_nothing(client, backends, data, text):
    before = _stored(backends)
    answer = client.post("/animate/image", files={"file": ("picture.jpg", data, "image/jpeg")}, data=FORM)
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail"} and re.fullmatch(text, answer.json()["detail"])
    assert _stored(backends) == before


def test_a_form_without_a_file_is_refused(client, backends):
    before = _stored(backends)
    answer = client.post("/animate/image", files={"picture": ("a.png", b"x")}, data=FORM)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "file"]
    assert _stored(backends) == before


def test_a_full_queue_stores_nothing(client, figure, backends):
    backends.ledger.queue_full = True
    try:
        before = _stored(backends)
        answer = _post(client, figure, **FORM)
        assert answer.status_code == 429 and set(answer.json()) == {"detail"}
        assert _stored(backends) == before
    finally:
        backends.ledger.queue_full = False


def _stored(backends) -> tuple[int, int, int]:
    storage = backends.storage
    return len(storage.blobs), len(storage.uploads), len(backends.ledger.jobs)


@pytest.mark.parametrize(
    ("method", "path", "code", "detail"),
    [
        ("GET", "/status/unknown", 404, "Job unknown not found"),
        ("GET", "/animate/image", 405, "Method Not Allowed"),
        ("POST", "/status/unknown", 405, "Method Not Allowed"),
        ("POST", "/animate/image", 415, "The content type must be multipart/form-data."),
    ],
)
def test_refusals_by_whoever_answers_have_one_shape(client, method, path, code, detail):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()) == (code, {"detail": detail})


def test_another_dialects_job_is_not_found(client, job_id):
    answer = client.get(f"/status/{job_id}")
    assert (answer.status_code, answer.json()) == (404, {"detail": f"Job {job_id} not found"})


def test_the_same_key_starts_one_job(client, figure, backends):
    send = {"files": {"file": ("a.png", figure)}, "data": FORM, "headers": {"idempotency-key": "animate-1"}}
    first = client.post("/animate/image", **send).json()["job_id"]
    assert client.post("/animate/image", **send).json()["job_id"] == first
    other = {**send, "data": {"animation_ids": "30"}}
    assert client.post("/animate/image", **other).status_code == 409


def test_a_picture_that_is_too_large_is_refused_at_the_door(gateway):
    """By its length alone: nothing of it is sent."""
    request = (
        "POST /animate/image HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {60 << 20}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=60) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413") and b'{"detail":"File too large"}' in answer
