"""Tasks at remote providers: what one attempt tells the next, what is given up, when they are chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import grpc

from maquette.api.capability.v1 import capability_pb2
from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.errors import error_for
from maquette.runtime.structs import from_struct, to_struct
from tests.integration.jobs.harness import (
    House,
    Run,
    Said,
    accepted,
    engine,
    eventually,
    forever,
    key,
    open_house,
    result,
    task,
)

REMOTE = engine("there", "work", kind=capability_pb2.ENGINE_KIND_PROVIDER, rank=100)
HERE = engine("here", "work", rank=-100)
STATE = {"provider": "there", "tasks": {"task": ["/v1/tasks", "0192-abc"]}, "_step": 1}


def noted(**changes: object) -> Said:
    return Said(checkpoint=Said.Checkpoint(state=to_struct({**STATE, **changes})))


async def stored(house: House, job: jobs_pb2.Job) -> bool:
    """Tell whether the job's one task has a note in the ledger."""
    rows = await house.sql("SELECT checkpoint FROM ledger.task WHERE job_id = $1", UUID(job.id))
    return bool(rows[0]["checkpoint"] != "{}")


class Buys:
    """A run that notes what it bought, and then does as it is told."""

    def __init__(self, *ends: str) -> None:
        self.ends = list(ends)

    async def __call__(self, request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
        yield accepted()
        if not request.HasField("checkpoint"):
            yield noted()
            # What comes after it is read after it was stored.
            yield Said(heartbeat=Said.Heartbeat())
        end = self.ends.pop(0) if self.ends else "result"
        if end == "wait":
            async for said in forever(request, context):
                yield said
        if end != "result":
            raise error_for(end, "so it goes")
        yield result(request)


async def test_the_next_attempt_is_told_what_the_one_before_noted(house: House) -> None:
    node = await house.node(Buys("NODE_LOST", "WORKER_CRASHED"))
    job = await house.ended(await house.submit())
    assert job.state == jobs_pb2.STATE_SUCCEEDED
    first, second, third = node.seen
    assert not first.HasField("checkpoint")
    assert from_struct(second.checkpoint) == from_struct(third.checkpoint) == STATE


async def test_a_node_that_dies_takes_nothing_noted_with_it(house: House) -> None:
    first, kill = await house.mortal_node(Buys("wait"))
    job = await house.submit()

    await eventually(lambda: stored(house, job))
    await kill()
    second = await house.node(Buys())
    assert (await house.ended(job)).state == jobs_pb2.STATE_SUCCEEDED
    assert len(first.seen) == 1 and from_struct(second.seen[-1].checkpoint) == STATE


async def test_another_replica_tells_it_too(folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn) as one:
        node = await one.node(Buys("wait"))
        job = await one.submit()
        await eventually(lambda: stored(one, job))
    assert not node.discarded, "a replica that stops gives nothing up"
    async with open_house(folder, ledger_dsn) as other:
        second = await other.node(Buys())
        assert (await other.ended(job)).state == jobs_pb2.STATE_SUCCEEDED
        assert from_struct(second.seen[-1].checkpoint) == STATE


async def test_who_lost_the_lease_notes_nothing(house: House) -> None:
    """The fence holds for notes too: a zombie must not send the living attempt after its own task."""
    await house.node(Buys("wait"))
    job = await house.submit()
    row = "SELECT id, lease_token, checkpoint FROM ledger.task WHERE job_id = $1"
    await eventually(lambda: stored(house, job))
    before = (await house.sql(row, UUID(job.id)))[0]
    tasks = house.ledger.tasks
    await tasks.note_checkpoint(str(before["id"]), "00000000-0000-4000-8000-000000000000", {"a": 1})
    assert (await house.sql(row, UUID(job.id)))[0]["checkpoint"] == before["checkpoint"]
    await tasks.note_checkpoint(str(before["id"]), str(before["lease_token"]), {"a": 2})
    assert (await house.sql(row, UUID(job.id)))[0]["checkpoint"] == '{"a": 2}'


async def test_a_cancelled_job_gives_up_what_its_remote_task_holds(house: House) -> None:
    node = await house.node(Buys("wait"), engines=(REMOTE,), remote_slots=2)
    job = await house.submit(task(model_preference="there"))
    await eventually(lambda: stored(house, job))
    await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
    await eventually(lambda: node.discarded and not node.busy)
    (given_up,) = node.discarded
    assert given_up.engine_id == "there" and from_struct(given_up.checkpoint) == STATE
    assert given_up.task_id == node.seen[0].task_id


async def test_what_no_attempt_holds_is_given_up_by_the_next_node(house: House) -> None:
    """Its node died, and its job was cancelled before another came: the note outlives both."""
    _, kill = await house.mortal_node(Buys("wait"), engines=(REMOTE,), remote_slots=2)
    job = await house.submit(task(model_preference="there"))
    await eventually(lambda: stored(house, job))
    await kill()
    await eventually(lambda: not len(house.ledger.attempts))
    await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
    node = await house.node(Buys(), engines=(REMOTE,), remote_slots=2)
    await eventually(lambda: node.discarded)
    assert from_struct(node.discarded[0].checkpoint) == STATE and not node.seen

    async def forgotten() -> bool:
        return not await stored(house, job)

    await eventually(forgotten)


async def test_a_local_task_has_nothing_to_give_up(house: House) -> None:
    node = await house.node(forever)
    job = await house.submit()
    await eventually(lambda: node.busy)
    await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
    await eventually(lambda: not node.busy)
    assert not node.discarded


async def test_nothing_goes_out_unless_it_was_chosen(house: House) -> None:
    node = await house.node(engines=(REMOTE, HERE), remote_slots=2)
    used = []
    for name in ("", "nowhere", "there"):
        job = await house.ended(await house.submit(task(model_preference=name)))
        used.append(job.result.model_used)
    assert used == ["here", "here", "there"] and len(node.seen) == 3


async def test_remote_tasks_take_no_slot_of_the_others(house: House) -> None:
    node = await house.node(forever, engines=(REMOTE, HERE), slots=1, remote_slots=2)
    jobs = [await house.submit(task(model_preference="there")) for _ in range(3)]
    await eventually(lambda: node.busy == 2)
    local = await house.submit(task(model_preference="here"))
    await eventually(lambda: node.busy == 3)
    assert [run.engine_id for run in node.seen] == ["there", "there", "here"]
    for job in (*jobs, local):
        await house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=key(job)))
    await eventually(lambda: not node.busy)
