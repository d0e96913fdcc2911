"""What a submit promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2
from maquette.runtime.rpc.status import from_status
from tests.integration.jobs.harness import House, eventually, key, open_house, reason, request, task


async def _refusal(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return reason(caught.value)


async def test_one_hundred_submits_with_one_key_make_one_job(house: House) -> None:
    answers = await asyncio.gather(
        *(house.create(idempotency_key="k", request_digest="d") for _ in range(100))
    )
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1
    assert [tuple(row) for row in await house.sql("SELECT count(*) FROM ledger.job")] == [(1,)]
    assert [tuple(row) for row in await house.sql("SELECT count(*) FROM ledger.task")] == [(1,)]


async def test_two_replicas_make_one_job_of_one_key(house: House, folder: Path, ledger_dsn: str) -> None:
    async with open_house(folder, ledger_dsn, name="other") as other:
        answers = await asyncio.gather(
            *(
                replica.create(idempotency_key="k", request_digest="d")
                for _ in range(30)
                for replica in (house, other)
            )
        )
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1


async def test_the_same_key_with_another_body_is_refused(house: House) -> None:
    await house.create(idempotency_key="k", request_digest="d")
    assert await _refusal(house.create(idempotency_key="k", request_digest="e")) == "IDEMPOTENCY_MISMATCH"


async def test_keys_of_two_accounts_are_apart(house: House) -> None:
    first = await house.create(idempotency_key="k", request_digest="d", account_id="one")
    second = await house.create(idempotency_key="k", request_digest="e", account_id="two")
    assert first.created and second.created and first.job.id != second.job.id


async def test_the_queue_limit_is_exact_when_many_submit_at_once(folder: Path, ledger_dsn: str) -> None:
    async with (
        open_house(folder, ledger_dsn, queue_limit=50) as house,
        open_house(folder, ledger_dsn, name="other", queue_limit=50) as other,
    ):
        answers = await asyncio.gather(
            *(replica.create() for _ in range(60) for replica in (house, other)), return_exceptions=True
        )
        refused = [reason(a) for a in answers if isinstance(a, grpc.aio.AioRpcError)]
        assert refused == ["QUEUE_FULL"] * 70
        assert [tuple(row) for row in await house.sql("SELECT count(*) FROM ledger.job")] == [(50,)]
        assert (await house.create(account_id="other")).created


async def test_a_public_id_is_taken_once(house: House) -> None:
    await house.create(public_id="cafe0001")
    assert await _refusal(house.create(public_id="cafe0001")) == "IDEMPOTENCY_MISMATCH"
    assert (await house.create(public_id="cafe0001", dialect="another")).created


async def test_a_neighbour_in_the_batch_is_not_harmed(house: House) -> None:
    await house.create(public_id="taken")
    answers = await asyncio.gather(
        *(house.create(public_id="taken" if n == 5 else "") for n in range(10)), return_exceptions=True
    )
    assert [isinstance(a, Exception) for a in answers] == [n == 5 for n in range(10)]


async def test_jobs_made_with_one_call_do_not_hinder_each_other(house: House) -> None:
    kept = {"idempotency_key": "k", "request_digest": "d"}
    first = await house.create(**kept)
    wanted = (
        request(),
        request(**kept),
        request(task("a", after=["a"])),
        request(idempotency_key="k", request_digest="e"),
        request(public_id="mine"),
        request(public_id="mine"),
    )
    entries = [jobs_pb2.CreateJobsRequest.Entry(job=job) for job in wanted]
    answer = await house.jobs.CreateJobs(jobs_pb2.CreateJobsRequest(entries=entries))
    new, again, loop, other, mine, taken = answer.outcomes
    assert new.response.created and mine.response.created
    assert (again.response.job.id, again.response.created) == (first.job.id, False)
    refused = [from_status(outcome.error) for outcome in (loop, other, taken)]
    assert [error and error.reason for error in refused] == [
        "INVALID_VALUE",
        "IDEMPOTENCY_MISMATCH",
        "IDEMPOTENCY_MISMATCH",
    ]
    stored = await house.sql("SELECT count(*) FROM ledger.job")
    assert [tuple(row) for row in stored] == [(3,)]


async def test_jobs_of_one_call_are_refused_together_when_one_is_out_of_bounds(house: House) -> None:
    entries = [jobs_pb2.CreateJobsRequest.Entry(job=job) for job in (request(), request(priority=101))]
    assert (
        await _refusal(house.jobs.CreateJobs(jobs_pb2.CreateJobsRequest(entries=entries))) == "INVALID_VALUE"
    )
    assert await house.sql("SELECT 1 FROM ledger.job") == []


async def test_a_graph_that_cannot_run_is_refused(house: House) -> None:
    tasks = (task("a", after=["b"]), task("b", after=["a"]))
    assert await _refusal(house.create(*tasks)) == "INVALID_VALUE"
    assert await house.sql("SELECT 1 FROM ledger.job") == []


async def test_a_model_that_is_on_no_node_is_refused_when_falling_back_is_denied(house: House) -> None:
    node = await house.node()
    denied = {"model_preference": "absent", "fallback": jobs_pb2.FALLBACK_DENY}
    assert await _refusal(house.create(task(**denied))) == "MODEL_NOT_AVAILABLE"
    assert await house.sql("SELECT 1 FROM ledger.job") == []
    job = await house.submit(task(model_preference="absent"))
    done = await house.ended(job)
    assert (done.requested_model, done.result.model_used) == ("absent", "test")
    assert node.seen[0].requested_model == "absent"


async def test_a_job_is_found_by_each_of_its_names_and_by_its_own_account_only(house: House) -> None:
    job = await house.submit(public_id="job_1", aliases=["outside"], account_id="one")
    public = jobs_pb2.JobKey.PublicId
    for found in (
        key(job),
        jobs_pb2.JobKey(account_id="one", public=public(id="job_1")),
        jobs_pb2.JobKey(account_id="one", public=public(id="job_1", dialect="test")),
        jobs_pb2.JobKey(account_id="one", public=public(id="outside", dialect="test")),
    ):
        assert (await house.jobs.GetJob(jobs_pb2.GetJobRequest(key=found))).job.id == job.id
    for unknown in (
        jobs_pb2.JobKey(account_id="two", id=job.id),
        jobs_pb2.JobKey(account_id="two", public=public(id="job_1")),
        jobs_pb2.JobKey(account_id="two", public=public(id="outside")),
        jobs_pb2.JobKey(account_id="one", public=public(id="job_1", dialect="other")),
        jobs_pb2.JobKey(account_id="one", id="no uuid"),
    ):
        assert await _refusal(house.jobs.GetJob(jobs_pb2.GetJobRequest(key=unknown))) == "NOT_FOUND"


async def test_no_account_acts_on_anothers_job(house: House) -> None:
    node = await house.node()
    job = await house.submit(account_id="one")
    done = await house.ended(job)
    stolen = jobs_pb2.JobKey(account_id="two", id=job.id)
    calls = (
        house.jobs.CancelJob(jobs_pb2.CancelJobRequest(key=stolen)),
        house.jobs.DeleteJob(jobs_pb2.DeleteJobRequest(key=stolen)),
        house.jobs.WaitJob(jobs_pb2.WaitJobRequest(key=stolen)),
        house.artifacts.DeleteResult(jobs_pb2.DeleteResultRequest(key=stolen)),
        house.artifacts.ResolvePath(
            jobs_pb2.ResolvePathRequest(account_id="two", path=done.result.artifacts[0].path)
        ),
    )
    for call in calls:
        assert await _refusal(call) == "NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in house.jobs.WatchJob(jobs_pb2.WatchJobRequest(key=stolen)):
            pass
    assert (await house.jobs.ListJobs(jobs_pb2.ListJobsRequest(account_id="two"))).total == 0
    assert await house.get(job) == done
    assert len(node.seen) == 1


async def test_pages_list_every_job_once_newest_first(house: House) -> None:
    made = [(await house.submit(feature=f"f{n % 2}", dialect="d1" if n < 3 else "d2")).id for n in range(7)]
    listed: list[str] = []
    request = jobs_pb2.ListJobsRequest(account_id="public", page_size=3)
    while True:
        page = await house.jobs.ListJobs(request)
        listed += [job.id for job in page.jobs]
        assert page.total == 7
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == made[::-1]

    async def ids(**more: object) -> list[str]:
        answer = await house.jobs.ListJobs(jobs_pb2.ListJobsRequest(account_id="public", **more))
        return [job.id for job in answer.jobs]

    assert await ids(offset=5) == made[1::-1]
    assert await ids(dialect="d1") == made[2::-1]
    assert await ids(feature="f1") == [made[5], made[3], made[1]]
    assert await ids(states=[jobs_pb2.STATE_SUCCEEDED]) == []
    assert await ids(states=[jobs_pb2.STATE_QUEUED], page_size=2) == made[:4:-1]
    assert (
        await _refusal(house.jobs.ListJobs(jobs_pb2.ListJobsRequest(account_id="public", page_token="x")))
        == "INVALID_VALUE"
    )


async def test_statistics_count_jobs_by_state(house: House) -> None:
    for account in ("one", "one", "two"):
        await house.submit(account_id=account)
    one = await house.jobs.GetQueueStats(jobs_pb2.GetQueueStatsRequest(account_id="one"))
    everybody = await house.jobs.GetQueueStats(jobs_pb2.GetQueueStatsRequest())
    assert (one.queued, everybody.queued, everybody.running) == (2, 3, 0)


async def test_a_job_whose_caller_left_while_it_was_stored_runs_at_once(
    folder: Path, ledger_dsn: str
) -> None:
    """The poll is far away: only the submit itself can wake the dispatcher."""
    async with open_house(folder, ledger_dsn, poll_seconds=60.0) as house:
        node = await house.node()
        storing, go, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        submit, create = house.ledger.submitter.submit, house.ledger.jobs.create

        async def abandoned(job: object) -> object:
            try:
                return await submit(job)  # type: ignore[arg-type]
            except asyncio.CancelledError:
                left.set()
                raise

        async def slow(jobs: object) -> object:
            storing.set()
            await go.wait()
            return await create(jobs)  # type: ignore[arg-type]

        house.ledger.submitter.submit = abandoned  # type: ignore[assignment,method-assign]
        house.ledger.jobs.create = slow  # type: ignore[assignment,method-assign]
        call = asyncio.create_task(house.create())
        await storing.wait()
        call.cancel()
        await left.wait()
        go.set()
        await eventually(lambda: node.seen)
