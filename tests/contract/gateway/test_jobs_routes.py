"""D5, D7, D9–D12, D30 and cancel: the document's fields, and the truth in them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.gateway.polling import until

DOCUMENTED_JOB = {"job_id", "status", "created_at", "completed_at", "processing_time", "result"}
ORIGIN_JOB = {
    "feature",
    "inputs",
    "model_preference",
    "priority",
    "progress",
    "started_at",
    "error",
    "user_id",
    "metadata",
    "input_image_url",
    "input_image_file_info",
}
DOCUMENTED_RESULT = {
    "output_mesh_path",
    "thumbnail_path",
    "mesh_url",
    "thumbnail_url",
    "mesh_file_info",
    "thumbnail_file_info",
    "generation_info",
}
FILE_INFO = {"filename", "file_size_bytes", "file_size_mb", "content_type", "file_extension"}
MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def job(client, job_id):
    response = client.get(f"/api/v1/system/jobs/{job_id}")
    assert response.status_code == 200, response.text
    return response.json()


def test_a_submitted_job_is_seen_at_once_as_queued(client, job_id):
    body = job(client, job_id)
    assert body["status"] == "queued"
    assert set(body) >= DOCUMENTED_JOB | ORIGIN_JOB
    assert body["job_id"] == str(uuid.UUID(job_id))
    for name in ("completed_at", "started_at", "processing_time", "result", "error", "user_id"):
        assert body[name] is None
    assert body["progress"] == 0
    assert MILLISECONDS.fullmatch(body["created_at"])


def test_status_is_compact_json_with_one_status_key(client, finished):
    until(lambda: job(client, finished)["status"] == "completed")
    text = client.get(f"/api/v1/system/jobs/{finished}").text
    assert text.count('"status":') == 1
    assert '": ' not in text and ", " not in text.replace("…", "")


def test_a_running_job_tells_progress_stage_and_time_left(client, gateway, job_id):
    gateway.backends.begin(job_id)
    gateway.backends.progress(job_id, 0.45, "texturing", eta=2.5)
    body = until(lambda: (b := job(client, job_id))["progress"] == 0.45 and b)
    assert body["status"] == "processing"
    assert body["metadata"]["stage"] == "texturing"
    assert body["metadata"]["eta_seconds"] == 2.5
    assert MILLISECONDS.fullmatch(body["started_at"])


def test_a_completed_job_has_the_documents_result(client, gateway, finished):
    body = until(lambda: (b := job(client, finished))["status"] == "completed" and b)
    result = body["result"]
    assert set(result) >= DOCUMENTED_RESULT
    assert result["mesh_url"] == f"{gateway.url}/api/v1/system/jobs/{finished}/download"
    assert result["thumbnail_url"] == f"{gateway.url}/api/v1/system/jobs/{finished}/thumbnail"
    assert set(result["mesh_file_info"]) == FILE_INFO == set(result["thumbnail_file_info"])
    assert result["mesh_file_info"]["file_size_bytes"] == 100_000
    assert result["mesh_file_info"]["file_extension"] == ".glb"
    info = result["generation_info"]
    assert info["model_used"] == "shape_from_silhouette"
    assert info["requested_model"] is None
    assert info["thumbnail_generated"] is True
    assert info["vertex_count"] == 8211
    assert body["progress"] == 1
    assert body["processing_time"] is not None
    assert body["completed_at"] >= body["started_at"]


def test_the_model_asked_for_and_the_model_that_ran_are_both_told(client, gateway, file_id):
    wanted = "trellis_image_to_raw_mesh"
    body = {"image_file_id": file_id, "model_preference": wanted, "seed": 42, "quality": "high"}
    job_id = client.post("/api/v1/mesh-generation/image-to-raw-mesh", json=body).json()["job_id"]
    gateway.backends.begin(job_id)
    gateway.backends.succeed(job_id)
    told = until(lambda: (b := job(client, job_id))["status"] == "completed" and b)
    info = told["result"]["generation_info"]
    assert (info["requested_model"], info["model_used"]) == (wanted, "shape_from_silhouette")
    assert told["model_preference"] == wanted
    assert info["parameters"] == {"model_preference": wanted, "seed": 42, "quality": "high"}


def test_a_failed_job_says_why(client, gateway, job_id):
    gateway.backends.begin(job_id)
    gateway.backends.fail(job_id, "WORKER_CRASHED", "the worker died three times")
    body = until(lambda: (b := job(client, job_id))["status"] == "failed" and b)
    assert body["error"] == "the worker died three times"
    assert body["result"] is None


def test_a_cancelled_job_reads_failed_with_the_documents_words(client, job_id):
    response = client.post(f"/api/v1/system/jobs/{job_id}/cancel")
    assert response.status_code == 200
    assert response.json() == {
        "job_id": job_id,
        "status": "failed",
        "message": "Job was cancelled",
        "cancelled": True,
    }
    body = job(client, job_id)
    assert (body["status"], body["error"]) == ("failed", "Job was cancelled")


def test_cancelling_a_completed_job_changes_nothing(client, finished):
    until(lambda: job(client, finished)["status"] == "completed")
    body = client.post(f"/api/v1/system/jobs/{finished}/cancel").json()
    assert body["cancelled"] is False
    assert job(client, finished)["status"] == "completed"


def test_live_jobs_are_answered_without_asking_jobs(client, gateway, job_id):
    job(client, job_id)
    before = gateway.backends.ledger.reads
    for _ in range(20):
        job(client, job_id)
    assert gateway.backends.ledger.reads == before


def test_info_is_the_union_of_document_and_origin(client, finished):
    body = until(lambda: (b := client.get(f"/api/v1/system/jobs/{finished}/info").json())["has_result"] and b)
    assert set(body) >= {"job_id", "status", "file_info", "generation_info", "download_urls"}
    assert set(body) >= {"mesh_download_urls", "thumbnail_download_urls", "result_metadata"}
    assert set(body["file_info"]) >= {"file_exists", "file_size_mb", "file_format", "content_type"}
    assert body["file_info"]["file_extension"] == "glb"
    assert body["generation_info"]["model_used"] == "shape_from_silhouette"
    assert body["generation_info"]["processing_time"] is not None
    direct = f"/api/v1/system/jobs/{finished}/download"
    assert body["download_urls"] == {"direct_download": direct, "base64_download": f"{direct}?format=base64"}


def test_info_of_a_queued_job_has_no_result(client, job_id):
    body = client.get(f"/api/v1/system/jobs/{job_id}/info").json()
    assert body["has_result"] is False
    assert body["file_info"] is None


def test_deleting_a_result_frees_its_bytes_once(client, finished):
    until(lambda: job(client, finished)["status"] == "completed")
    first = client.delete(f"/api/v1/system/jobs/{finished}/result").json()
    assert set(first) == {"job_id", "message", "deleted", "freed_space_mb", "deleted_file"}
    assert first["deleted"] is True
    assert first["freed_space_mb"] == 0.1
    assert first["message"] == "Result file deleted successfully"
    assert job(client, finished)["result"] is None
    second = client.delete(f"/api/v1/system/jobs/{finished}/result")
    assert second.status_code == 200
    assert second.json()["deleted"] is False
    assert client.get(f"/api/v1/system/jobs/{finished}/download").status_code == 404


def test_a_result_is_deleted_also_while_its_bytes_cannot_be_freed(client, gateway, finished, monkeypatch):
    until(lambda: job(client, finished)["status"] == "completed")
    monkeypatch.setattr(gateway.backends.storage, "away", True)
    response = client.delete(f"/api/v1/system/jobs/{finished}/result")
    assert response.status_code == 200, response.text
    assert (response.json()["deleted"], response.json()["freed_space_mb"]) == (True, 0.0)
    assert client.get(f"/api/v1/system/jobs/{finished}/download").status_code == 404
    assert client.delete(f"/api/v1/system/jobs/{finished}/result").json()["deleted"] is False


def test_history_pages_and_filters(client, finished, file_id):
    for _ in range(3):
        client.post("/api/v1/mesh-generation/image-to-raw-mesh", json={"image_file_id": file_id})
    body = client.get("/api/v1/system/jobs/history", params={"limit": 2, "offset": 1}).json()
    assert set(body) == {"jobs", "pagination", "filters", "timestamp"}
    assert len(body["jobs"]) == 2
    page = body["pagination"]
    assert (page["limit"], page["offset"], page["has_more"]) == (2, 1, True)
    assert page["total"] >= 4
    assert body["filters"] == {"status": None, "feature": None, "start_date": None, "end_date": None}
    row = {"job_id", "status", "feature", "created_at", "completed_at", "model_preference", "processing_time"}
    assert set(body["jobs"][0]) == row | {"output_mesh_path", "thumbnail_path"}
    done = client.get("/api/v1/system/jobs/history", params={"status": "completed", "limit": 500}).json()
    assert finished in [entry["job_id"] for entry in done["jobs"]]
    assert {entry["status"] for entry in done["jobs"]} == {"completed"}
    raw = client.get("/api/v1/system/jobs/history", params={"feature": "image_to_raw_mesh"}).json()
    assert {entry["feature"] for entry in raw["jobs"]} == {"image_to_raw_mesh"}


@pytest.mark.parametrize("zone", ["Z", "+00:00", ""])
def test_history_filters_by_date(client, job_id, zone):
    early = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    found = client.get(f"/api/v1/system/jobs/history?limit=500&start_date={early}{zone}").json()
    assert job_id in [entry["job_id"] for entry in found["jobs"]]
    none = client.get(f"/api/v1/system/jobs/history?end_date={early}{zone}").json()
    assert none["jobs"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=many", "offset=-1", "status=done", "start_date=yesterday"]
)
def test_a_filter_that_makes_no_sense_is_refused(client, query):
    response = client.get(f"/api/v1/system/jobs/history?{query}")
    assert response.status_code == 400
    assert response.json()["error"] == "INVALID_VALUE"


def test_formats_name_only_what_works_now(client, gateway):
    body = client.get("/api/v1/system/supported-formats").json()
    assert body["output_formats"] == {
        "mesh": ["glb", "obj", "ply", "stl"],
        "texture": ["png"],
        "download": ["file", "base64"],
    }
    assert body["input_formats"]["image"] == ["png", "jpg", "jpeg", "webp", "bmp", "tiff"]
    assert body["input_formats"]["text"] == []
    assert "fbx" not in body["content_types"]["mesh"]
    generation = client.get("/api/v1/mesh-generation/supported-formats").json()
    assert generation["upload_limits"] == {
        "image_max_size_mb": 50,
        "mesh_max_size_mb": 200,
        "image_max_resolution": [4096, 4096],
    }
    assert generation["output_formats"]["mesh"] == ["glb", "obj", "ply", "stl"]


def test_the_scheduler_tells_queue_and_engines(client, job_id):
    body = client.get("/api/v1/system/scheduler-status").json()
    assert set(body) == {"scheduler", "adapters_registered", "active_jobs", "queued_jobs", "completed_jobs"}
    assert set(body["scheduler"]) == {"running", "queue_status", "gpu_status", "models"}
    assert body["scheduler"]["running"] is True
    assert body["scheduler"]["models"]["shape_from_silhouette"]["status"] == "loaded"
    assert body["adapters_registered"] == 1
    assert body["queued_jobs"] >= 1


def test_health_and_info(client):
    health = client.get("/health").json()
    assert health["status"] == "healthy"
    assert health["version"] == "1.0.0"
    assert health["uptime"] > 0
    info = client.get("/").json()
    assert (info["title"], info["version"]) == ("3D Generative Models API", "1.0.0")
    assert (info["docs_url"], info["health_url"]) == ("/docs", "/health")
