"""From the ledger's job to this dialect's answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from maquette.api.jobs.v1 import jobs_pb2
from services.gateway.dialects.animate import words
from services.gateway.dialects.animate.graph import animation_step
from services.gateway.dialects.animate.words import PHASES, Phase
from services.gateway.json_writer import plain_struct

_ENDED = (jobs_pb2.STATE_SUCCEEDED, jobs_pb2.STATE_FAILED, jobs_pb2.STATE_CANCELLED)
_FBX_TYPE = "model/fbx"
_MOST_UNFINISHED = 99

_Tasks = Mapping[str, jobs_pb2.JobTask]


def status_view(job: jobs_pb2.Job, base_url: str) -> dict[str, Any]:
    """Return the members of `AnimateStatus`."""
    tasks = {task.name: task for task in job.tasks}
    return {
        "job_id": job.public_id,
        "status": _status(job),
        "progress": progress(job),
        "message": _message(job, tasks),
        "result": _result(job, tasks, base_url),
    }


def _status(job: jobs_pb2.Job) -> str:
    # A job between two steps, or whose attempt was lost, has begun all the same.
    if job.state == jobs_pb2.STATE_QUEUED and any(task.started for task in job.tasks):
        return words.STATUS[jobs_pb2.STATE_RUNNING]
    return words.STATUS[job.state]


def progress(job: jobs_pb2.Job) -> int:
    """Return 0–100: as far as the last phase has come that has begun."""
    if job.state == jobs_pb2.STATE_SUCCEEDED:
        return 100
    reached = 0
    for name, phase in PHASES.items():
        tasks = [task for task in job.tasks if task.phase == name]
        if any(task.started for task in tasks):
            reached = max(reached, _within(phase, tasks))
    return min(reached, _MOST_UNFINISHED)


def _within(phase: Phase, tasks: list[jobs_pb2.JobTask]) -> int:
    done = sum(1.0 if task.state in _ENDED else task.fraction for task in tasks) / len(tasks)
    return phase.start + int((phase.end - phase.start) * done)


def _message(job: jobs_pb2.Job, tasks: _Tasks) -> str:
    if job.state == jobs_pb2.STATE_SUCCEEDED:
        failed = _failed(tasks, "rig")
        return words.COMPLETED_WITHOUT_RIG if failed else words.COMPLETED
    if job.state == jobs_pb2.STATE_CANCELLED:
        return words.CANCELLED
    if job.state == jobs_pb2.STATE_FAILED:
        return job.error.message or "The job failed."
    shown = [task for task in job.tasks if task.phase in PHASES and task.started]
    running = next((task for task in shown if task.state not in _ENDED), None)
    if running is not None:
        return _running(running)
    return _ended(shown[-1]) if shown else words.QUEUED


def _running(task: jobs_pb2.JobTask) -> str:
    """Say what a provider says, word for word; else what begins, and what the engine tells of it."""
    phase = PHASES[task.phase]
    if task.upstream_status:
        return f"{_text(phase.label, task)}: {task.upstream_status} ({round(task.fraction * 100)}%)"
    begins = _text(phase.begins, task)
    # Publishing is one stage: what it says of itself adds nothing.
    return f"{begins} {task.message}" if task.message and task.phase != "upload" else begins


def _ended(task: jobs_pb2.JobTask) -> str:
    phase = PHASES[task.phase]
    if task.state == jobs_pb2.STATE_SUCCEEDED:
        return _text(phase.done, task)
    return f"{_text(phase.label, task)}: FAILED"


def _text(pattern: str, task: jobs_pb2.JobTask) -> str:
    return pattern.format(item=task.item)


def _result(job: jobs_pb2.Job, tasks: _Tasks, base_url: str) -> dict[str, Any]:
    """Return what is known so far; members that have no value yet are left out."""
    request = plain_struct(job.request)
    inputs = request.get("inputs") or {}
    wanted = [int(number) for number in inputs.get("animation_ids") or ()]
    links = _Links(job, base_url)
    result: dict[str, Any] = {}
    published = links.first(tasks, ("publish_retexture", "publish"))
    if published:
        result["s3_upload"] = {
            "presigned_url": published["url"],
            "s3_direct_url": published["direct_url"],
            "s3_key": published["key"],
        }
    rigged = [*links.of(tasks.get("publish_rig")), *links.of(tasks.get("publish_rig_fbx"))]
    if rigged:
        result["rigged_character_glb_url"] = _url(rigged, fbx=False)
        result["rigged_character_fbx_url"] = _url(rigged, fbx=True)
    if job.state != jobs_pb2.STATE_SUCCEEDED:
        return result
    if published:
        result |= {"model_url": published["url"], "glb_url": published["url"]}
        result["s3_direct_url"] = published["direct_url"]
    result |= _rigging(tasks, wanted)
    if result["rigging_status"] != "failed":
        moves = [_animation(links, tasks, number, inputs) for number in wanted]
        result["animation_urls"] = [move for move in moves if move is not None]
        result["total_animations"] = len(result["animation_urls"])
    result["processing_method"] = "async_with_rigging" if wanted else "async_no_rigging"
    warnings = [*request.get("warnings", ()), *_warnings(tasks, wanted)]
    return result | ({"warnings": warnings} if warnings else {})


def _rigging(tasks: _Tasks, wanted: list[int]) -> dict[str, Any]:
    if not wanted:
        return {"rigging_status": "skipped"}
    failed = _failed(tasks, "rig")
    if failed:
        return {"rigging_status": "failed", "rigging_error": failed}
    return {"rigging_status": "completed"}


def _animation(links: _Links, tasks: _Tasks, number: int, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    name = animation_step(number)
    files = links.of(tasks.get(f"publish_{name}"))
    if not files:
        return None
    told = next((plain_struct(file.meta) for file in tasks[name].artifacts if file.role == "mesh"), {})
    return {
        "action_id": number,
        "raw_anim_glb": _url(files, fbx=False),
        "raw_anim_fbx": _url(files, fbx=True),
        # Measured on the file where its engine did; else what was asked for.
        "fps": told.get("fps") or inputs.get("fps") or words.USUAL_FPS,
    }


def _warnings(tasks: _Tasks, wanted: list[int]) -> Iterable[str]:
    """Say what failed softly, once for each root, and what the engines warned of."""
    for task in tasks.values():
        yield from task.warnings
        reason = _failed(tasks, task.name)
        if not reason or not task.started or task.name == "rig":
            continue
        phase = PHASES.get(task.phase)
        what = _text(phase.label, task) if phase else task.name.replace("_", " ")
        yield f"{what} failed: {reason}"


def _failed(tasks: _Tasks, name: str) -> str:
    """Return why a task failed; empty when it did not."""
    task = tasks.get(name)
    if task is None or task.state != jobs_pb2.STATE_FAILED:
        return ""
    return task.error.message or task.error.reason or "it failed"


def _url(files: list[dict[str, str]], *, fbx: bool) -> str | None:
    return next((file["url"] for file in files if (file["media_type"] == _FBX_TYPE) is fbx), None)


class _Links:
    """Reads what storage wrote about the files it published."""

    def __init__(self, job: jobs_pb2.Job, base_url: str) -> None:
        self._job = job
        self._base = base_url

    def of(self, task: jobs_pb2.JobTask | None) -> list[dict[str, str]]:
        """Return the files that a task published, in their order."""
        if task is None:
            return []
        return [self._file(task, file) for file in task.artifacts if file.role == "published"]

    def first(self, tasks: _Tasks, names: Iterable[str]) -> dict[str, str] | None:
        """Return the first file of the first of the tasks that published any."""
        return next((files[0] for name in names if (files := self.of(tasks.get(name)))), None)

    def _file(self, task: jobs_pb2.JobTask, file: jobs_pb2.Artifact) -> dict[str, str]:
        told = {str(name): str(value) for name, value in plain_struct(file.meta)["published"].items()}
        own = f"{self._base}/jobs/{self._job.public_id}/files/{task.name}/{file.filename}"
        return {
            "key": told["key"],
            "url": f"{self._base}{told['url']}" if told["url"].startswith("/") else told["url"],
            "direct_url": told["direct_url"] or own,
            "media_type": file.media_type,
        }
