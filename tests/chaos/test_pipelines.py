"""From one picture to a moving character while services are killed: the job ends, no finished step runs
again, nothing is published twice; and cancelling in any phase ends it there.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.supervisor.process import ProcessSpec
from tests.chaos.doors import Doors, open_doors, until
from tests.chaos.pipeline_node import BROKEN_MOTION, ENGINES, FEATURES, UNRIGGABLE_HEIGHT
from tests.chaos.scale import SCALE, chance, record
from tests.support.mesh import RunningMesh, running_mesh

pytestmark = pytest.mark.timeout(400)

VICTIMS = ("meshgen", "rigging", "animation", "jobs", "storage", "gateway")
PHASES = {
    "mesh": "Generating 3D model",
    "upload": "Uploading model|Model uploaded",
    "rig": "Creating character rig",
    "rigged": "Rigging: SUCCEEDED",
    "first animation": "Creating animation 106",
    "last animation": "Creating animation 30|Animation 106 completed",
}
"""What `/status` says in each phase, and between two."""
PAIRS = [
    ("meshgen", "mesh"),
    ("storage", "upload"),
    ("rigging", "rig"),
    ("gateway", "rigged"),
    ("jobs", "first animation"),
    ("animation", "last animation"),
]
"""Each service once and each phase once; a larger scale takes all pairs."""
STEPS = [
    "mesh", "publish", "rig", "publish_rig", "anim_106", "publish_anim_106", "anim_30", "publish_anim_30",
]  # fmt: skip
_TASKS = "SELECT * FROM ledger.task WHERE job_id = $1 ORDER BY ordinal"
_OPEN = "SELECT 1 FROM ledger.task WHERE job_id = $1 AND state IN ('QUEUED', 'RUNNING')"
# Claims of a task after it had ended: finished work that was done again.
_AGAIN = """SELECT e.task FROM ledger.job_event e
      JOIN ledger.task t ON t.job_id = e.job_id AND t.name = e.task
     WHERE e.job_id = $1 AND e.type = 'STARTED' AND e.created_at > t.ended_at"""
_FILES = "SELECT task, role, ordinal, digest, meta FROM ledger.artifact WHERE job_id = $1"
_KEYS = "SELECT task_id, key FROM assets.publication WHERE task_id = ANY ($1)"


def _with_steps(row: ProcessSpec) -> ProcessSpec:
    if row.name not in ENGINES:
        return row
    return replace(row, command=lambda: [sys.executable, "-P", "-m", "tests.chaos.pipeline_node", row.name])


@pytest.fixture(scope="module")
def mesh() -> Iterator[RunningMesh]:
    """A mesh with quick engines, leases of two seconds and one node a capability."""
    sections: dict[str, Any] = {
        "jobs": {"lease_seconds": 2.0, "heartbeat_seconds": 0.5},
        "capability": {"slots": 2, "threads_per_slot": 1},
    }
    with running_mesh(adapt=_with_steps, **sections) as running:
        yield running


@pytest.fixture
async def doors(mesh: RunningMesh) -> AsyncIterator[Doors]:
    async with open_doors(mesh) as opened:
        await until(lambda: _complete(opened), "every step to have an engine", 90.0)
        yield opened


async def _complete(doors: Doors) -> bool:
    from maquette.api.jobs.v1 import jobs_pb2

    if not doors.all_ready():
        return False
    answer = await doors.nodes.ListNodes(jobs_pb2.ListNodesRequest(), timeout=5, wait_for_ready=True)
    found = {feature for node in answer.nodes for engine in node.engines for feature in engine.features}
    return {*FEATURES, "publish"} <= found


def _picture() -> bytes:
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
        headers = {"idempotency-key": f"pipeline-{id(self)}-{form}"}

        async def post() -> str:
            try:
                answer = await self.http.post(
                    "/animate/image", files={"file": ("p.png", _picture())}, data=fields, headers=headers
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


async def _check(doors: Doors, job_id: str, steps: list[str]) -> None:
    """Assert that every step succeeded once, from the one result before it, and was published once."""
    key = UUID(job_id)
    tasks = {row["name"]: row for row in await doors.sql(_TASKS, key)}
    assert [name for name, row in tasks.items() if row["state"] == "SUCCEEDED"] == steps
    assert not await doors.sql(_AGAIN, key), "a finished step ran again"
    files = {(row["task"], row["role"], row["ordinal"]): row for row in await doors.sql(_FILES, key)}
    published = [name for name in steps if name.startswith("publish")]
    rows = await doors.sql(_KEYS, [str(tasks[name]["id"]) for name in tasks], role="storage")
    assert sorted(str(row["task_id"]) for row in rows) == sorted(str(tasks[name]["id"]) for name in published)
    for name in published:
        [own] = [row["key"] for row in rows if row["task_id"] == str(tasks[name]["id"])]
        told = json.loads(files[name, "published", 0]["meta"])["published"]
        assert told["key"] == own
    # Each step read exactly what the ledger says the step before it made.
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


def _check_trace(trace: list[tuple[str, int, str]]) -> None:
    shown = [progress for _, progress, _ in trace]
    assert shown == sorted(shown), trace
    assert "queued" not in [status for status, progress, _ in trace if progress]


@pytest.mark.parametrize(
    ("victim", "phase"),
    PAIRS if SCALE == 1 else [(victim, phase) for victim in VICTIMS for phase in PHASES],
)
async def test_a_job_outlives_whoever_is_killed_in_any_phase(doors: Doors, victim: str, phase: str) -> None:
    for _ in range(max(1, SCALE // 4)):
        follower = Follower(doors.http)
        await follower.start()
        await follower.reach(PHASES[phase])
        await asyncio.to_thread(doors.mesh.kill_and_wait, victim, 60.0)
        done = await follower.end()
        assert done["status"] == "completed", done
        assert [move["action_id"] for move in done["result"]["animation_urls"]] == [106, 30]
        _check_trace(follower.trace)
        await _check(doors, follower.job_id, STEPS)
        for link in (done["result"]["model_url"], done["result"]["s3_direct_url"]):
            path = link.partition(str(doors.mesh.settings.port))[2]
            await until(lambda path=path: _opens(doors, path), f"{path} to open", 60.0)


async def _opens(doors: Doors, path: str) -> bool:
    try:
        return (await doors.http.get(path)).status_code == 200
    except httpx.HTTPError:
        return False


async def test_jobs_end_while_everybody_is_killed_in_turn(doors: Doors) -> None:
    """Several jobs at once, some of which fail softly, under kills at random moments."""
    random = chance("pipelines")
    forms: list[dict[str, str]] = [
        {},
        {"height_meters": str(UNRIGGABLE_HEIGHT)},
        {"animation_ids": f"106,{BROKEN_MOTION}"},
        {"animation_ids": ""},
    ]
    steps = {
        0: STEPS,
        1: STEPS[:2],
        2: STEPS[:6],
        3: STEPS[:2],
    }
    followers = [Follower(doors.http) for _ in range(4 * SCALE)]
    await asyncio.gather(*(follower.start(**forms[number % 4]) for number, follower in enumerate(followers)))
    ends = asyncio.gather(*(follower.end() for follower in followers))
    kills = 0
    while kills < 4 * SCALE and not ends.done():
        await asyncio.sleep(random.uniform(0.1, 0.6))
        await asyncio.to_thread(doors.mesh.kill_and_wait, random.choice(VICTIMS), 60.0)
        kills += 1
    for number, done in enumerate(await ends):
        result = done["result"]
        assert done["status"] == "completed", done
        told = {0: "completed", 1: "failed", 2: "completed", 3: "skipped"}[number % 4]
        assert result["rigging_status"] == told
        if number % 4 == 1:
            assert result["rigging_error"] == "Pose estimation failed"
        if number % 4 == 2:
            assert [move["action_id"] for move in result["animation_urls"]] == [106]
            assert f"Animation {BROKEN_MOTION} failed: the motion is broken" in result["warnings"]
        await _check(doors, followers[number].job_id, steps[number % 4])
    record("pipelines survive kills", jobs=len(followers), kills=kills)


@pytest.mark.parametrize("phase", ["mesh", "upload", "rig", "first animation", "last animation"])
async def test_a_job_is_cancelled_in_any_phase(doors: Doors, phase: str) -> None:
    follower = Follower(doors.http)
    job_id = await follower.start()
    if not await follower.reach(PHASES[phase]):
        return  # it was over before we saw that phase: nothing is left to cancel
    answer = (await doors.http.delete(f"/jobs/{job_id}")).json()
    ended = await follower.end()
    assert ended["status"] == answer["status"]
    if ended["status"] == "completed":
        return  # it was over before the word reached it
    assert ended["message"] == "Job was cancelled"
    assert not await doors.sql(_OPEN, UUID(job_id))
    await until(lambda: _idle(doors), "the nodes to be idle", 60.0)
    assert not await doors.sql(_AGAIN, UUID(job_id))


async def _idle(doors: Doors) -> bool:
    from maquette.api.jobs.v1 import jobs_pb2

    answer = await doors.nodes.ListNodes(jobs_pb2.ListNodesRequest(), timeout=5, wait_for_ready=True)
    return not any(node.busy for node in answer.nodes)
