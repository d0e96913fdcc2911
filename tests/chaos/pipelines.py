"""Clients of `/animate/image` that come back after every failure, and what their jobs must be in the end."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
from PIL import Image

from maquette.api.storage.v1 import storage_pb2
from tests.chaos.doors import Doors, until

VICTIMS = ("meshgen", "rigging", "animation", "jobs", "storage", "gateway")
STEPS = [
    "mesh", "publish", "rig", "publish_rig", "anim_106", "publish_anim_106", "anim_30", "publish_anim_30",
]  # fmt: skip
"""Of a job that animates 106 and 30."""
_TASKS = "SELECT * FROM ledger.task WHERE job_id = $1 ORDER BY ordinal"
RAN_AGAIN = """SELECT e.task FROM ledger.job_event e
      JOIN ledger.task t ON t.job_id = e.job_id AND t.name = e.task
     WHERE e.job_id = $1 AND e.type = 'STARTED' AND e.created_at > t.ended_at"""
"""Claims of a task after it had ended: finished work that was done again."""
_FILES = "SELECT task, role, ordinal, digest, meta FROM ledger.artifact WHERE job_id = $1"
_KEYS = "SELECT task_id, ordinal, key FROM assets.publication WHERE task_id = ANY ($1)"


def picture() -> bytes:
    """Return one that is taken."""
    image = Image.new("RGBA", (160, 200))
    image.paste((40, 90, 200, 255), (60, 20, 100, 180))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@dataclass
class Follower:
    """A client of the dialect that comes back after every failure."""

    http: httpx.AsyncClient
    job_id: str = ""
    trace: list[tuple[str, int, str]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    async def start(self, **form: str) -> str:
        """Submit, once, whatever happens to the answer."""
        fields = {"animation_ids": "106,30", "skip_confirmation": "true", **form}
        headers = {"idempotency-key": str(uuid4())}

        async def post() -> str:
            try:
                answer = await self.http.post(
                    "/animate/image", files={"file": ("p.png", picture())}, data=fields, headers=headers
                )
            except httpx.HTTPError:
                return ""
            assert answer.status_code in (200, 502, 503, 504), answer.text
            return str(answer.json()["job_id"]) if answer.status_code == 200 else ""

        self.job_id = await until(post, "the job to be taken", 60.0)
        return self.job_id

    async def poll(self) -> dict[str, Any]:
        """Return the status; the last one known while nobody answers."""
        try:
            answer = await self.http.get(f"/status/{self.job_id}")
        except httpx.HTTPError:
            return self.last
        if answer.status_code != 200:
            assert answer.status_code in (502, 503, 504), answer.text
            return self.last
        self.last = answer.json()
        self.trace.append((self.last["status"], self.last["progress"], self.last["message"]))
        return self.last

    async def reach(self, words: str) -> bool:
        """Wait for a message with one of the words; tell whether it came before the end."""

        async def there() -> str:
            body = await self.poll()
            if any(word in body.get("message", "") for word in words.split("|")):
                return "there"
            return "ended" if body.get("status") in ("completed", "failed") else ""

        return bool(await until(there, words, 120.0) == "there")

    async def end(self) -> dict[str, Any]:
        """Wait for the end."""

        async def ended() -> dict[str, Any] | None:
            body = await self.poll()
            return body if body.get("status") in ("completed", "failed") else None

        result: dict[str, Any] = await until(ended, f"{self.job_id} to end", 180.0)
        return result


async def check_steps(doors: Doors, job_id: str, steps: Sequence[str]) -> None:
    """Assert that these steps and no others succeeded, once each, and that each was published once."""
    key = UUID(job_id)
    tasks = {row["name"]: row for row in await doors.sql(_TASKS, key)}
    assert [name for name, row in tasks.items() if row["state"] == "SUCCEEDED"] == list(steps)
    assert not await doors.sql(RAN_AGAIN, key), "a finished step ran again"
    told = {
        (str(tasks[row["task"]]["id"]), row["ordinal"]): json.loads(row["meta"])["published"]["key"]
        for row in await doors.sql(_FILES, key)
        if row["role"] == "published"
    }
    rows = await doors.sql(_KEYS, [str(row["id"]) for row in tasks.values()], role="storage")
    assert {(row["task_id"], row["ordinal"]): row["key"] for row in rows} == told
    assert {task for task, _ in told} == {str(tasks[name]["id"]) for name in steps if "publish" in name}


async def check_reads(doors: Doors, job_id: str, steps: Sequence[str]) -> None:
    """Assert that each step of the quick engines read what the ledger says that the one before it made."""
    files = {(row["task"], row["role"], row["ordinal"]): row for row in await doors.sql(_FILES, UUID(job_id))}
    model = files["mesh", "mesh", 0]["digest"]
    assert files["publish", "published", 0]["digest"] == model
    reads = {
        "rig": model,
        **{name: files["rig", "mesh", 0]["digest"] for name in steps if name[:5] == "anim_"},
    }
    for name, digest in reads.items():
        if name in steps:
            assert digest in (await _content(doors, files[name, "mesh", 0]["digest"]))["reads"], name


async def _content(doors: Doors, digest: str) -> dict[str, Any]:
    data = b""
    async for part in doors.storage.ReadBlob(
        storage_pb2.ReadBlobRequest(digest=digest), timeout=30, wait_for_ready=True
    ):
        data += part.chunk
    found: dict[str, Any] = json.loads(data)
    return found


def check_trace(trace: Sequence[tuple[str, int, str]]) -> None:
    """Assert that progress never fell, and that what has begun never waited again."""
    shown = [progress for _, progress, _ in trace]
    assert shown == sorted(shown), trace
    assert "queued" not in [status for status, progress, _ in trace if progress]
